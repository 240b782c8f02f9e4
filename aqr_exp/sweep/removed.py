"""Runs that a sweep meant once and means no more, and that are not complete."""

from collections.abc import Collection
from dataclasses import dataclass

from aqr_exp.errors import AqrExpError
from aqr_exp.results.collect import DAMAGED
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import PRUNED, RunStatus
from aqr_exp.results.store import Store
from aqr_exp.results.sweep_folder import SweepEntry

_OVER = frozenset({RunStatus.COMPLETED.value, RunStatus.CANCELLED.value, PRUNED})


@dataclass(frozen=True, kw_only=True)
class RemovedRun:
    """One such run.

    Attributes:
        entry: What the sweep wrote down about it.
        folder: Its folder.
        state: Its effective status; never completed, cancelled or pruned.
        reason: Why it failed or is damaged; who works on it.
    """

    entry: SweepEntry
    folder: RunFolder
    state: str
    reason: str | None = None


def removed_runs(name: str, planned: Collection[str], store: Store) -> list[RemovedRun]:
    """The runs that belong to a sweep's folder and not to its plan, as far as they were ever made.

    Args:
        name: The sweep's name.
        planned: Names of the runs it means now.
        store: Where runs are kept.

    Returns:
        Those that are not complete, cancelled or pruned, and that no other sweep means.
    """
    sweep = store.sweep(name)
    entries = [item for item in sweep.read_known() if item.name not in planned]
    if not entries:
        return []
    others = _meant_by_others(name, store)
    found = []
    for entry in entries:
        folder = store.folder(entry.name)
        if entry.name in others or not folder.path.exists():
            continue
        removed = _look(entry, folder)
        if removed.state not in _OVER:
            found.append(removed)
    return found


def _look(entry: SweepEntry, folder: RunFolder) -> RemovedRun:
    try:
        state, why = folder.effective_status(), folder.read_state().why
    except (AqrExpError, OSError) as error:
        return RemovedRun(entry=entry, folder=folder, state=DAMAGED, reason=str(error))
    return RemovedRun(entry=entry, folder=folder, state=state, reason=folder.holder() or why)


def _meant_by_others(name: str, store: Store) -> set[str]:
    """The runs that other sweeps mean; a sweep whose plan cannot be read means nothing."""
    found: set[str] = set()
    for other in store.sweep_names():
        if other != name:
            try:
                found |= {entry.name for entry in store.sweep(other).read_plan()}
            except AqrExpError:
                continue
    return found
