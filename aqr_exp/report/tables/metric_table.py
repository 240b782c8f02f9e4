"""Tables in blocks of one line an arm: by metric, class, condition or range; and of one run."""

from collections.abc import Sequence

from aqr_exp.report.tables.cells import (
    MEASURE,
    NO_VALUE,
    POINTS,
    SYNTHETIC_MARK,
    Cell,
    Column,
    Line,
    MergedColumns,
    Row,
    Table,
    count_cell,
    make_columns,
    number_cell,
    range_words,
    text_cell,
    titled,
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
from aqr_exp.statistics.grouping import Group, classes_of, data_words, variant_words
from aqr_exp.statistics.run_scores import GroundTruths
from aqr_exp.store.collect import MEAN_METRICS, RunRow

MERGED_MEAN = MergedColumns(value="mean", sd="sd", low="95 % low", high="95 % high")
MEAN = (Column("n", numeric=True), *MERGED_MEAN.columns(of_line=True))
MERGED_DIFFERENCE = MergedColumns(
    value="difference",
    low="difference low",
    high="difference high",
    words="verdict",
    elsewhere="on other scenes",
)
DIFFERENCE = (*MERGED_DIFFERENCE.columns(of_line=True, with_baseline=True), CONFOUNDERS_COLUMN)
DATA = Column("data", constant=True)
GROUND_TRUTH = Column("ground truth", numeric=True)
TITLES = {
    By.METRIC: "nuScenes metrics",
    By.CLASS: "nuScenes AP by class",
    By.CONDITION: "nuScenes metrics by condition",
    By.RANGE: "nuScenes metrics by distance from the vehicle",
}


def block_table(data: ComparisonData, by: By, marks: Marks, truths: GroundTruths) -> Table:
    """One block a quantity, one line an arm in it; `by` is not `By.ARM`.

    Where a mean is over fewer seeds than the arm has is in the notes.
    """
    columns, arms = describe_arms(data.groups)
    heads = (by.value, "metric") if by in {By.CONDITION, By.RANGE} else (by.value,)
    counted = by is not By.METRIC
    subjects = [(item, index) for item in data.quantities for index in range(len(data.arms))]
    rows: list[Row] = []
    for item, index in subjects:
        arm = data.arms[index]
        count = [truth_cell(truths.of(arm.group, item.metric, item.condition))] if counted else []
        cells = [*arms[index], text_cell(data_words(arm.group)), *count]
        cells += count_and_mean_cells(arm.estimates.means[item.name], item.metric)
        if data.compares:
            cells += [*difference_cells(arm, item, marks), confounders_cell(arm)]
        rows.append((*map(text_cell, _heads(item, by)), *cells))
    title, synthetic = titled(f"{TITLES[by]}: {MEASURE}; {POINTS}", data.groups)
    return Table(
        title=title,
        columns=(
            *(Column(name, head=True) for name in heads),
            *columns,
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
    lines = [
        (
            text_cell(name),
            number_cell(row.metric(name)),
            truth_cell(truths.of([row], name, None)) if "/" in name else text_cell(""),
        )
        for name in (*MEAN_METRICS, *(f"AP/{name}" for name in classes_of([[row]])))
    ]
    mark = f": {SYNTHETIC_MARK}" if row.synthetic else ""
    return Table(
        title=f"{row.name} on {data_words([row])}{mark}",
        columns=(Column("metric"), Column("value", numeric=True), GROUND_TRUTH),
        rows=tuple(lines),
        synthetic=row.synthetic,
    )


def truth_cell(counts: set[int]) -> Cell:
    """A number of ground truths: seeds of one arm share them."""
    if len(counts) == 1:
        return count_cell(min(counts))
    return text_cell(range_words(counts)) if counts else NO_VALUE


def _heads(item: Quantity, by: By) -> tuple[str, ...]:
    if by is By.CLASS:
        return (item.metric.removeprefix("AP/"),)
    if by is By.METRIC:
        return (item.name,)
    return (item.condition or "", item.metric)


def describe_arms(groups: Sequence[Group]) -> tuple[tuple[Column, ...], list[Row]]:
    """Columns that tell arms apart, with their cells for each arm; overrides where some arm has any."""
    names = ["variant", "identity", "preset"]
    names += ["overrides"] * any(group[0].overrides for group in groups)
    rows = [group[0] for group in groups]
    texts = [
        (variant_words(row, rows), row.fingerprint, row.preset, row.overrides)[: len(names)]
        for row in rows
    ]
    return make_columns(names, constant=names[1:]), [tuple(map(text_cell, line)) for line in texts]
