"""`--sort`: the lines of a table by one of its columns, the best metric first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.errors import RequestError
from aqr_exp.results.collect import MEAN_METRICS
from aqr_exp.results.tables.cells import Row, Table


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
    blocks = table.blocks
    order = list(dict.fromkeys(row[0].text for row in table.rows)) if blocks else []

    def key(row: Row) -> tuple[int, bool, tuple[Any, ...]]:
        block = order.index(row[0].text) if blocks else 0
        value = row[place].value
        metric = row[0].text if blocks else name
        falling = _is_quality(name, metric, blocks=blocks) != backwards
        return block, value is None, _ordered(value, falling)

    return replace(table, rows=tuple(sorted(table.rows, key=key)))


def _is_quality(column: str, metric: str, *, blocks: bool) -> bool:
    """Whether the best of a column is its largest."""
    from aqr_exp.results.inference.metric_values import lower_is_better

    if blocks:
        return column in {"mean", "difference"} and not lower_is_better(metric.partition("@")[0])
    base = metric.removesuffix(" difference").partition("@")[0]
    known = base in MEAN_METRICS or base.startswith("AP/")
    return known and not lower_is_better(base)


def _ordered(value: Any, falling: bool) -> tuple[Any, ...]:
    if value is None:
        return ()
    numbers: Sequence[Any] = value if isinstance(value, tuple) else (value,)
    if all(isinstance(item, (int, float)) for item in numbers):
        return (0, *(-item if falling else item for item in numbers))
    text = str(value)
    return (1, tuple(-ord(mark) for mark in text) if falling else tuple(map(ord, text)))
