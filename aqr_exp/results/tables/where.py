"""`--where`: which runs a table is of, by conditions on their configuration; read, never run."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from aqr_exp.config.compose import conf_dir, group_options
from aqr_exp.results.collect import MEAN_METRICS, RunRow
from aqr_exp.sweep.condition_names import chosen_names, condition_names
from aqr_exp.sweep.conditions import ABSENT, Condition, looking_at, read_condition

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
    """Read conditions as they are typed.

    Args:
        texts: Such as `bias_scale >= 2`; a run must meet all.

    Raises:
        RequestError: One is no condition, or names an unknown key.
    """
    if not texts:
        return []
    groups = group_options(conf_dir())
    known = condition_names(groups) | set(OF_A_ROW)
    return [read_condition(text, known) for text in texts]


def meeting(
    rows: Sequence[RunRow], conditions: Sequence[Condition], read_spec: ReadSpec
) -> tuple[list[RunRow], list[str]]:
    """The runs that meet all conditions.

    Args:
        rows: All runs.
        conditions: As `read_conditions` gives them.
        read_spec: A run's specification as plain values; None when it is damaged.

    Returns:
        The rows in their order; and a note for each run nobody can tell this of.

    Raises:
        RequestError: A condition compares what has no order.
    """
    if not conditions:
        return list(rows), []
    names = frozenset().union(*(condition.names for condition in conditions))
    from_spec = bool(names - set(OF_A_ROW))
    groups = group_options(conf_dir()) if from_spec else {}
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
