"""Caches that can be rebuilt, and file signatures that tell two states of a file apart."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from aqr_exp import __version__
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_bytes
from aqr_exp.files.reading import read_content

# What was changed so recently may change again without showing it: clocks of file systems tick slowly.
SETTLED_S = 2.0

Stamp = tuple[int, int, int, int]
"""Inode, size and both times (of the content and of the inode, ns) of a file; zeros when absent."""

ABSENT: Stamp = (0, 0, 0, 0)


def stamp(path: str) -> Stamp:
    """The stamp of a file.

    Raises:
        OSError: It is there and cannot be looked at.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - forty thousand of these
    except FileNotFoundError:
        return ABSENT
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settled(stamps: Iterable[Stamp]) -> bool:
    """Whether files changed so long ago that any later change shows in their stamps."""
    now_ns = time.time_ns()
    return all(abs(now_ns - changed_ns) > SETTLED_S * 1e9 for _, _, _, changed_ns in stamps)


def cache_of(folder: Path) -> Path:
    """This user's own folder for what is computed of a folder: there nobody else puts numbers.

    It lies in `$AQR_EXP_CACHE`, or in `aqr-exp` of the user's caches; without a home nothing is kept.
    """
    place = os.environ.get("AQR_EXP_CACHE")
    if not place:
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
        # A user without a home has the name of none: below this nothing can be.
        place = f"{os.devnull if caches[0] == '~' else caches}/aqr-exp"
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return Path(place, digest[:16])


_DIGEST_BYTES = hashlib.sha256().digest_size
# To be raised when what is cached is computed in another way.
_FORM = 2
_MOST_BYTES = 1 << 30

Content = TypeVar("Content")


def read_cache(path: Path, kind: type[Content]) -> Content | None:
    """Read what `write_cache` wrote; None when it is absent, damaged or of another version."""
    try:
        stored = read_content(path, at_most=_MOST_BYTES, follow=False)
        digest, packed = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(packed).digest() != digest:
            return None
        written_by, form, content = msgspec.msgpack.decode(
            packed, type=tuple[str, int, msgspec.Raw]
        )
        if (written_by, form) != (__version__, _FORM):
            return None
        return msgspec.msgpack.decode(content, type=kind)
    except (AqrExpError, ValueError, RecursionError):
        return None


def write_cache(path: Path, content: object) -> None:
    """Replace a cached file in one step; where it cannot be written, nothing is cached."""
    packed = msgspec.msgpack.encode((__version__, _FORM, content))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, hashlib.sha256(packed).digest() + packed, durable=False)
