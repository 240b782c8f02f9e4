"""A run's scalars: one JSON object a line, only ever appended to."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import plain


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line, in one write: a kill leaves at most one torn line, the last.

    Args:
        path: The history; created when absent.
        entry: Scalars by name; NaN and infinities are written as null.

    Raises:
        OSError: The line could not be written whole.
    """
    line = json.dumps(plain(entry), allow_nan=False) + "\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        # What a kill tore is closed first, so that it stays the only loss.
        end = os.lseek(descriptor, 0, os.SEEK_END)
        torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
        data = (("\n" if torn else "") + line).encode()
        if os.write(descriptor, data) != len(data):
            raise OSError(f"{path}: the last line could not be written whole (disk full?)")
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every line that was written whole; lines torn by a kill are left out.

    Args:
        path: The history; an absent one is empty.

    Returns:
        The entries in order.

    Raises:
        AqrExpError: A line was written whole and is no JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            # A torn line is the beginning of an object: it lacks the closing brace.
            if line.startswith(b"{") and not line.rstrip().endswith(b"}"):
                continue
            raise AqrExpError(f"{path} is damaged: line {number} is not JSON") from None
        if not isinstance(entry, dict):
            raise AqrExpError(f"{path} is damaged: line {number} is no object")
        entries.append(entry)
    return entries
