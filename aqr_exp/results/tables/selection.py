"""The selection guard: the best of several points was chosen by the numbers that it shows."""

from collections.abc import Sequence

from aqr_exp.results.collect import RunRow
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.store import Store, forced_number
from aqr_exp.results.tables.study import Arm, Study
from aqr_exp.results.tables.train_time import BASELINE


def selected_on_val(study: Study, planned: Sequence[str]) -> set[int]:
    """The line that whoever picks the best of a sweep would pick.

    Args:
        study: A sweep's arms; the first quantity is what they are picked by.
        planned: The names of the runs that the sweep means.

    Returns:
        The index of the best arm among those that are no baseline, once for each split; empty where
        there are not two to choose from. An arm that lacks a seed is not chosen: the others' mean
        says less.
    """
    from aqr_exp.results.inference.metric_values import lower_is_better

    quantity = study.quantities[0]
    sign = -1.0 if lower_is_better(quantity.metric) else 1.0
    by_data: dict[str, list[tuple[float, int]]] = {}
    for index, arm in enumerate(study.arms):
        mean = arm.measured.means[quantity.name].mean
        if arm.first.variant != BASELINE and mean is not None and _is_whole(arm, planned):
            by_data.setdefault(arm.first.data, []).append((sign * mean, index))
    # Of several equal ones the first, as the sweep's figure and its best point have it.
    chosen = (
        max(points, key=lambda point: point[0])[1] for points in by_data.values() if points[1:]
    )
    return set(chosen)


def _is_whole(arm: Arm, planned: Sequence[str]) -> bool:
    """Whether every seed that the sweep means of an arm is in it."""
    there = {_original(row.name) for row in arm.group}
    prefix = f"{_original(arm.first.name).rpartition('-s')[0]}-s"
    return all(name in there for name in planned if name.startswith(prefix))


def selection_notes(study: Study, selected: set[int]) -> list[str]:
    """What is wrong with the number of the best point, and what to do about it."""
    return [_note(study, study.arms[index]) for index in sorted(selected)]


def _note(study: Study, arm: Arm) -> str:
    points = sum(
        other.first.variant != BASELINE and other.first.data == arm.first.data
        for other in study.arms
    )
    return (
        f"selected on val: {arm.name} is the best of {points} points by {study.quantities[0].name} on "
        "the data it is scored on, so its lead is too large; `aqr-exp confirm` measures it on fresh seeds"
    )


def rows_of_sweep(
    rows: Sequence[RunRow], names: Sequence[str], store: Store
) -> tuple[list[RunRow], list[str]]:
    """The runs of a sweep, with those that were forced beside them.

    Args:
        rows: All runs.
        names: The runs that the sweep means.
        store: Where they are.

    Returns:
        The rows; and a note for each run that was never started.
    """
    planned = set(names)
    kept = [row for row in rows if row.name in planned or _original(row.name) in planned]
    there = {row.name for row in kept}
    missing = [store.folder(name) for name in names if name not in there]
    return kept, [f"not in the table: {folder.name}: {_why(folder)}" for folder in missing]


def _why(folder: RunFolder) -> str:
    return "missing: not started" if not folder.path.exists() else "damaged: an empty folder"


def _original(name: str) -> str:
    """The run beside which this one was forced (`-a2`); itself when it was not."""
    prefix = name.rpartition("-a")[0]
    return prefix if prefix and forced_number(name, prefix) else name
