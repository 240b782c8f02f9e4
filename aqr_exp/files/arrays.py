"""Files of named arrays that are either whole or refused.

A file is an `.npz` archive followed by the SHA-256 of everything before it: `numpy.load` opens it, and any
change of any bit is noticed by `read_arrays`.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import read_content, replace_bytes

_DIGEST_BYTES = hashlib.sha256().digest_size
_HEADER = "header"


def write_arrays(
    path: Path, kind: str, arrays: Mapping[str, np.ndarray[Any, Any]], header: Mapping[str, Any]
) -> None:
    """Write arrays in one step: readers see the old file or the whole new one.

    Args:
        kind: What the file holds and in which form; a reader asks for the same.
        arrays: Arrays of numbers, booleans or text by name.

    Raises:
        OSError: Writing failed; the old file is untouched.
    """
    text = json.dumps({"kind": kind, **header}, sort_keys=True)
    named = {**arrays, _HEADER: np.frombuffer(text.encode(), dtype=np.uint8)}
    archive = io.BytesIO()
    np.savez(archive, **named)
    content = archive.getvalue()
    replace_bytes(path, content + hashlib.sha256(content).digest())


def read_arrays(path: Path, kind: str) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """The arrays and the header that `write_arrays` wrote.

    Raises:
        AqrExpError: The file is missing, damaged or of another kind; names it.
    """
    content = read_content(path)
    archive, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        raise AqrExpError(f"{path} is damaged: its content does not fit its checksum")
    with np.load(io.BytesIO(archive), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    header: dict[str, Any] = json.loads(arrays.pop(_HEADER).tobytes())
    if header["kind"] != kind:
        raise AqrExpError(f"{path} holds {header['kind']}, not {kind}")
    return arrays, header
