"""Files opened where anything may lie, read, decoded and hashed."""

import errno
import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast, overload

import msgspec

from aqr_exp.errors import AqrExpError, is_shortage

Content = TypeVar("Content")


@overload
def read_json(path: Path, *, follow: bool = True) -> dict[str, Any]: ...
@overload
def read_json(path: Path, kind: type[Content], *, follow: bool = True) -> Content: ...
def read_json(path: Path, kind: Any = dict[str, Any], *, follow: bool = True) -> Any:
    """Read a JSON file.

    Args:
        kind: The type of its content; any object by default.
        follow: As of `open_regular`.

    Raises:
        AqrExpError: The file is missing, is not JSON or holds something else; names file and fault.
    """
    return decode_json(path, read_content(path, follow=follow), kind)


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
}
# No smaller file of a store is longer, and no table or info file of a data set.
SMALL_BYTES, LARGE_BYTES = 64 << 20, 4 << 30


def open_regular(path: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> BinaryIO:
    """Open a file where anything may lie: it never waits, and opens nothing but a regular file.

    Args:
        flags: As of `os.open`; reading without them.
        follow: Whether a symbolic link may stand for it: where people put it, not within a store.

    Raises:
        OSError: It cannot be opened, or is something else.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise _not_regular(path, os.lstat(path).st_mode) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode)
    access = {os.O_RDONLY: "rb", os.O_WRONLY: "ab"}.get(flags & os.O_ACCMODE, "r+b")
    return cast(BinaryIO, os.fdopen(descriptor, access))


def kind_of(mode: int) -> str:
    """What lies somewhere, by its `st_mode`, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "a device")


def _not_regular(path: Path, mode: int) -> OSError:
    return OSError(errno.EINVAL, f"it is {kind_of(mode)}, not a file", os.fspath(path))


def read_content(path: Path, *, at_most: int | None = None, follow: bool = True) -> bytes:
    """Read a regular file.

    Args:
        at_most: Bytes; one that is longer is not read. None reads of people's own files all but those
            that nobody has, and of a store's, which are not followed, small ones.
        follow: As of `open_regular`.

    Raises:
        AqrExpError: The file is missing, too long or cannot be read; names it.
        OSError: As `is_shortage` has it.
    """
    if at_most is None:
        at_most = LARGE_BYTES if follow else SMALL_BYTES
    try:
        with open_regular(path, follow=follow) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if size <= at_most else b""
    except FileNotFoundError:
        raise AqrExpError(f"{path} is missing") from None
    except OSError as error:
        if is_shortage(error):
            raise
        damaged = "is damaged" if error.errno == errno.EINVAL else "cannot be read"
        raise AqrExpError(f"{path} {damaged}: {error.strerror}") from None
    if size > at_most:
        raise AqrExpError(f"{path} is damaged: {size} bytes, at most {at_most} were expected")
    return content


def decode_json(path: Path, content: bytes, kind: type[Content]) -> Content:
    """Decode the UTF-8 JSON of a file and check its types.

    Raises:
        AqrExpError: It is not JSON or of another type; names file, place and fault in one line.
    """
    try:
        value = msgspec.json.decode(content, type=kind)
        found = _LONG_NUMBER.search(content) if len(content) <= SMALL_BYTES else None
        if found is None or not _has_long_number(msgspec.json.decode(content)):
            return value
        fault = f"a number of {len(found[0])} digits"
    except RecursionError:
        fault = "nested too deeply"
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        fault = _encoding_fault(content) or type_fault(error)
    raise AqrExpError(f"{path} is damaged: {fault}")


# What no index, array or decimal number holds; in a text, it is only looked at twice.
_LONG_NUMBER = re.compile(rb"(?<![^\s:,\[-])\d{19,}(?=[\s,\]}]|\Z)")


def _has_long_number(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(_has_long_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


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
    with open_regular(path) as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits; fails as `feed_file` does."""
    digest = hashlib.sha256()
    feed_file(digest, path)
    return digest.hexdigest()
