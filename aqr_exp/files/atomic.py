"""Atomic writes, checksums and hashes of files."""

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast, overload

import msgspec

from aqr_exp.errors import AqrExpError, is_shortage

Content = TypeVar("Content")
_OBJECT = dict[str, Any]


@contextlib.contextmanager
def writes(path: Path) -> Iterator[None]:
    """Name `path`, for which all that is done here is, in an error of the operating system."""
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        del error.filename2
        raise


def replace_text(path: Path, text: str) -> None:
    """Put `text` at `path` as UTF-8, as `replace_bytes` does."""
    replace_bytes(path, text.encode("utf-8"))


def replace_bytes(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Put `content` at `path` in one step: readers see the old file or the whole new one.

    Args:
        path: The file to create or replace; its folder must exist.
        durable: Whether to wait until it would survive a crash of the machine; a cache need not.

    Raises:
        OSError: Writing failed, with `path`; the old file is untouched and the temporary one is gone.
    """
    clear_litter(path.parent)
    temporary = draft_of(path)
    try:
        with writes(path):
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(temporary, path)  # noqa: PTH105 - tests fail this very call
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


# After so long, what a writer of another machine was about to write is litter too.
FORGOTTEN_S = 24 * 3600.0


def draft_of(path: Path) -> Path:
    """A hidden name beside `path` for what is written before it gets that name, with its writer in it."""
    return path.with_name(f".{path.name}.{os.getpid()}.{_here()}{secrets.token_hex(4)}.tmp")


@functools.cache
def clear_litter(folder: Path) -> None:
    """Remove what killed writers left in a folder, when this process first writes there.

    A draft goes when its writer ran here and is gone; that of another machine after a day.
    """
    with contextlib.suppress(OSError):
        names = os.listdir(folder)  # noqa: PTH208 - names only
        for name in names:
            if name[0] == "." and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    _remove_if_litter(folder / name)


def _remove_if_litter(draft: Path) -> None:
    found = re.fullmatch(r"\..+\.([1-9]\d{0,8})\.([0-9a-f]{8})[0-9a-f]{8}\.tmp", draft.name)
    status = draft.lstat()
    if found is None or found[2] != _here():
        gone = time.time() - status.st_mtime > FORGOTTEN_S
    else:
        gone = False
        try:
            os.kill(int(found[1]), 0)
        except ProcessLookupError:
            gone = True
    if gone and stat.S_ISDIR(status.st_mode):
        shutil.rmtree(draft)
    elif gone:
        draft.unlink()


@functools.cache
def _here() -> str:
    """Eight digits for where a process number counts: this machine, since its start, in this container."""
    facts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - no path, an identifier
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:8]


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
def read_json(path: Path, *, follow: bool = True) -> dict[str, Any]: ...
@overload
def read_json(path: Path, kind: type[Content], *, follow: bool = True) -> Content: ...
def read_json(path: Path, kind: Any = _OBJECT, *, follow: bool = True) -> Any:
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


KEY = "checksum"
MISFIT = "its content does not fit its checksum"
_JSON_TAIL = re.compile(
    rb',?\n "checksum": "sha256:([0-9a-f]{64})(?: of ((?:[^"\\\n]|\\.)+))?"\n\}\n\Z'
)
_YAML_HEAD = re.compile(
    rb'# checksum: sha256:([0-9a-f]{64}) of the lines below(?:, "((?:[^"\\\n]|\\.)+)")?\n'
)
# Longer than a tail with the longest name, and than the part of a head that no name is in.
_TAIL_BYTES, _HEAD_BYTES = 2000, 120
LONGEST_PLACE = 80
# One damage cannot hide both of these, so a file with a checksum never passes for an older one.
_SIGNS = (b"checksum", b"sha256:")


class Covers(IntEnum):
    """What the checksum of a file covers; those of older versions cover less."""

    NOTHING = 0
    CONTENT = 1
    PLACE = 2
    """The content, and the names of its run and of the file."""


@dataclass(frozen=True, kw_only=True)
class Checked(Generic[Content]):
    """The content of a file, and what the checksum covers that it fits."""

    value: Content
    covers: Covers

    @property
    def verified(self) -> bool:
        """Whether it is certain that the content is of this run and this file."""
        return self.covers is Covers.PLACE


def replace_checked_json(path: Path, value: Mapping[str, Any], place: str | None) -> None:
    """Put `value` at `path` as `replace_json` does, with a checksum as its last key.

    Args:
        place: The names that the checksum binds it to, `<run>/<file>`; None binds it to none.

    Raises:
        ValueError: It has the key `checksum` already.
    """
    if KEY in value:
        raise ValueError(f"the key '{KEY}' is kept for the file's own")
    text = json.dumps(plain(value), indent=1, allow_nan=False)
    head = text.removesuffix("}").removesuffix("\n")
    quoted = "" if place is None else _quoted(place)
    of = f" of {quoted}" if quoted else ""
    comma = "," if value else ""
    digest = _digest(head.encode(), quoted.encode())
    replace_text(path, f'{head}{comma}\n "{KEY}": "sha256:{digest}{of}"\n}}\n')


def read_checked_json(path: Path, place: str, kind: Any = _OBJECT) -> Checked[Any]:
    """Read what `replace_checked_json` wrote, or a JSON object without a checksum.

    Args:
        place: The names it must be bound to, where it is bound.
        kind: The type of its content; any object by default.

    Raises:
        AqrExpError: It is missing, does not fit its checksum, belongs elsewhere, or is something else.
    """
    content = read_content(path, follow=False)
    tail = content[-_TAIL_BYTES:]
    found = _JSON_TAIL.search(tail)
    head = content if found is None else content[: found.start() - len(tail)]
    covers = _fits(path, place, found, head, tail)
    value = decode_json(path, content, kind)
    if found is not None and isinstance(value, dict):
        del value[KEY]
    return Checked(value=value, covers=covers)


def with_checksum_line(text: str, place: str) -> str:
    """Text with a checksum that binds it to its place, in a first line that YAML takes for a comment."""
    quoted = _quoted(place)
    digest = _digest(text.encode(), quoted.encode())
    return f'# {KEY}: sha256:{digest} of the lines below, "{quoted}"\n{text}'


def check_checksum_line(path: Path, place: str, content: bytes) -> Covers:
    """What the checksum covers that `with_checksum_line` added to a text.

    Raises:
        AqrExpError: It does not fit, or the text belongs elsewhere.
    """
    found = _YAML_HEAD.match(content)
    head = content[:_HEAD_BYTES]
    # An older version wrote no comments: a beginning of one is what is left of the first line.
    if found is None and head.startswith(b"#"):
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    return _fits(path, place, found, content[found.end() if found else 0 :], head)


def claimed_cover(content: bytes) -> Covers:
    """What the checksum of a JSON file or a YAML text says it covers."""
    found = _YAML_HEAD.match(content) or _JSON_TAIL.search(content[-_TAIL_BYTES:])
    if found is None:
        return Covers.NOTHING
    return Covers.CONTENT if found[2] is None else Covers.PLACE


def elsewhere(path: Path, place: str) -> AqrExpError:
    """The error for a file that belongs to another run, or under another name."""
    # Quoted, a name cannot steer a terminal.
    return AqrExpError(
        f"{path} is damaged: it is {_quoted(place[:LONGEST_PLACE])}: put it, or its folder, back there"
    )


def _fits(
    path: Path, place: str, found: re.Match[bytes] | None, covered: bytes, near: bytes
) -> Covers:
    if found is None:
        if any(sign in near for sign in _SIGNS):
            raise AqrExpError(f"{path} is damaged: {MISFIT}")
        return Covers.NOTHING
    if _digest(covered, found[2] or b"").encode() != found[1]:
        raise AqrExpError(f"{path} is damaged: {MISFIT}")
    if found[2] is None:
        return Covers.CONTENT
    if found[2] != _quoted(place).encode():
        raise elsewhere(path, found[2].decode("ascii", "replace"))
    return Covers.PLACE


def _digest(covered: bytes, quoted_place: bytes) -> str:
    bound = quoted_place + b"\0" if quoted_place else b""
    return hashlib.sha256(bound + covered).hexdigest()


def _quoted(place: str) -> str:
    return json.dumps(place)[1:-1]
