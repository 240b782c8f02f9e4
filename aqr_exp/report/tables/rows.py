"""Selection of runs: by conditions (`--where`), sweep, and the best point of one."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
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
from aqr_exp.config.short_names import flat
from aqr_exp.config.variant_spec import shipped_specs
from aqr_exp.errors import RequestError, cut
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.report.tables.baselines import Baselines, Specs, chosen_arm, shared_by_an_arm
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.confounders import check_factors
from aqr_exp.statistics.grouping import arm_name, group_seeds
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.store.collect import MEAN_METRICS, RunRow, with_settings
from aqr_exp.store.counting import grouped
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

# What differs between the seeds of an arm.
_OF_A_SEED: Mapping[str, Callable[[RunRow], Any]] = {
    "seed": lambda row: row.seed,
    "status": lambda row: row.status,
}
# What rows know by themselves: for these alone no specification is read.
OF_A_ROW: Mapping[str, Callable[[RunRow], Any]] = {
    **_OF_A_SEED,
    "variant": lambda row: row.variant,
    "preset": lambda row: row.preset,
    "fingerprint": lambda row: row.fingerprint,
    **{name: partial(RunRow.metric, name=name) for name in MEAN_METRICS},
}

ReadSpec = Callable[[RunRow], Mapping[str, Any] | None]


def read_conditions(
    texts: Sequence[str], rows: Sequence[RunRow], read_spec: ReadSpec, *, outcomes: bool = False
) -> list[Condition]:
    """Read conditions as they are typed, such as `bias_scale >= 2`; a run must meet all.

    Args:
        rows: The runs, whose ideas' keys are known by what is stored with them.
        outcomes: Whether they may look at metrics. Where means, intervals or verdicts follow they may not:
            whatever is left after a look at the scores is too good.

    Raises:
        RequestError: One is no condition, names an unknown key, or looks at a metric and may not.
    """
    if not texts:
        return []
    known = condition_names(group_options()) | set(OF_A_ROW) | _keys_of_ideas(rows, read_spec)
    conditions = [read_condition(text, known) for text in texts]
    for condition in () if outcomes else conditions:
        for name in sorted(condition.names.intersection(MEAN_METRICS)):
            raise RequestError(
                f"condition '{cut(condition.text, 40)}': {name} is an outcome, and numbers selected by "
                f"outcome mislead: use --sort {name}; `aqr-exp list --where` takes it"
            )
    return conditions


def _keys_of_ideas(rows: Sequence[RunRow], read_spec: ReadSpec) -> set[str]:
    """The keys of variants that this package does not have, by one run of each arm."""
    arms = {arm_of(row.name): row for row in rows if row.variant not in shipped_specs()}
    settings = [(read_spec(row) or {}).get("variant") for row in arms.values()]
    return {key for each in settings if isinstance(each, dict) for key in flat(each, "variant.")}


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
    row: RunRow,
    spec: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    seed_of: RunRow | None = None,
) -> Callable[[str], Any]:
    """What a condition sees of a run, or of its arm at the seed of another run."""
    inside = looking_at(spec, chosen_names(row.variant, (), spec, groups))

    def look(name: str) -> Any:
        if name in OF_A_ROW:
            value = OF_A_ROW[name](seed_of if seed_of and name in _OF_A_SEED else row)
            return ABSENT if value is None else value
        return inside(name)

    return look


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Runs that conditions choose, and those that these are compared with.

    Attributes:
        rows: In the order in which they came.
        references: Names of the runs that meet no condition and are kept for comparison.
        notes: Which they are; and runs whose specification is damaged.
    """

    rows: Sequence[RunRow]
    references: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


def choose(
    rows: Sequence[RunRow],
    texts: Sequence[str],
    specs: Specs,
    *,
    factors: Sequence[str] = (),
    baseline: str | None = None,
) -> Selection:
    """The runs that meet all conditions, with the arms they are compared with.

    Of such an arm those runs are kept whose seeds meet the conditions in the other arm's place.

    Args:
        texts: Conditions as typed; without any, all runs are chosen.
        factors: What arms may differ in besides their variant.
        baseline: The arm that all are compared with, as typed; None for each one's own.

    Raises:
        RequestError: A condition cannot be read or looks at a metric, no run meets all, or there is no
            such arm.
    """
    conditions = read_conditions(texts, rows, specs.of_arm)
    if not conditions:
        return Selection(rows=rows)
    names = frozenset().union(*(condition.names for condition in conditions))
    read = specs.of_arm if shared_by_an_arm([*names]) else specs.of_run
    met, notes = meeting(rows, conditions, read)
    if any(row.completed for row in rows) and not any(row.completed for row in met):
        line = _none_meets(rows, conditions, read)
        if not met and not notes:
            raise RequestError(line)
        notes = [*notes, line]
    chosen = {row.name for row in met}
    references: dict[str, RunRow] = {}
    groups = group_options()
    for arm, reference in _compared(rows, chosen, specs, factors, baseline):
        look = partial(_look, arm, read(arm) or {}, groups)
        references |= {
            row.name: row
            for row in rows
            if (row.variant, row.fingerprint) == (reference.variant, reference.fingerprint)
            and row.name not in chosen
            and all(condition.holds(look(row)) for condition in conditions)
        }
    notes += [
        f"kept for comparison: {name}, which does not meet {' and '.join(texts)}"
        for name in grouped(references.values(), lambda row: arm_name([row]))
    ]
    kept = [row for row in rows if row.name in chosen or row.name in references]
    return Selection(rows=kept, references=frozenset(references), notes=notes)


def _compared(
    rows: Sequence[RunRow],
    chosen: Collection[str],
    specs: Specs,
    factors: Sequence[str],
    baseline: str | None,
) -> list[tuple[RunRow, RunRow]]:
    """A run of each chosen arm, with one of the arm it is compared with, finished or not."""
    among = [
        msgspec.structs.replace(row, status=RunStatus.COMPLETED, metrics={})
        for row in rows
        if row.name in chosen or row.variant == BASELINE or baseline is not None
    ]
    groups, _ = group_seeds(with_settings(specs.store, among))
    ours = [group for group in groups if any(row.name in chosen for row in group)]
    asked = None
    if baseline is not None:
        try:
            asked = chosen_arm(ours, baseline)
        except RequestError:
            asked = chosen_arm(groups, baseline)
    found = Baselines(groups, specs, check_factors(factors), asked)
    pairs = [(group, found.of(group).group) for group in ours]
    return [
        (next(row for row in group if row.name in chosen), other[0])
        for group, other in pairs
        if other is not None
    ]


def _none_meets(rows: Sequence[RunRow], conditions: Sequence[Condition], read: ReadSpec) -> str:
    """The values that completed runs have of what conditions look at, none of them the right one."""
    completed = [row for row in rows if row.completed]
    groups = group_options()
    looks = [_look(row, read(row) or {}, groups) for row in completed]
    there = []
    for name in sorted({name for condition in conditions for name in condition.names}):
        values = {str(value) for look in looks if (value := look(name)) is not ABSENT}
        # Shorter ones first: whole numbers rise.
        text = ", ".join(sorted(values, key=lambda value: (len(value), value)))
        there.append(f"{name}: {cut(text) or 'none'}")
    asked = cut(" and ".join(condition.text for condition in conditions))
    return f"none of {len(completed)} completed runs meets '{asked}' (there: {'; '.join(there)})"


def chosen_by(data: ComparisonData, primary: str) -> Quantity:
    """The quantity that arms are picked by: the primary metric, where the table has it."""
    return next((one for one in data.quantities if one.name == primary), data.quantities[0])


def selected_on_val(data: ComparisonData, planned: Sequence[str], primary: str) -> set[int]:
    """The best line of a sweep, as it would be selected.

    Args:
        data: A sweep's arms.

    Returns:
        The index of the best arm among those that are no baseline, once for each split; empty where
        there are not two to choose from. An arm that lacks a seed is not chosen: the others' mean
        says less.
    """
    quantity = chosen_by(data, primary)
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


def selection_notes(data: ComparisonData, selected: set[int], primary: str) -> list[str]:
    """A warning that the best point's number is too good, and the remedy."""
    points = Counter(arm.first.data for arm in data.arms if arm.first.variant != BASELINE)
    return [
        f"selected on val: {arm.name} is the best of {points[arm.first.data]} points by "
        f"{chosen_by(data, primary).name} on the data it is scored on, so its lead is too large; "
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
