"""Published numbers as lines of a table: below the measured ones, and marked in every line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from aqr_exp.results.tables.cells import NO_VALUE, ORIGIN, Cell, Row, Table, number_cell, text_cell
from aqr_exp.results.tables.quantities import Quantity
from aqr_exp.results.tables.references import (
    MEASURED,
    NOT_MEASURED,
    Reference,
    read_references,
    reference_dirs,
)

SOURCE = "source"
TIME = "time / baseline"


def with_references(table: Table, results_root: Path, asked: Sequence[Quantity]) -> Table:
    """The table with references below it.

    Args:
        table: The measured lines.
        results_root: The results folder, whose `reference` holds the user's own.
        asked: What is measured: a reference that says none of it is left out.

    Returns:
        The same lines with a column that says where they come from, and references apart. A table in
        blocks has one line a block and reference.

    Raises:
        AqrExpError: A file of references is damaged.
    """
    found = read_references(reference_dirs(results_root))
    # Beside what names a line, where it stands in every part of a table that is too wide.
    place = table.columns.index("variant") + 1
    columns = (*table.columns[:place], ORIGIN, *table.columns[place:], SOURCE)
    in_blocks = "mean" in table.columns
    rows = [
        _in_block(columns, item, name) if in_blocks else _in_line(columns, item)
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
    """What was measured and the references as two tables, each with the columns that it fills.

    Args:
        table: What `with_references` gave, with the columns that people read.
    """
    measured = _with_columns(
        replace(table, references=()),
        [name for name in table.columns if name not in {ORIGIN, SOURCE}],
    )
    place = {name: index for index, name in enumerate(table.columns)}
    sources = list(dict.fromkeys(row[place[SOURCE]].text for row in table.references))
    marked = [
        replace(cell, mark=str(sources.index(row[place[SOURCE]].text) + 1))
        for row in table.references
        for cell in (row[place["variant"]],)
    ]
    rows = [
        tuple(mark if index == place["variant"] else cell for index, cell in enumerate(row))
        for row, mark in zip(table.references, marked, strict=True)
    ]
    filled = [
        name
        for name in table.columns
        if name not in {ORIGIN, SOURCE} and any(row[place[name]] != NO_VALUE for row in rows)
    ]
    apart = replace(
        table,
        title=NOT_MEASURED.capitalize(),
        rows=tuple(rows),
        references=(),
        notes=tuple(f"({number}) {text}" for number, text in enumerate(sources, start=1)),
        details=frozenset(),
    )
    return measured, _with_columns(apart, filled)


def _with_columns(table: Table, names: Sequence[str]) -> Table:
    places = [table.columns.index(name) for name in names]
    return replace(
        table,
        columns=tuple(names),
        rows=tuple(tuple(row[place] for place in places) for row in table.rows),
    )


def _in_line(columns: Sequence[str], item: Reference) -> Row:
    decimals = {TIME: 2}
    numbers = {
        name: number_cell(value, decimals=decimals.get(name, 4))
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
    return _filled(columns, item, heads | words, {"mean": number_cell(item.values[quantity.name])})


def _filled(
    columns: Sequence[str], item: Reference, words: dict[str, str], numbers: dict[str, Cell]
) -> Row:
    words = {**words, ORIGIN: NOT_MEASURED, SOURCE: item.source}
    texts = {name: text_cell(text) for name, text in words.items()}
    return tuple({**texts, **numbers}.get(name, NO_VALUE) for name in columns)
