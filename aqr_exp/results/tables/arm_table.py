"""The table of a comparison: one line an arm, quality with intervals beside what it costs."""

from collections.abc import Sequence
from statistics import fmean

from aqr_exp.results.collect import PEAK_MEMORY, RunRow
from aqr_exp.results.stability import GRADIENT_SPIKES, LOSS_OSCILLATION
from aqr_exp.results.tables.formats import Cell, Table, count_cell, number_cell, text_cell
from aqr_exp.results.tables.metric_table import (
    Group,
    check_metric_names,
    group_seeds,
    interval_cells,
    over_seeds,
    titled,
)
from aqr_exp.results.tables.train_time import BASELINE, RelativeTime, relative_time

ARM_METRICS = ("mAP", "NDS")
COST_COLUMNS = ("time / baseline", "memory (MB)", "loss oscillation", "gradient spikes")
SCALE_COLUMN = "final scale"
NO_VALUE = Cell(text="-", value=None)


def arm_table(rows: Sequence[RunRow], metrics: Sequence[str] | None = None) -> Table:
    """One line an arm: what it is, its metrics with 95 % intervals, time, memory, stability, scale.

    Args:
        rows: All runs, also those without metrics.
        metrics: Metric names; mAP and NDS by default.

    Returns:
        The table; runs without metrics, and why a time cannot be compared, are in its notes.

    Raises:
        RequestError: No run has a metric of that name.
    """
    groups, notes = group_seeds(rows)
    names = list(dict.fromkeys(metrics or ARM_METRICS))
    check_metric_names(names, rows)
    groups = _by_setting(groups)
    common = _common_words(groups)
    times = _relative_times(groups)
    intervals = tuple((name, f"{name} low", f"{name} high") for name in names)
    identified = ("variant", "changes", "identity", "preset", "data")
    columns = (
        *identified,
        "n",
        *(column for interval in intervals for column in interval),
        *COST_COLUMNS,
        SCALE_COLUMN,
    )
    lines = [
        (*_identity_cells(group, common), *_metric_cells(group, names), *_cost_cells(group, time))
        for group, time in zip(groups, times, strict=True)
    ]
    title, synthetic = titled("nuScenes metrics by arm: mean [95 % interval] over n seeds", groups)
    return Table(
        title=title,
        columns=columns,
        numeric=frozenset(columns) - {*identified},
        rows=tuple(lines),
        notes=(
            *([f"all arms with: {' '.join(common)}"] if common else []),
            *_value_notes(groups, names),
            *_time_notes(groups, times),
            *notes,
        ),
        synthetic=synthetic,
        context=frozenset({"changes", "preset", "data"}),
        details=_details(lines),
        intervals=intervals,
    )


def arm_name(group: Group) -> str:
    """An arm in words: its variant and the beginning of its identity."""
    return f"{group[0].variant} {group[0].fingerprint}"


def _by_setting(groups: Sequence[Group]) -> list[Group]:
    """Arms that can be compared stand together, each baseline before what it is compared with."""
    rank: dict[tuple[str, str | None], int] = {}
    for group in groups:
        rank.setdefault((group[0].data, group[0].setting), len(rank))
    return sorted(groups, key=lambda group: rank[group[0].data, group[0].setting])


def _relative_times(groups: Sequence[Group]) -> list[RelativeTime]:
    baselines: dict[tuple[str, str | None], Group] = {
        (group[0].data, group[0].setting): group
        for group in groups
        if group[0].variant == BASELINE and group[0].setting is not None
    }
    return [
        relative_time(
            group,
            # A baseline is its own measure, also where nothing else is known about it.
            group
            if group[0].variant == BASELINE
            else baselines.get((group[0].data, group[0].setting)),
        )
        for group in groups
    ]


def _common_words(groups: Sequence[Group]) -> list[str]:
    """What was typed for every arm, which tells none apart."""
    first, *others = [group[0].overrides.split() for group in groups] or [[]]
    return [word for word in first if all(word in words for words in others)]


def _identity_cells(group: Group, common: Sequence[str]) -> tuple[Cell, ...]:
    row = group[0]
    changes = " ".join(word for word in row.overrides.split() if word not in common)
    words = (row.variant, changes, row.fingerprint, row.preset, row.data)
    return (*map(text_cell, words), count_cell(len(group)))


def _metric_cells(group: Group, names: Sequence[str]) -> tuple[Cell, ...]:
    cells: list[Cell] = []
    for name in names:
        summary = over_seeds(group, name)
        cells += [number_cell(summary.mean), *interval_cells(summary)]
    return tuple(cells)


def _cost_cells(group: Group, time: RelativeTime) -> tuple[Cell, ...]:
    memory = over_seeds(group, PEAK_MEMORY).mean
    return (
        number_cell(time.ratio, decimals=2),
        NO_VALUE if memory is None else count_cell(round(memory)),
        number_cell(over_seeds(group, LOSS_OSCILLATION).mean),
        number_cell(over_seeds(group, GRADIENT_SPIKES).mean),
        _scale_cell(group),
    )


def _scale_cell(group: Group) -> Cell:
    """The final scale, or each of several, in the mean over seeds."""
    found = [row.final_scales for row in group]
    given = [scales for scales in found if scales]
    if not given or len({len(scales) for scales in given}) > 1:
        return NO_VALUE
    means = [number_cell(fmean(values)) for values in zip(*given, strict=True)]
    if len(means) == 1:
        return means[0]
    text = " / ".join(cell.text for cell in means)
    return Cell(text=text, value=tuple(float(cell.text) for cell in means))


def _value_notes(groups: Sequence[Group], names: Sequence[str]) -> list[str]:
    """Where a mean is over fewer seeds than its line's n says."""
    return [
        f"{arm_name(group)}: {name} is over {count} of {len(group)} seeds, the others have none"
        for group in groups
        for name in names
        if (count := over_seeds(group, name).n) < len(group)
    ]


def _time_notes(groups: Sequence[Group], times: Sequence[RelativeTime]) -> list[str]:
    """Why times are not compared: arms with the same reason share a line."""
    arms: dict[str, list[str]] = {}
    for group, time in zip(groups, times, strict=True):
        if time.reason:
            arms.setdefault(time.reason, []).append(arm_name(group))
    return [f"training time of {', '.join(names)}: {reason}" for reason, names in arms.items()]


def _details(lines: Sequence[tuple[Cell, ...]]) -> frozenset[str]:
    """The identity is left out on a terminal where the other columns tell all arms apart."""
    told = {tuple(cell.text for cell in (*line[:2], *line[3:5])) for line in lines}
    return frozenset({"identity"}) if len(told) == len(lines) else frozenset()
