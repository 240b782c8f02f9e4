"""Tables of rows that are in no store."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store


def table_of(rows: Sequence[RunRow], metrics: Sequence[str] | None = None, **request: Any) -> Table:
    """What `aqr-exp table` shows of them; the options by the names of `TableRequest`."""
    with tempfile.TemporaryDirectory() as folder:
        asked = TableRequest(metrics=metrics, **request)
        return build_table(Store(Path(folder)), rows, asked).table


def lines(table: Table) -> list[dict[str, str]]:
    """The texts of the measured lines by column."""
    texts = [[cell.text for cell in row] for row in table.rows]
    return [dict(zip(table.names, row, strict=True)) for row in texts]


def metrics_table(rows: Sequence[RunRow], metrics: Sequence[str] | None = None) -> Table:
    """One block a metric."""
    return table_of(rows, metrics, by=By.METRIC)


def class_table(rows: Sequence[RunRow]) -> Table:
    """One block a class."""
    return table_of(rows, by=By.CLASS)
