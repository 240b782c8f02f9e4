"""The table of a comparison: one line an arm, quality and verdicts beside what it costs."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from aqr_exp.report.tables.baselines import RelativeTime, relative_time
from aqr_exp.report.tables.cells import (
    MEASURE,
    NO_VALUE,
    POINTS,
    TIME,
    Cell,
    Column,
    Line,
    MergedColumns,
    Row,
    Table,
    common_words,
    count_cell,
    number_cell,
    text_cell,
    titled,
)
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.report.tables.notes import (
    CONFOUNDERS_COLUMN,
    Marks,
    confounders_cell,
    difference_cells,
    mean_cells,
    time_notes,
    value_notes,
)
from aqr_exp.statistics.grouping import data_words, mean_over_seeds, variant_words
from aqr_exp.statistics.metrics import in_points, is_own, lower_is_better
from aqr_exp.store.collect import MEAN_METRICS, PEAK_GPU_MEMORY, PEAK_MEMORY
from aqr_exp.store.history import GRADIENT_SPIKES, LOSS_OSCILLATION

IDENTITY = ("variant", "changes", "identity", "preset", "data")
MEMORY, GPU_MEMORY = "memory (MB)", "GPU memory (MB)"
COSTS = (TIME, MEMORY, "loss oscillation", "gradient spikes", "final scale")
SELECTION = "selection"
SELECTED = "selected on val"
KEPT = "kept for comparison"


def arm_table(
    data: ComparisonData,
    marks: Marks,
    *,
    costs: bool = True,
    selection: Mapping[int, str] | None = None,
) -> Table:
    """One line an arm: what it is, its metrics, how they differ from the baseline's, what it costs.

    Args:
        costs: Whether training time, memory, stability and final scale are shown.
        selection: Why lines are special, `SELECTED` or `KEPT`; None when nothing was selected.

    Where a mean is over fewer seeds, and why times cannot be compared, is in its notes.
    """
    common = common_words(data.groups)
    times = [relative_time(arm.group, arm.match) for arm in data.arms] if costs else []
    lines = [_line(data, index, common, marks) for index in range(len(data.arms))]
    merged = _merged(data)
    columns = [*_identity_columns(lines), Column("n", numeric=True)]
    columns += [column for each, about in merged for column in each.columns(**about)]
    if data.compares:
        columns.append(CONFOUNDERS_COLUMN)
    if selection is not None:
        columns.append(Column(SELECTION))
        lines = [(*line, text_cell(selection.get(index, ""))) for index, line in enumerate(lines)]
    if costs:
        # Of trainings on GPUs the process on their machine says nothing.
        on_gpus = any(mean_over_seeds(each, PEAK_GPU_MEMORY) is not None for each in data.groups)
        memory = (PEAK_GPU_MEMORY, GPU_MEMORY) if on_gpus else (PEAK_MEMORY, MEMORY)
        names = [memory[1] if name == MEMORY else name for name in COSTS]
        columns += [Column(name, numeric=True, with_baseline=name == TIME) for name in names]
        pairs = zip(lines, data.arms, times, strict=True)
        lines = [(*line, *_cost_cells(arm, time, memory[0])) for line, arm, time in pairs]
    differences = ", difference to the baseline" if data.compares else ""
    title, synthetic = titled(
        f"nuScenes metrics by arm: {MEASURE}{differences}; {POINTS}", data.groups
    )
    return Table(
        title=title,
        columns=tuple(columns),
        rows=tuple(lines),
        lines=tuple(Line(arm=index) for index in range(len(lines))),
        notes=(
            *([f"all arms with: {' '.join(common)}"] if common else []),
            *value_notes(data),
            *time_notes(data, times),
        ),
        synthetic=synthetic,
        merged_columns=tuple(each for each, _ in merged),
        block_rules=False,
    )


def _identity_columns(lines: Sequence[Row]) -> list[Column]:
    """The identity is left out on a terminal where the other columns tell all arms apart."""
    distinct = {tuple(cell.text for cell in (*line[:2], *line[3:5])) for line in lines}
    return [
        Column(
            name,
            constant=name in {"changes", "preset", "data"},
            hidden_on_terminal=name == "identity" and len(distinct) == len(lines),
        )
        for name in IDENTITY
    ]


def _merged(data: ComparisonData) -> list[tuple[MergedColumns, dict[str, bool]]]:
    """The columns of each quantity that people read as one, and what else they are."""
    found = []
    for item in data.quantities:
        name, word = item.name, f"{item.name} difference"
        known = item.metric in MEAN_METRICS or in_points(item.metric) or is_own(item.metric)
        best = {"highest_first": known and not lower_is_better(item.metric)}
        ends = {"low": f"{name} low", "high": f"{name} high"}
        found.append((MergedColumns(value=name, sd=f"{name} sd", **ends), best))
        if data.compares:
            ends = {"low": f"{word} low", "high": f"{word} high"}
            ends |= {"words": f"{name} verdict", "elsewhere": f"{name} on other scenes"}
            difference = MergedColumns(value=word, **ends)
            found.append((difference, best | {"with_baseline": True}))
    return found


def _line(data: ComparisonData, index: int, common: Sequence[str], marks: Marks) -> Row:
    arm = data.arms[index]
    row = arm.first
    changes = " ".join(word for word in row.overrides.split() if word not in common)
    variant = variant_words(row, [each.first for each in data.arms])
    words = (variant, changes, row.fingerprint, row.preset, data_words(arm.group))
    cells = [*map(text_cell, words), count_cell(len(arm.group))]
    for item in data.quantities:
        cells += mean_cells(arm.estimates.means[item.name], item.metric)
        if data.compares:
            cells += difference_cells(arm, item, marks)
    if data.compares:
        cells.append(confounders_cell(arm))
    return tuple(cells)


def _cost_cells(arm: TableArm, time: RelativeTime, memory_metric: str) -> tuple[Cell, ...]:
    group = arm.group
    memory = mean_over_seeds(group, memory_metric)
    return (
        number_cell(time.ratio, decimals=2),
        NO_VALUE if memory is None else count_cell(round(memory)),
        number_cell(mean_over_seeds(group, LOSS_OSCILLATION)),
        number_cell(mean_over_seeds(group, GRADIENT_SPIKES)),
        _scale_cell(arm),
    )


def _scale_cell(arm: TableArm) -> Cell:
    """The final scale, or each of several, in the mean over seeds."""
    found = [row.final_scales for row in arm.group]
    given = [scales for scales in found if scales]
    if not given or len({len(scales) for scales in given}) > 1:
        return NO_VALUE
    means = [number_cell(fmean(values)) for values in zip(*given, strict=True)]
    if len(means) == 1:
        return means[0]
    text = " / ".join(cell.text for cell in means)
    return Cell(text=text, value=tuple(float(cell.text) for cell in means))
