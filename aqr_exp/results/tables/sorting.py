"""`--sort`: the lines of a table by one of its columns, the best metric first."""

from dataclasses import replace
from typing import Any

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.errors import RequestError
from aqr_exp.results.collect import MEAN_METRICS
from aqr_exp.results.tables.cells import Row, Table

HEADS = ("class", "condition", "range", "failure", "severity", "metric")
"""Columns that say what a block measures; the metric, where there is one, stands last."""


def sorted_table(table: Table, asked: str) -> Table:
    """The table with its lines in another order; blocks stay together where they are.

    Args:
        table: The table.
        asked: A column's name: a metric's column has the best first, others rise; a `-` in front
            turns the order round.

    Returns:
        The same lines; those without a value come last.

    Raises:
        RequestError: There is no such column; names the nearest.
    """
    backwards = asked.startswith("-")
    name = asked.removeprefix("-")
    if name not in table.columns:
        guess = did_you_mean(name, table.columns)
        raise RequestError(
            f"--sort {asked!r}: no such column{guess} (there: {', '.join(table.columns)})"
        )
    place = table.columns.index(name)
    heads = [index for index, column in enumerate(table.columns) if column in HEADS]
    blocks: dict[tuple[str, ...], list[Row]] = {}
    for row in table.rows:
        blocks.setdefault(tuple(row[index].text for index in heads), []).append(row)
    rows: list[Row] = []
    for head, block in blocks.items():
        quality = _is_quality(name, head[-1] if heads else name, blocks=bool(heads))
        given = [row for row in block if row[place].value is not None]
        given.sort(key=lambda row: _order(row[place].value), reverse=quality != backwards)
        rows += [*given, *(row for row in block if row[place].value is None)]
    return replace(table, rows=tuple(rows))


def _is_quality(column: str, metric: str, *, blocks: bool) -> bool:
    """Whether the best of a column is its largest."""
    from aqr_exp.results.inference.metric_values import lower_is_better

    if blocks:
        return column in {"mean", "difference"} and not lower_is_better(metric.partition("@")[0])
    base = metric.removesuffix(" difference").partition("@")[0]
    known = base in MEAN_METRICS or base.startswith("AP/")
    return known and not lower_is_better(base)


def _order(value: Any) -> tuple[int, Any]:
    """Numbers by their size, before texts."""
    if isinstance(value, (int, float)):
        return 0, (value,)
    return (0, value) if isinstance(value, tuple) else (1, str(value))
