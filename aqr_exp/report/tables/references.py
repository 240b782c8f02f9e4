"""Published numbers, each with its source: shown apart, marked, and never tested against."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aqr_exp
from aqr_exp.errors import AqrExpError
from aqr_exp.files.reading import open_regular
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    ORIGIN,
    TIME,
    Cell,
    Column,
    Row,
    Table,
    metric_cell,
    number_cell,
    text_cell,
)
from aqr_exp.report.tables.request import Quantity

NOT_MEASURED = "reference, not measured here"
MEASURED = "measured here"
WORDS = ("name", "changes", "data", "source")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One published result.

    Attributes:
        changes: What sets it apart from others of that name.
        data: The split it was measured on.
        values: Its numbers by the names of a table's columns.
    """

    name: str
    changes: str
    data: str
    source: str
    values: Mapping[str, float]


def reference_dirs(results_root: Path) -> list[Path]:
    """Folders of references: the shipped ones, and the user's own below the results folder."""
    package = Path(aqr_exp.__file__).resolve().parent
    shipped = [package / "reference", package.parent / "results" / "reference"]
    folders = {path.resolve(): path for path in (*shipped, results_root / "reference")}
    return [path for path in folders.values() if path.is_dir()]


def read_references(folders: Sequence[Path]) -> list[Reference]:
    """Every row of every `*.csv`, in the order of the files' names.

    Raises:
        AqrExpError: A file cannot be read, or a row has no source or a value that is no number.
    """
    return [
        row for folder in folders for path in sorted(folder.glob("*.csv")) for row in _read(path)
    ]


def _read(path: Path) -> Iterator[Reference]:
    try:
        with io.TextIOWrapper(open_regular(path), encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            missing = [name for name in WORDS if name not in (lines.fieldnames or [])]
            if missing:
                raise AqrExpError(f"{path} has no column {', '.join(missing)}")
            for line in lines:
                yield _reference(line, f"{path}:{lines.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AqrExpError(f"{path} cannot be read: {error}") from None


def _reference(line: Mapping[str, str | None], where: str) -> Reference:
    words = {name: (line[name] or "").strip() for name in WORDS}
    if not words["source"]:
        raise AqrExpError(f"{where}: a reference needs its source")
    values = {}
    for name, text in line.items():
        if name in WORDS or not (text or "").strip():
            continue
        try:
            values[name] = float(text or "")
        except ValueError:
            values[name] = math.nan
        if not math.isfinite(values[name]):
            raise AqrExpError(f"{where}: {name} is {text!r}, not a number")
    return Reference(**words, values=values)


SOURCE = "source"


def with_references(table: Table, results_root: Path, asked: Sequence[Quantity]) -> Table:
    """The table with references below it.

    Raises:
        AqrExpError: A file of references is damaged.
    """
    found = read_references(reference_dirs(results_root))
    # Beside the line's name, so that it is in every part of a table that is too wide.
    place = table.names.index("variant") + 1
    columns = (*table.columns[:place], Column(ORIGIN), *table.columns[place:], Column(SOURCE))
    names = [column.name for column in columns]
    in_blocks = any(column.of_line for column in columns)
    rows = [
        _in_block(names, item, name) if in_blocks else _in_line(names, item)
        for name in (asked if in_blocks else asked[:1])
        for item in found
        if any(one.name in item.values for one in ([name] if in_blocks else asked))
    ]
    here, nowhere = text_cell(MEASURED), text_cell("")
    return replace(
        table,
        columns=columns,
        rows=tuple((*row[:place], here, *row[place:], nowhere) for row in table.rows),
        references=tuple(rows),
    )


def references_apart(table: Table) -> tuple[Table, Table]:
    """The measured lines and the references as two tables, each with the columns that it fills."""
    measured = _with_columns(
        replace(table, references=()),
        [name for name in table.names if name not in {ORIGIN, SOURCE}],
    )
    place = {name: index for index, name in enumerate(table.names)}
    sources = list(dict.fromkeys(row[place[SOURCE]].text for row in table.references))
    at = place["variant"]
    rows = []
    for row in table.references:
        mark = str(sources.index(row[place[SOURCE]].text) + 1)
        rows.append((*row[:at], replace(row[at], mark=mark), *row[at + 1 :]))
    filled = [
        name
        for name in table.names
        if name not in {ORIGIN, SOURCE} and any(row[place[name]] != NO_VALUE for row in rows)
    ]
    apart = replace(
        table,
        title=NOT_MEASURED.capitalize(),
        rows=tuple(rows),
        references=(),
        notes=tuple(f"({number}) {text}" for number, text in enumerate(sources, start=1)),
        columns=tuple(replace(column, hidden_on_terminal=False) for column in table.columns),
    )
    return measured, _with_columns(apart, filled)


def _with_columns(table: Table, names: Sequence[str]) -> Table:
    places = [table.names.index(name) for name in names]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in places),
        rows=tuple(tuple(row[place] for place in places) for row in table.rows),
    )


def _in_line(columns: Sequence[str], item: Reference) -> Row:
    numbers = {
        name: number_cell(value, decimals=2) if name == TIME else metric_cell(name, value)
        for name, value in item.values.items()
    }
    words = {"variant": item.name, "changes": item.changes, "data": item.data}
    return _filled(columns, item, words, numbers)


def _in_block(columns: Sequence[str], item: Reference, quantity: Quantity) -> Row:
    heads = {
        "metric": quantity.metric if quantity.condition else quantity.name,
        "class": quantity.metric.removeprefix("AP/"),
        "condition": quantity.condition or "",
        "range": quantity.condition or "",
    }
    words = {"variant": item.name, "overrides": item.changes, "data": item.data}
    return _filled(
        columns,
        item,
        heads | words,
        {"mean": metric_cell(quantity.metric, item.values[quantity.name])},
    )


def _filled(
    columns: Sequence[str], item: Reference, words: dict[str, str], numbers: dict[str, Cell]
) -> Row:
    words = {**words, ORIGIN: NOT_MEASURED, SOURCE: item.source}
    texts = {name: text_cell(text) for name, text in words.items()}
    return tuple({**texts, **numbers}.get(name, NO_VALUE) for name in columns)
