"""A cache of all rows of a store, so that listing thousands of runs reads one file.

The folders stay the truth: a row is used only while each of the files it was read from has the same
inode, size and times. The index may be deleted at any moment, and is: a damaged one, or one of another
version, is as good as none. It is replaced in one step, so several processes may write it at once:
the last one wins, and what it did not know is read again. Where it cannot be written there is none.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.results.cache_file import read_cache, write_cache
from aqr_exp.results.stamp import Stamp

# Reading so many runs anew, or so large a part of them, costs about as much as writing the index.
WORTH_RUNS = 16
WORTH_PART = 0.02


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One run as it was read.

    Attributes:
        stamps: Of the files it was read from.
        name: The run's name; what follows is named as in `RunRow`.
    """

    stamps: list[Stamp]
    name: str
    status: str
    reason: str | None
    attempt: int
    updated: str
    record: dict[str, Any]
    metrics: dict[str, Any]
    sizes: dict[str, int]
    verified: bool


def load(path: Path) -> dict[str, Entry]:
    """The entries of an index by run; none when it is absent, damaged or of another version."""
    return {entry.name: entry for entry in read_cache(path, list[Entry]) or ()}


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
    write_cache(path, list(entries.values()))
