"""One table, many formats, the same digits: cells are rounded once, then only laid out."""

import csv
import io
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from aqr_exp.results.tables.latex import latex_table
from aqr_exp.results.tables.terminal import terminal_table

DECIMALS = 4


class TableFormat(str, Enum):
    """How a table is printed."""

    RICH = "rich"
    MD = "md"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: What people read.
        value: What programs read: the same digits as a number or several, text, or None.
    """

    text: str
    value: str | int | float | tuple[float, ...] | None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of rounded cells.

    Attributes:
        title: Says what the numbers are, and that they are synthetic when they are.
        columns: Column names.
        numeric: Names of the columns aligned to the right.
        rows: Cells by column.
        notes: Lines shown below: what is missing and why.
        synthetic: Whether any number comes from synthetic data.
        context: Columns that on a terminal become one line above when all rows agree on them.
        details: Columns a terminal leaves out.
        intervals: (mean, low, high) columns that people read as one, `mean [low, high]`; CSV and
            JSON keep the three.
    """

    title: str
    columns: tuple[str, ...]
    numeric: frozenset[str]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    context: frozenset[str] = frozenset()
    details: frozenset[str] = frozenset()
    intervals: tuple[tuple[str, str, str], ...] = ()


def text_cell(text: str) -> Cell:
    """A cell of words."""
    return Cell(text=text, value=text)


def count_cell(count: int) -> Cell:
    """A cell of a whole number."""
    return Cell(text=str(count), value=count)


def number_cell(value: float | None, missing: str = "-", decimals: int = DECIMALS) -> Cell:
    """A cell of a rounded number; `missing` where there is none."""
    if value is None:
        return Cell(text=missing, value=None)
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")  # no minus zero
    return Cell(text=text, value=float(text))


def render(table: Table, form: TableFormat, *, terminal: bool = False) -> str:
    """Lay a table out.

    Args:
        table: The table.
        form: The format.
        terminal: Whether the text goes to a terminal (matters to `rich` only).

    Returns:
        The text, with a final line break. Notes and title are part of it, except in CSV.
    """
    if form is TableFormat.CSV:
        return _csv(table)
    if form is TableFormat.JSON:
        return json.dumps(as_json(table), indent=1, ensure_ascii=False) + "\n"
    table = _join_intervals(table)
    if form is TableFormat.MD:
        return _markdown(table)
    if form is TableFormat.LATEX:
        return latex_table(
            title=table.title,
            columns=table.columns,
            right=[name in table.numeric for name in table.columns],
            rows=[[cell.text for cell in row] for row in table.rows],
            block_ends=_block_ends(table),
            notes=table.notes,
        )
    return _rich(table) if terminal else _plain(table)


def render_all(tables: Mapping[str, Table], form: TableFormat, *, terminal: bool = False) -> str:
    """Lay several tables out, one after the other with an empty line between.

    Args:
        tables: The tables by name; in JSON they become one object with these names.
        form: The format.
        terminal: As in `render`.

    Returns:
        The text, with a final line break.
    """
    if form is TableFormat.JSON:
        values = {name: as_json(table) for name, table in tables.items()}
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    return "\n".join(render(table, form, terminal=terminal) for table in tables.values())


def as_json(table: Table) -> dict[str, Any]:
    """A table as plain values: one mapping a row."""
    rows = [
        {name: cell.value for name, cell in zip(table.columns, row, strict=True)}
        for row in table.rows
    ]
    return {
        "title": table.title,
        "synthetic": table.synthetic,
        "rows": rows,
        "notes": list(table.notes),
    }


def _join_intervals(table: Table) -> Table:
    """Put each interval's ends behind their mean, after a line break that a wide format ignores."""
    place = {name: index for index, name in enumerate(table.columns)}
    ends = {place[name] for _, low, high in table.intervals for name in (low, high)}
    kept = [index for index in range(len(table.columns)) if index not in ends]

    def joined(row: tuple[Cell, ...]) -> tuple[Cell, ...]:
        cells = list(row)
        for names in table.intervals:
            mean, low, high = (row[place[name]] for name in names)
            if mean.value is None:
                continue
            # Where there is no interval, the lower end says why.
            words = f"({low.text})" if low.value is None else f"[{low.text}, {high.text}]"
            cells[place[names[0]]] = replace(mean, text=f"{mean.text}\n{words}")
        return tuple(cells[index] for index in kept)

    return replace(
        table,
        columns=tuple(table.columns[index] for index in kept),
        rows=tuple(joined(row) for row in table.rows),
        intervals=(),
    )


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        # The text of a number keeps its digits; a missing one is an empty field.
        writer.writerow(["" if cell.value is None else cell.text for cell in row])
    return text.getvalue()


def _markdown(table: Table) -> str:
    def line(items: Sequence[str]) -> str:
        return "| " + " | ".join(items) + " |"

    escaped = [[_markdown_text(cell.text) for cell in row] for row in table.rows]
    rule = ["---:" if name in table.numeric else "---" for name in table.columns]
    head = line([_markdown_text(name) for name in table.columns])
    lines = [f"**{_markdown_text(table.title)}**", "", head, line(rule)]
    lines += [line(row) for row in escaped]
    if table.notes:
        lines += ["", *[f"- {_markdown_text(note)}" for note in table.notes]]
    return "\n".join(lines) + "\n"


def _markdown_text(text: str) -> str:
    for mark in "\\`*_|<>":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())


def _shared_context(table: Table) -> dict[str, str]:
    """Context columns all rows agree on, with what they say."""
    shared = {}
    for index, name in enumerate(table.columns):
        texts = {row[index].text for row in table.rows}
        if name in table.context and len(texts) == 1:
            shared[name] = texts.pop()
    return shared


def _head(table: Table) -> tuple[list[str], set[str]]:
    """The lines above a table for people, and the columns they replace."""
    shared = _shared_context(table)
    context = ", ".join(f"{name} {text}" for name, text in shared.items() if text)
    return [table.title, *([context] if context else [])], set(shared) | table.details


def _plain(table: Table) -> str:
    """The terminal's table for a pipe: nothing is coloured, cut or wrapped."""
    head, hidden = _head(table)
    shown = [index for index, name in enumerate(table.columns) if name not in hidden]
    lines = [[table.columns[index] for index in shown]]
    lines += [[row[index].text.replace("\n", " ") for index in shown] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = [table.columns[index] in table.numeric for index in shown]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(texts: list[str]) -> str:
        cells = zip(texts, widths, right, strict=True)
        padded = [text.rjust(width) if end else text.ljust(width) for text, width, end in cells]
        return "| " + " | ".join(padded) + " |"

    body = [rule, line(lines[0]), rule]
    for texts, ends_block in zip(lines[1:], _block_ends(table), strict=True):
        body += [line(texts), *([rule] if ends_block else [])]
    return "\n".join([*head, *body, rule, *table.notes]) + "\n"


def _rich(table: Table) -> str:
    head, hidden = _head(table)
    shown = [index for index, name in enumerate(table.columns) if name not in hidden]
    return terminal_table(
        head=head,
        columns=[table.columns[index] for index in shown],
        right=[table.columns[index] in table.numeric for index in shown],
        rows=[[row[index].text for index in shown] for row in table.rows],
        block_ends=_block_ends(table),
        notes=table.notes,
    )


def _block_ends(table: Table) -> list[bool]:
    """After which rows a rule is drawn: where the first column's blocks end."""
    first = [row[0].text for row in table.rows]
    if len(set(first)) == len(first):
        return [False] * len(first)
    return [text != following for text, following in itertools.pairwise(first)] + [False]
