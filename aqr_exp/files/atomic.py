"""Atomic writes, checksums and hashes of files."""

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import msgspec

from aqr_exp.errors import AqrExpError

Content = TypeVar("Content")
_OBJECT = dict[str, Any]


def replace_text(path: Path, text: str) -> None:
    """Put `text` at `path` as UTF-8, as `replace_bytes` does."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` at `path` in one step: readers see the old file or the whole new one.

    Args:
        path: The file to create or replace; its folder must exist.
        durable: Whether to wait until it would survive a crash of the machine; a cache need not.

    Raises:
        OSError: Writing failed; the old file is untouched and the temporary one is gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - tests fail this very call
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put what `plain` makes of `value` at `path` as JSON, as `replace_bytes` does."""
    replace_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Reduce a value to what standard JSON can hold: NaN and infinities become None.

    Args:
        value: Scalars (also NumPy's and zero-dimensional tensors), sequences, mappings, paths.

    Raises:
        TypeError: A value has no such form.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):  # NumPy scalars and zero-dimensional tensors, without their imports
        return plain(value.item())
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON: {value!r}")


@overload
def read_json(path: Path) -> dict[str, Any]: ...
@overload
def read_json(path: Path, kind: type[Content]) -> Content: ...
def read_json(path: Path, kind: Any = _OBJECT) -> Any:
    """Read a JSON file.

    Args:
        kind: The type of its content; any object by default.

    Raises:
        AqrExpError: The file is missing, is not JSON or holds something else; names file and fault.
    """
    return decode_json(path, read_content(path), kind)


def read_content(path: Path) -> bytes:
    """Read a file.

    Raises:
        AqrExpError: The file is missing or cannot be read; names it.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - four of these a run, in ten thousand runs
            return file.read()
    except FileNotFoundError:
        raise AqrExpError(f"{path} is missing") from None
    except OSError as error:
        raise AqrExpError(f"{path} cannot be read: {error.strerror}") from None


def decode_json(path: Path, content: bytes, kind: type[Content]) -> Content:
    """Decode the UTF-8 JSON of a file and check its types.

    Raises:
        AqrExpError: It is not JSON or of another type; names file, place and fault in one line.
    """
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        fault = "nested too deeply"
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        fault = _encoding_fault(content) or type_fault(error)
    raise AqrExpError(f"{path} is damaged: {fault}")


def _encoding_fault(content: bytes) -> str | None:
    """The first byte that is not UTF-8, in our own words: msgspec's differ between its versions."""
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start}"
    return None


def type_fault(error: Exception) -> str:
    """A fault of decoding, the place in the content first."""
    text, _, place = str(error).partition(" - at `$.")
    return f"{place[:-1]}: {text}" if place else text


_PIECE_BYTES = 1 << 20


def feed_file(digest: "hashlib._Hash", path: Path) -> None:
    """Add a file's content to a digest, in pieces.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; fails as `feed_file` does."""
    digest = hashlib.sha256()
    feed_file(digest, path)
    return digest.hexdigest()


KEY = "checksum"
MISFIT = "its content does not fit its checksum"
_JSON_TAIL = re.compile(rb',?\n "checksum": "sha256:([0-9a-f]{64})"\n\}\n\Z')
_YAML_HEAD = re.compile(rb"# checksum: sha256:([0-9a-f]{64}) of the lines below\n")
# Longer than a tail and than a head.
_NEAR_BYTES = 120
# One damage cannot hide both of these, so a file with a checksum never passes for an older one.
_SIGNS = (b"checksum", b"sha256:")


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[Content]):
    """The content of a file, and whether it has a checksum, which it then fits."""

    value: Content
    verified: bool


def replace_checked_json(path: Path, value: Mapping[str, Any]) -> None:
    """Put `value` at `path` as `replace_json` does, with a checksum as its last key.

    Raises:
        ValueError: It has the key `checksum` already.
    """
    if KEY in value:
        raise ValueError(f"the key '{KEY}' is kept for the file's own")
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    head = text.removesuffix("}").removesuffix("\n")
    digest = hashlib.sha256(head.encode()).hexdigest()
    comma = "," if value else ""
    replace_text(path, f'{head}{comma}\n "{KEY}": "sha256:{digest}"\n}}\n')


@overload
def read_checked_json(path: Path) -> Checked[dict[str, Any]]: ...
@overload
def read_checked_json(path: Path, kind: type[Content]) -> Checked[Content]: ...
def read_checked_json(path: Path, kind: Any = _OBJECT) -> Checked[Any]:
    """Read what `replace_checked_json` wrote, or a JSON object without a checksum.

    Args:
        kind: The type of its content; any object by default.

    Raises:
        AqrExpError: The file is missing, does not fit its checksum, or holds something else.
    """
    content = read_content(path)
    tail = content[-_NEAR_BYTES:]
    found = _JSON_TAIL.search(tail)
    if found is None and any(sign in tail for sign in _SIGNS):
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    if found is not None:
        head = content[: found.start() - len(tail)]
        if hashlib.sha256(head).hexdigest().encode() != found[1]:
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
    value = decode_json(path, content, kind)
    if found is not None and isinstance(value, dict):
        del value[KEY]
    return Checked(value=value, verified=found is not None)


def with_checksum_line(text: str) -> str:
    """Text with a checksum in a first line that YAML takes for a comment."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"# {KEY}: sha256:{digest} of the lines below\n{text}"


def fits_checksum_line(path: Path, content: bytes) -> bool:
    """Whether a text has what `with_checksum_line` adds.

    Raises:
        AqrExpError: It has, and does not fit it.
    """
    head = content[:_NEAR_BYTES]
    found = _YAML_HEAD.match(head)
    if found is None:
        # An older version wrote no comments: a beginning of one is what is left of the first line.
        if head.startswith(b"#") or any(sign in head for sign in _SIGNS):
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
        return False
    if hashlib.sha256(content[found.end() :]).hexdigest().encode() != found[1]:
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    return True
