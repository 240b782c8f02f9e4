"""A run's scalars: one JSON object a line, each with a checksum, only ever appended to."""

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import plain, read_content

ATTEMPT = "attempt"
_CRC = "crc32"
_TAIL = re.compile(rb'(?:, )?"crc32": "([0-9a-f]{8})"\}\Z')
# As long as a whole line, with something else than a brace at its end: no kill leaves that.
_WRONG_END = re.compile(rb'"crc32": "[0-9a-f]{8}"[^}]\Z')


def append_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Add one line, in one write: a kill leaves at most one torn line, the last.

    Args:
        path: The history; created when absent.
        entry: Scalars by name; NaN and infinities are written as null.

    Raises:
        OSError: The line could not be written whole.
    """
    line = with_crc(json.dumps(plain(entry), allow_nan=False)) + "\n"
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


def with_crc(line: str) -> str:
    """A line of JSON with the CRC-32 of what stands before it as its last key."""
    head = line[:-1]
    comma = ", " if head != "{" else ""
    return f'{head}{comma}"{_CRC}": "{zlib.crc32(head.encode()):08x}"}}'


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Every line that was written whole; lines torn by a kill are left out.

    Args:
        path: The history; an absent one is empty.

    Returns:
        The entries in order, without their checksums. Lines of older versions have none.

    Raises:
        AqrExpError: A line was written whole and is no JSON object, or does not fit its checksum.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(read_content(path).split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            if _torn(line):
                continue
            raise AqrExpError(f"{path} is damaged: line {number} is not JSON") from None
        if not isinstance(entry, dict):
            raise AqrExpError(f"{path} is damaged: line {number} is no object")
        if not _fits(line, entry):
            raise AqrExpError(f"{path} is damaged: line {number} does not fit its checksum")
        entry.pop(_CRC, None)
        entries.append(entry)
    return entries


def _torn(line: bytes) -> bool:
    """Whether a line is the beginning of an object, as a kill leaves it."""
    whole = line.rstrip().endswith(b"}") or _WRONG_END.search(line[-40:]) is not None
    return line.startswith(b"{") and not whole


def _fits(line: bytes, entry: Mapping[str, Any]) -> bool:
    found = _TAIL.search(line)
    if found is None:
        # A line with a checksum also says its attempt: one damage cannot hide both.
        return _CRC not in entry and ATTEMPT not in entry
    return f"{zlib.crc32(line[: found.start()]):08x}".encode() == found[1]
