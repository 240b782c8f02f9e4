"""From runs to tables: means over seeds with their intervals, and what is missing by name."""

from collections.abc import Sequence
from dataclasses import replace

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.errors import RequestError
from aqr_exp.results.collect import MEAN_METRICS, RunRow
from aqr_exp.results.statistics import Summary, summarize
from aqr_exp.results.tables.formats import Cell, Table, count_cell, number_cell, text_cell

ONE_SEED = "one seed: no interval"
SYNTHETIC_MARK = "SYNTHETIC data, not comparable with nuScenes"

Group = list[RunRow]


def metrics_table(rows: Sequence[RunRow], metrics: Sequence[str] | None = None) -> Table:
    """Means over seeds: one block a metric, one line an arm in it.

    Args:
        rows: All runs, also those without metrics.
        metrics: Metric names; the seven of the nuScenes protocol by default.

    Returns:
        The table; runs without metrics are in its notes.

    Raises:
        RequestError: No run has a metric of that name.
    """
    groups, notes = group_seeds(rows)
    names = list(metrics or MEAN_METRICS)
    check_metric_names(names, rows)
    described = _describe(groups)
    columns = ("metric", *described.columns, "data", "n", "mean", "sd", "95 % low", "95 % high")
    lines = [
        (
            text_cell(name),
            *described.cells[index],
            text_cell(group[0].data),
            *summary_cells(over_seeds(group, name)),
        )
        for name in names
        for index, group in enumerate(groups)
    ]
    return _table("nuScenes metrics", columns, lines, groups, notes)


def class_table(rows: Sequence[RunRow]) -> Table:
    """AP of each class over seeds, beside how much ground truth it was measured on.

    Args:
        rows: All runs, also those without metrics.

    Returns:
        The table; one block a class, one line an arm in it.
    """
    groups, notes = group_seeds(rows)
    classes = _classes(groups)
    described = _describe(groups)
    columns = (
        "class",
        *described.columns,
        "data",
        "ground truth",
        "n",
        "AP",
        "sd",
        "95 % low",
        "95 % high",
    )
    lines = [
        (
            text_cell(name),
            *described.cells[index],
            text_cell(group[0].data),
            _ground_truth(group, name),
            *summary_cells(over_seeds(group, f"AP/{name}")),
        )
        for name in classes
        for index, group in enumerate(groups)
    ]
    return _table("nuScenes AP by class", columns, lines, groups, notes)


def one_run_table(row: RunRow) -> Table:
    """The metrics of one run: the protocol's means, then AP by class beside its ground truth.

    Args:
        row: A completed run.

    Returns:
        The table, one line a metric.
    """
    names = [*MEAN_METRICS, *(f"AP/{name}" for name in _classes([[row]]))]
    lines = [
        (
            text_cell(name),
            number_cell(row.metric(name)),
            _ground_truth([row], name.removeprefix("AP/")) if name[:3] == "AP/" else text_cell(""),
        )
        for name in names
    ]
    table = _table(f"{row.name} on {row.data}", ("metric", "value", "ground truth"), lines, [], [])
    if not row.synthetic:
        return table
    return replace(table, title=f"{table.title}: {SYNTHETIC_MARK}", synthetic=True)


def group_seeds(rows: Sequence[RunRow]) -> tuple[list[Group], list[str]]:
    """Sort runs into arms; every run that is left out is named.

    Args:
        rows: All runs.

    Returns:
        Completed runs by (variant, fingerprint, data), baseline first, one a seed; and one line
        for each run that is not among them.
    """
    newest: dict[tuple[str, str, str, int | None], RunRow] = {}
    notes = []
    for row in sorted(rows, key=lambda row: (row.updated, row.name)):
        if not row.completed:
            reason = " ".join((row.reason or "no metrics yet").split())
            notes.append(f"not in the table: {row.name}: {row.status}: {reason}")
            continue
        key = (row.variant, row.fingerprint, row.data, row.seed)
        if key in newest:
            older = newest[key].name
            notes.append(f"not in the table: {older}: the same seed was run again as {row.name}")
        newest[key] = row
    groups: dict[tuple[str, str, str], Group] = {}
    for (variant, fingerprint, data, _), row in newest.items():
        groups.setdefault((variant, fingerprint, data), []).append(row)
    order = sorted(groups, key=lambda key: (key[0] != "baseline", *key))
    return [sorted(groups[key], key=lambda row: row.name) for key in order], sorted(notes)


def check_metric_names(names: Sequence[str], rows: Sequence[RunRow]) -> None:
    """Refuse metric names no run has.

    Raises:
        RequestError: Names each unknown metric with its nearest match.
    """
    known = list(MEAN_METRICS)
    for row in rows:
        known += [name for name in row.metrics if row.metric(name) is not None]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RequestError(
            "\n".join(
                f"unknown metric '{name}'{did_you_mean(name, known)} "
                f"(available: {', '.join(dict.fromkeys(known))})"
                for name in unknown
            )
        )


def summary_cells(summary: Summary) -> tuple[Cell, ...]:
    """n, mean, sd and the interval's ends as cells."""
    mean, sd = number_cell(summary.mean), number_cell(summary.sd)
    return (count_cell(summary.n), mean, sd, *interval_cells(summary))


def interval_cells(summary: Summary) -> tuple[Cell, Cell]:
    """The interval's ends; where there is none, the lower end says why."""
    if summary.low is not None:
        return number_cell(summary.low), number_cell(summary.high)
    words = ONE_SEED if summary.n == 1 else "no value"
    return Cell(text=words, value=None), Cell(text="", value=None)


class _Described:
    """Columns that tell arms apart, and their cells for each arm."""

    def __init__(self, columns: tuple[str, ...], cells: list[tuple[Cell, ...]]) -> None:
        self.columns = columns
        self.cells = cells


def _describe(groups: Sequence[Group]) -> _Described:
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
    return _Described(columns, cells)


def over_seeds(group: Group, name: str) -> Summary:
    """A metric over the seeds that have it."""
    values = [row.metric(name) for row in group]
    return summarize([value for value in values if value is not None])


def _classes(groups: Sequence[Group]) -> list[str]:
    """Class names in the order the metrics hold them."""
    names = [
        name.removeprefix("AP/")
        for group in groups
        for row in group
        for name in row.metrics
        if name.startswith("AP/")
    ]
    return list(dict.fromkeys(names))


def _ground_truth(group: Group, name: str) -> Cell:
    """Boxes the class was measured on; seeds of one arm share them."""
    counts = {int(value) for row in group if (value := row.metric(f"gt/{name}")) is not None}
    if len(counts) == 1:
        return count_cell(counts.pop())
    if not counts:
        return Cell(text="-", value=None)
    return text_cell(f"{min(counts)} to {max(counts)}")


def titled(title: str, groups: Sequence[Group]) -> tuple[str, bool]:
    """A title that says when anything below it is synthetic, and whether it is."""
    synthetic = any(row.synthetic for group in groups for row in group)
    return (f"{title} ({SYNTHETIC_MARK})" if synthetic else title), synthetic


def _table(
    title: str,
    columns: tuple[str, ...],
    lines: Sequence[tuple[Cell, ...]],
    groups: Sequence[Group],
    notes: Sequence[str],
) -> Table:
    title, synthetic = titled(title, groups)
    numeric = frozenset({"n", "mean", "value", "AP", "sd", "95 % low", "95 % high", "ground truth"})
    return Table(
        title=title,
        columns=columns,
        numeric=numeric,
        rows=tuple(lines),
        notes=tuple(notes),
        synthetic=synthetic,
        context=frozenset({"identity", "preset", "overrides", "data"}),
    )
