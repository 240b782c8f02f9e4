"""Tables in blocks of one line an arm: by metric, class, condition or range; and of one run."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.report.tables.cells import (
    SYNTHETIC_MARK,
    Cell,
    Column,
    Line,
    MergedColumns,
    Row,
    Table,
    count_cell,
    number_cell,
    text_cell,
    titled,
    words_cell,
)
from aqr_exp.report.tables.comparison_data import ComparisonData
from aqr_exp.report.tables.notes import (
    CONFOUNDERS_COLUMN,
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

MEAN = (
    Column("n", numeric=True),
    Column("mean", numeric=True, of_line=True),
    *(Column(name, numeric=True) for name in ("sd", "95 % low", "95 % high")),
)
MERGED_MEAN = MergedColumns(value="mean", sd="sd", low="95 % low", high="95 % high")
DIFFERENCE = (
    Column("difference", numeric=True, of_line=True, with_baseline=True),
    Column("difference low", numeric=True, with_baseline=True),
    Column("difference high", numeric=True, with_baseline=True),
    Column("verdict", with_baseline=True),
    CONFOUNDERS_COLUMN,
)
MERGED_DIFFERENCE = MergedColumns(
    value="difference", low="difference low", high="difference high", words="verdict"
)
DATA = Column("data", constant=True)
GROUND_TRUTH = Column("ground truth", numeric=True)
TITLES = {
    By.METRIC: "nuScenes metrics",
    By.CLASS: "nuScenes AP by class",
    By.CONDITION: "nuScenes metrics by condition",
    By.RANGE: "nuScenes metrics by distance from the vehicle",
}
MEASURE = "mean ± sd [95 % interval] over n seeds"


def block_table(data: ComparisonData, by: By, marks: Marks, truths: GroundTruths) -> Table:
    """One block a quantity, one line an arm in it; `by` is not `By.ARM`.

    Where a mean is over fewer seeds than the arm has is in the notes.
    """
    described = describe_arms(data.groups)
    heads = (by.value, "metric") if by in {By.CONDITION, By.RANGE} else (by.value,)
    counted = by is not By.METRIC
    subjects = [(item, index) for item in data.quantities for index in range(len(data.arms))]
    rows: list[Row] = []
    for item, index in subjects:
        arm = data.arms[index]
        count = [truth_cell(truths.of(arm.group, item.metric, item.condition))] if counted else []
        cells = [*described.cells[index], text_cell(arm.first.data), *count]
        cells += count_and_mean_cells(arm.estimates.means[item.name])
        if data.compares:
            cells += [*difference_cells(arm, item.name, marks), confounders_cell(arm)]
        rows.append((*map(text_cell, _heads(item, by)), *cells))
    title, synthetic = titled(f"{TITLES[by]}: {MEASURE}", data.groups)
    return Table(
        title=title,
        columns=(
            *(Column(name, head=True) for name in heads),
            *described.columns,
            DATA,
            *([GROUND_TRUTH] if counted else []),
            *MEAN,
            *(DIFFERENCE if data.compares else ()),
        ),
        rows=tuple(rows),
        lines=tuple(Line(arm=index, metric=item.metric) for item, index in subjects),
        notes=tuple(value_notes(data)),
        synthetic=synthetic,
        merged_columns=(MERGED_MEAN, MERGED_DIFFERENCE) if data.compares else (MERGED_MEAN,),
    )


def one_run_table(row: RunRow) -> Table:
    """The metrics of one completed run: the protocol's means, then AP by class beside its ground truth."""
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
        columns=(Column("metric"), Column("value", numeric=True), GROUND_TRUTH),
        rows=tuple(lines),
        synthetic=row.synthetic,
    )


def truth_cell(counts: set[int]) -> Cell:
    """A number of ground truths: seeds of one arm share them."""
    if len(counts) == 1:
        return count_cell(min(counts))
    return text_cell(f"{min(counts)} to {max(counts)}") if counts else words_cell("-")


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
        columns: The columns.
        cells: By arm.
    """

    columns: tuple[Column, ...]
    cells: list[tuple[Cell, ...]]


def describe_arms(groups: Sequence[Group]) -> Described:
    """Variant, identity and preset; overrides only where some arm has any."""
    texts = [[group[0].variant, group[0].fingerprint, group[0].preset] for group in groups]
    columns = [
        Column("variant"),
        Column("identity", constant=True),
        Column("preset", constant=True),
    ]
    if any(group[0].overrides for group in groups):
        columns.append(Column("overrides", constant=True))
        texts = [[*text, group[0].overrides] for text, group in zip(texts, groups, strict=True)]
    cells = [tuple(map(text_cell, text)) for text in texts]
    return Described(columns=tuple(columns), cells=cells)
