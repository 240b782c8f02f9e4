"""THE rule which rerun of a seed counts, for tables, figures, sweeps and the scheduler alike.

A run may be repeated in folders of its own (`run --force` makes `-a2`, `-a3`, ... beside it). Of the
completed ones the one with the highest number counts: whoever forced it wanted it in place of those
before. Clocks, file times and the order in which interrupted ones were resumed have no part in it.
Where none is completed nothing counts, and the highest number is the one that is shown and continued.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from aqr_exp.files.run_name import RunName, first_of, rerun_of
from aqr_exp.store.collect import RunRow, read_row
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

Key = tuple[str, str, int]
"""Variant, fingerprint and seed."""

Item = TypeVar("Item")
Group = TypeVar("Group", bound=Hashable)


def grouped(items: Iterable[Item], key: Callable[[Item], Group]) -> dict[Group, list[Item]]:
    """Items by a key, in the order in which the keys first appear."""
    found: dict[Group, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def counting_run(reruns: Iterable[RunRow]) -> RunRow | None:
    """The run that counts of the reruns of one seed; None when none is completed."""
    return max((row for row in reruns if row.completed), key=_rank, default=None)


def shown_run(reruns: Sequence[RunRow]) -> RunRow:
    """The run that counts of at least one rerun or, when none is completed, the one continued."""
    return counting_run(reruns) or max(reruns, key=_rank)


def counting_runs(rows: Iterable[RunRow]) -> list[RunRow]:
    """The run that counts of each seed of each arm, in the order in which the seeds first appear."""
    found = (counting_run(reruns) for reruns in by_seed(rows).values())
    return [row for row in found if row is not None]


def by_seed(rows: Iterable[RunRow]) -> dict[Key | str, list[RunRow]]:
    """Rows by seed of an arm; one that does not say its seed stands alone under its name."""
    return grouped(rows, seed_key)


def by_first_name(rows: Iterable[RunRow]) -> dict[str, list[RunRow]]:
    """Rows by the name of the run that they are reruns of."""
    return grouped(rows, lambda row: first_of(row.name))


def seed_key(row: RunRow) -> Key | str:
    """Variant, fingerprint and seed as the record has them, or else the name; else the name itself."""
    if row.seed is not None and {"variant", "fingerprint"} <= row.record.keys():
        return row.variant, row.fingerprint, row.seed
    name = RunName.parse(row.name)
    return (name.variant, name.fingerprint, name.seed) if name else row.name


def _rank(row: RunRow) -> tuple[int, str]:
    # Two folders of one number exist only where one was renamed by hand.
    return rerun_of(row.name), row.name


class RunFolders:
    """The folders that stand for runs: of several reruns the one that counts or is continued.

    The names of the store's folders are read once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reruns = grouped(store.names(), first_of)

    def __contains__(self, name: str) -> bool:
        """Whether the original of this name or a rerun of it was ever made."""
        return name in self._reruns

    def of(self, name: str) -> RunFolder:
        """The folder of a run, which need not exist."""
        reruns = self._reruns.get(name, [name])
        if reruns == [name]:
            return self._store.folder(name)
        rows = [read_row(self._store.folder(rerun)) for rerun in reruns]
        return self._store.folder(shown_run(rows).name)
