"""Files of named arrays that are either whole or refused.

A file is an `.npz` archive followed by the SHA-256 of everything before it: `numpy.load` opens it, and any
change of any bit is noticed by `read_arrays`.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_bytes
from aqr_exp.files.reading import LARGE_BYTES, read_content

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
    content = read_content(path, at_most=LARGE_BYTES, follow=False)
    archive, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(archive).digest() != digest:
        raise AqrExpError(f"{path} is damaged: its content does not fit its checksum")
    try:
        arrays = unpack_arrays(archive)
        header: dict[str, Any] = json.loads(arrays.pop(_HEADER).tobytes())
        found = header["kind"]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise AqrExpError(f"{path} is damaged: it holds no named arrays") from None
    if found != kind:
        raise AqrExpError(f"{path} holds {str(found)[:40]}, not {kind}")
    return arrays, header


def unpack_arrays(archive: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an `.npz` archive, of numbers and text alone.

    Raises:
        ValueError: It is damaged or compressed, or holds objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as members:
            if any(member.compress_type for member in members.infolist()):
                raise ValueError("compressed arrays may take any memory")
        with np.load(io.BytesIO(archive), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except (zipfile.BadZipFile, EOFError, MemoryError, OverflowError, NotImplementedError) as error:
        raise ValueError(str(error)) from None
