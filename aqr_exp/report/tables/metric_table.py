"""Tables in blocks, one line an arm in each: by metric, class, condition or range; and of one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.report.tables.cells import (
    SYNTHETIC_MARK,
    Cell,
    Joined,
    Row,
    Table,
    count_cell,
    number_cell,
    text_cell,
    titled,
    words_cell,
)
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.report.tables.notes import (
    CONFOUNDERS,
    Marks,
    confounders_cell,
    count_and_mean_cells,
    difference_cells,
    value_notes,
)
from aqr_exp.report.tables.request import By, Quantity
from aqr_exp.statistics.grouping import Group, classes_of
from aqr_exp.statistics.run_scores import GroundTruths
from aqr_exp.store.collect import MEAN_METRICS, RunRow

MEAN = ("n", "mean", "sd", "95 % low", "95 % high")
DIFFERENCE = ("difference", "difference low", "difference high", "verdict")
GROUND_TRUTH = "ground truth"
NUMERIC = frozenset({*MEAN, *DIFFERENCE[:3], GROUND_TRUTH, "value"})
TITLES = {
    By.METRIC: "nuScenes metrics",
    By.CLASS: "nuScenes AP by class",
    By.CONDITION: "nuScenes metrics by condition",
    By.RANGE: "nuScenes metrics by distance from the vehicle",
}
MEASURE = "mean ± sd [95 % interval] over n seeds"


def block_table(data: ComparisonData, by: By, marks: Marks, truths: GroundTruths) -> Table:
    """One block a quantity, one line an arm in it.

    Args:
        data: The arms and what is measured of them.
        by: What a block is; not `By.ARM`.
        marks: Hands out the letters of footnotes.
        truths: Tells how many ground truths stand behind a number.

    Returns:
        The table; where a mean is over fewer seeds than the arm has is in its notes.
    """
    described = describe_arms(data.groups)
    heads = ("condition", "metric") if by is By.CONDITION else (by.value,)
    heads = ("range", "metric") if by is By.RANGE else heads
    counted = by is not By.METRIC
    columns = (
        *heads,
        *described.columns,
        "data",
        *([GROUND_TRUTH] if counted else []),
        *MEAN,
        *((*DIFFERENCE, CONFOUNDERS) if data.compares else ()),
    )
    lines: list[Row] = [
        (
            *map(text_cell, _heads(item, by)),
            *described.cells[index],
            text_cell(arm.first.data),
            *([truth_cell(truths.of(arm.group, item.metric, item.condition))] if counted else []),
            *count_and_mean_cells(arm.estimates.means[item.name]),
            *(_compared_cells(arm, item, marks) if data.compares else ()),
        )
        for item in data.quantities
        for index, arm in enumerate(data.arms)
    ]
    title, synthetic = titled(f"{TITLES[by]}: {MEASURE}", data.groups)
    joined = [Joined(value="mean", sd="sd", low="95 % low", high="95 % high")]
    if data.compares:
        value, low, high, words = DIFFERENCE
        joined.append(Joined(value=value, low=low, high=high, words=words))
    return Table(
        title=title,
        columns=columns,
        numeric=NUMERIC,
        rows=tuple(lines),
        notes=tuple(value_notes(data)),
        synthetic=synthetic,
        context=frozenset({"identity", "preset", "overrides", "data"}),
        programs=frozenset({CONFOUNDERS}) & set(columns),
        joined=tuple(joined),
    )


def one_run_table(row: RunRow) -> Table:
    """The metrics of one run: the protocol's means, then AP by class beside its ground truth.

    Args:
        row: A completed run.

    Returns:
        The table, one line a metric.
    """
    truths = GroundTruths()
    items = [Quantity(metric=name) for name in MEAN_METRICS]
    items += [Quantity(metric=f"AP/{name}") for name in classes_of([[row]])]
    lines = [
        (
            text_cell(item.name),
            number_cell(row.metric(item.metric)),
            truth_cell(truths.of([row], item.metric, None))
            if "/" in item.metric
            else text_cell(""),
        )
        for item in items
    ]
    mark = f": {SYNTHETIC_MARK}" if row.synthetic else ""
    return Table(
        title=f"{row.name} on {row.data}{mark}",
        columns=("metric", "value", GROUND_TRUTH),
        numeric=NUMERIC,
        rows=tuple(lines),
        synthetic=row.synthetic,
    )


def truth_cell(counts: set[int]) -> Cell:
    """How many ground truths: seeds of one arm share them."""
    if len(counts) == 1:
        return count_cell(min(counts))
    return text_cell(f"{min(counts)} to {max(counts)}") if counts else words_cell("-")


def _compared_cells(arm: TableArm, item: Quantity, marks: Marks) -> tuple[Cell, ...]:
    return (*difference_cells(arm, item.name, marks), confounders_cell(arm))


def _heads(item: Quantity, by: By) -> tuple[str, ...]:
    if by is By.CLASS:
        return (item.metric.removeprefix("AP/"),)
    if by is By.METRIC:
        return (item.name,)
    return (item.condition or "", item.metric)


@dataclass(frozen=True, kw_only=True)
class Described:
    """Columns that tell arms apart, and their cells for each arm.

    Attributes:
        columns: Their names.
        cells: By arm.
    """

    columns: tuple[str, ...]
    cells: list[tuple[Cell, ...]]


def describe_arms(groups: Sequence[Group]) -> Described:
    """Variant, identity and preset; overrides only where some arm has any."""
    columns: tuple[str, ...] = ("variant", "identity", "preset")
    cells = [
        tuple(map(text_cell, (group[0].variant, group[0].fingerprint, group[0].preset)))
        for group in groups
    ]
    if any(group[0].overrides for group in groups):
        columns += ("overrides",)
        cells = [
            (*cell, text_cell(group[0].overrides))
            for cell, group in zip(cells, groups, strict=True)
        ]
    return Described(columns=columns, cells=cells)
