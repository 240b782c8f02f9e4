"""A cache of all rows of a store, so that listing thousands of runs reads one file.

The folders stay the truth: a row is used only while each of the files it was read from has the same
inode, size and times. The index may be deleted at any moment, and is: a damaged one, or one of another
version, is as good as none. It is replaced in one step, so several processes may write it at once:
the last one wins, and what it did not know is read again. Where it cannot be written there is none.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp import __version__
from aqr_exp.results.atomic import replace_bytes

# To be raised when a row is read from the files in another way.
FORM = 1
_DIGEST_BYTES = hashlib.sha256().digest_size
# What was changed so recently may change again without showing it: clocks of file systems tick slowly.
SETTLED_S = 2.0
# Reading so many runs anew, or so large a part of them, costs about as much as writing the index.
WORTH_RUNS = 16
WORTH_PART = 0.02

Stamp = tuple[int, int, int, int]
"""Inode, size and both times (of the content and of the inode, ns) of a file; zeros when absent."""

ABSENT: Stamp = (0, 0, 0, 0)


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One run as it was read.

    Attributes:
        name: The run's name.
        stamps: Of the files it was read from.
        row: What `RunRow` holds besides the name.
    """

    name: str
    stamps: list[Stamp]
    status: str
    reason: str | None
    attempt: int
    updated: str
    record: dict[str, Any]
    metrics: dict[str, Any]
    sizes: dict[str, int]
    verified: bool


class _Content(msgspec.Struct, array_like=True, gc=False):
    written_by: str
    form: int
    entries: list[Entry]


def stamp(path: str) -> Stamp:
    """What tells two states of a file apart.

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


def load(path: Path) -> dict[str, Entry]:
    """The entries of an index by run; none when it is absent, damaged or of another version."""
    try:
        content = path.read_bytes()
        digest, packed = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(packed).digest() != digest:
            return {}
        read = msgspec.msgpack.decode(packed, type=_Content)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return {}
    if (read.written_by, read.form) != (__version__, FORM):
        return {}
    return {entry.name: entry for entry in read.entries}


def worth_saving(fresh: int, gone: int, total: int) -> bool:
    """Whether an index differs so much from the runs that writing it pays.

    Args:
        fresh: Runs that are not in it as they are now.
        gone: Runs in it that are no longer there.
        total: Runs there are.
    """
    return fresh + gone >= max(WORTH_RUNS, WORTH_PART * total)


def save(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write an index; where that is not possible, there is none."""
    content = _Content(written_by=__version__, form=FORM, entries=list(entries.values()))
    packed = msgspec.msgpack.encode(content)
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        replace_bytes(path, hashlib.sha256(packed).digest() + packed, durable=False)
