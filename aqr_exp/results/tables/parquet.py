"""A table as a Parquet file, for programs: the same rows and digits as CSV."""

import io
import json
from collections.abc import Sequence
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.results.tables.cells import Cell, Table


def parquet_bytes(table: Table) -> bytes:
    """The file's content; title, notes and trace are in its schema's metadata under `aqr_exp`.

    Args:
        table: The table; columns whose values are numbers become numbers, others text.

    Raises:
        RequestError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise RequestError(
            "--format parquet needs pyarrow: `pip install 'aqr-exp[report]'`"
        ) from None
    rows = table.all_rows
    columns = {
        name: _values([row[index] for row in rows]) for index, name in enumerate(table.columns)
    }
    about = {
        "title": table.title,
        "synthetic": table.synthetic,
        "notes": list(table.notes),
        "trace": table.trace,
    }
    arrow = pa.table(columns).replace_schema_metadata({"aqr_exp": json.dumps(about)})
    file = io.BytesIO()
    pq.write_table(arrow, file)
    return file.getvalue()


def _values(cells: Sequence[Cell]) -> list[Any]:
    """A column of one type: numbers where all its values are, else texts."""
    values = [cell.value for cell in cells]
    given = [value for value in values if value is not None]
    if given and all(isinstance(value, (int, float)) for value in given):
        whole = all(isinstance(value, int) for value in given)
        return values if whole else [None if value is None else float(value) for value in values]  # type: ignore[arg-type]
    return [None if cell.value is None else cell.text for cell in cells]
