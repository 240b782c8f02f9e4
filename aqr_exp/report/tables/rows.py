"""Selection of a table's runs: by conditions (`--where`), epoch, sweep, and the best point of one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from aqr_exp.config import BASELINE
from aqr_exp.config.compose import group_options
from aqr_exp.config.conditions import (
    ABSENT,
    Condition,
    chosen_names,
    condition_names,
    looking_at,
    read_condition,
)
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.report.tables.baselines import Specs
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.statistics.grouping import Group
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.store.collect import MEAN_METRICS, RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

# What rows know by themselves: for these alone no specification is read.
OF_A_ROW: Mapping[str, Callable[[RunRow], Any]] = {
    "variant": lambda row: row.variant,
    "seed": lambda row: row.seed,
    "preset": lambda row: row.preset,
    "fingerprint": lambda row: row.fingerprint,
    "status": lambda row: row.status,
    **{name: partial(RunRow.metric, name=name) for name in MEAN_METRICS},
}

ReadSpec = Callable[[RunRow], Mapping[str, Any] | None]


def read_conditions(texts: Sequence[str]) -> list[Condition]:
    """Read conditions as they are typed, such as `bias_scale >= 2`; a run must meet all.

    Raises:
        RequestError: One is no condition, or names an unknown key.
    """
    if not texts:
        return []
    groups = group_options()
    known = condition_names(groups) | set(OF_A_ROW)
    return [read_condition(text, known) for text in texts]


def meeting(
    rows: Sequence[RunRow], conditions: Sequence[Condition], read_spec: ReadSpec
) -> tuple[list[RunRow], list[str]]:
    """The runs that meet all conditions.

    Args:
        read_spec: A run's specification as plain values; None when it is damaged.

    Returns:
        The rows in their order; and a note for each run whose specification is damaged.

    Raises:
        RequestError: A condition compares what has no order.
    """
    if not conditions:
        return list(rows), []
    names = frozenset().union(*(condition.names for condition in conditions))
    from_spec = bool(names - set(OF_A_ROW))
    groups = group_options() if from_spec else {}
    kept, notes = [], []
    for row in rows:
        spec = read_spec(row) if from_spec else {}
        if spec is None:
            notes.append(f"not in the table: {row.name}: its spec.yaml cannot be read")
        elif all(condition.holds(_look(row, spec, groups)) for condition in conditions):
            kept.append(row)
    return kept, notes


def _look(
    row: RunRow, spec: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> Callable[[str], Any]:
    inside = looking_at(spec, chosen_names(row.variant, (), spec, groups))

    def look(name: str) -> Any:
        if name in OF_A_ROW:
            value = OF_A_ROW[name](row)
            return ABSENT if value is None else value
        return inside(name)

    return look


LAST_COMMON = "last-common"
CURVE_MARK = "curve, not the metric of record"
SYNTHETIC_DATA = "synth"
NO_CURVE = "not evaluated during training (schedule.validate_every_epochs)"

Curve = Mapping[int, Mapping[str, float]]
"""Metrics by the number of epochs trained."""


def read_epoch(asked: str) -> int | None:
    """The epoch of `--at-epoch`; None for the last that all runs have.

    Raises:
        RequestError: It is neither.
    """
    if asked == LAST_COMMON:
        return None
    if not asked.isdecimal() or int(asked) < 1:
        raise RequestError(f"--at-epoch {asked!r}: write an epoch, 1 or more, or {LAST_COMMON}")
    return int(asked)


def at_epoch(
    rows: Sequence[RunRow], epoch: int | None, store: Store, specs: Specs
) -> tuple[list[RunRow], int]:
    """The rows as if training had ended after an epoch.

    Args:
        epoch: Counted from 1; None takes the last that all runs with a curve have.

    Returns:
        Runs evaluated then, completed with that evaluation's metrics alone, the others with the
        reason why they are left out; and the epoch.

    Raises:
        RequestError: No run was evaluated then, or there is no epoch all runs have.
    """
    curves: dict[str, Curve] = {}
    damaged: dict[str, str] = {}
    for row in rows:
        try:
            curves[row.name] = {} if row.status is RunStatus.DAMAGED else _curve(store, row)
        except AqrExpError as error:
            damaged[row.name] = str(error)
    epoch = epoch if epoch is not None else _last_common(curves)
    if not any(epoch in curve for curve in curves.values()):
        raise RequestError(f"no run was evaluated after epoch {epoch}{_there(curves)}")
    return [
        msgspec.structs.replace(row, status=RunStatus.DAMAGED, reason=damaged[row.name])
        if row.name in damaged
        else _at(row, curves[row.name], epoch, specs)
        for row in rows
    ], epoch


def without_records(group: Group, epoch: int) -> Group:
    """The runs under names that no folder has: the records of the finished run are not the curve's."""
    return [msgspec.structs.replace(row, name=f"{row.name} after epoch {epoch}") for row in group]


def _curve(store: Store, row: RunRow) -> Curve:
    """A run's metrics by epoch from its history; of an epoch evaluated twice the later line counts."""
    found: dict[int, dict[str, float]] = {}
    for line in store.folder(row.name).read_history():
        epoch = line.get("epoch")
        if line.get("kind") == "val" and isinstance(epoch, int):
            found[epoch] = {
                name: float(value)
                for name, value in line.items()
                if name != "epoch"
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            }
    return found


def _last_common(curves: Mapping[str, Curve]) -> int:
    given = [set(curve) for curve in curves.values() if curve]
    common = set.intersection(*given) if given else set()
    if not common:
        raise RequestError(f"there is no epoch that all runs were evaluated after{_there(curves)}")
    return max(common)


def _there(curves: Mapping[str, Curve]) -> str:
    epochs = sorted({epoch for curve in curves.values() for epoch in curve})
    return f" (there: {', '.join(map(str, epochs))})" if epochs else f": they were {NO_CURVE}"


def _at(row: RunRow, curve: Curve, epoch: int, specs: Specs) -> RunRow:
    if epoch not in curve:
        if row.status is RunStatus.DAMAGED:
            return row
        after = f"not evaluated after epoch {epoch}" if curve else NO_CURVE
        reason = f"{row.reason}; {after}" if row.reason else after
        status = RunStatus.LEFT_OUT if row.completed else row.status
        return msgspec.structs.replace(row, status=status, reason=reason, metrics={})
    if row.completed:
        about = {name: row.metrics.get(name) for name in ("split", "synthetic")}
    else:
        data = (specs.of_arm(row) or {}).get("data")
        known = data if isinstance(data, Mapping) else {}
        synthetic = known.get("name") == SYNTHETIC_DATA
        about = {"split": known.get("val_split", "?"), "synthetic": synthetic}
    metrics = {**curve[epoch], **about}
    return msgspec.structs.replace(row, status=RunStatus.COMPLETED, reason=None, metrics=metrics)


def selected_on_val(data: ComparisonData, planned: Sequence[str]) -> set[int]:
    """The best line of a sweep, as it would be selected.

    Args:
        data: A sweep's arms; the first quantity is what they are picked by.

    Returns:
        The index of the best arm among those that are no baseline, once for each split; empty where
        there are not two to choose from. An arm that lacks a seed is not chosen: the others' mean
        says less.
    """
    quantity = data.quantities[0]
    sign = -1.0 if lower_is_better(quantity.metric) else 1.0
    by_data: dict[str, list[tuple[float, int]]] = {}
    for index, arm in enumerate(data.arms):
        mean = arm.estimates.means[quantity.name].mean
        if arm.first.variant != BASELINE and mean is not None and _is_whole(arm, planned):
            by_data.setdefault(arm.first.data, []).append((sign * mean, index))
    # Of several equal ones the first, as the sweep's figure and its best point have it.
    chosen = (
        max(points, key=lambda point: point[0])[1] for points in by_data.values() if points[1:]
    )
    return set(chosen)


def _is_whole(arm: TableArm, planned: Sequence[str]) -> bool:
    """Whether every seed that the sweep means of an arm is in it."""
    there = {first_of(row.name) for row in arm.group}
    own = arm_of(arm.first.name)
    return all(name in there for name in planned if arm_of(name) == own)


def selection_notes(data: ComparisonData, selected: set[int]) -> list[str]:
    """A warning that the best point's number is too good, and the remedy."""
    points = Counter(arm.first.data for arm in data.arms if arm.first.variant != BASELINE)
    return [
        f"selected on val: {arm.name} is the best of {points[arm.first.data]} points by "
        f"{data.quantities[0].name} on the data it is scored on, so its lead is too large; "
        "`aqr-exp confirm` measures it on fresh seeds"
        for arm in (data.arms[index] for index in sorted(selected))
    ]


def rows_of_sweep(
    rows: Sequence[RunRow], names: Sequence[str], store: Store
) -> tuple[list[RunRow], list[str]]:
    """The runs of a sweep, with those that were forced beside them."""
    planned = set(names)
    kept = [row for row in rows if row.name in planned or first_of(row.name) in planned]
    there = {row.name for row in kept}
    notes = []
    for name in names:
        if name not in there:
            empty = store.folder(name).path.exists()
            why = "damaged: an empty folder" if empty else "missing: not started"
            notes.append(f"not in the table: {name}: {why}")
    return kept, notes
