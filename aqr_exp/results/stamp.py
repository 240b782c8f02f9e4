"""What tells two states of a file apart without reading it."""

import os
import time
from collections.abc import Iterable

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
