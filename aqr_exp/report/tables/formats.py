"""Tables as text, markup, JSON and Parquet; the digits are those of the cells in every format."""

import csv
import html
import io
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.files.text import json_text, printable, printable_lines
from aqr_exp.report.tables.cells import (
    NO_VALUE,
    PLUS_MINUS,
    Cell,
    MergedColumns,
    Row,
    Table,
    TextTable,
)
from aqr_exp.report.tables.references import references_apart
from aqr_exp.report.tables.terminal import terminal_table


def parquet_bytes(table: Table) -> bytes:
    """The file's content; title, notes and trace are in its schema's metadata under `aqr_exp`.

    Columns whose values are numbers become numbers, others text.

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
        name: _values([row[index] for row in rows]) for index, name in enumerate(table.names)
    }
    about = {
        "title": table.title,
        "synthetic": table.synthetic,
        "notes": list(table.notes),
        "trace": table.trace,
        "sweep": list(table.sweep),
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


class TableFormat(str, Enum):
    """The format of a printed table."""

    RICH = "rich"
    MD = "md"
    CSV = "csv"
    JSON = "json"
    LATEX = "latex"
    HTML = "html"
    PARQUET = "parquet"


def render(table: Table, form: TableFormat, *, terminal: bool = False) -> str:
    """Lay a table out as text.

    Args:
        terminal: Whether the text goes to a terminal (matters to `rich` only).

    Raises:
        RequestError: The format is not text (see `parquet_bytes`).
    """
    if form is TableFormat.CSV:
        return _csv(table)
    if form is TableFormat.JSON:
        return _json(as_json(table))
    if form is TableFormat.PARQUET:
        raise RequestError(
            "parquet is no text: write it to a file, `--format parquet > table.parquet`"
        )
    table = for_people(table)
    if form is TableFormat.RICH:
        return _for_screen(table, terminal=terminal)
    layout = {
        TableFormat.MD: markdown_table,
        TableFormat.LATEX: latex_table,
        TableFormat.HTML: html_table,
    }[form]
    return layout(_texts(table, range(len(table.columns))))


def render_all(tables: Mapping[str, Table], form: TableFormat, *, terminal: bool = False) -> str:
    """Lay several tables out, one after the other with an empty line between.

    Args:
        tables: The tables by name; in JSON they become one object with these names.
    """
    if form is TableFormat.JSON:
        return _json({name: as_json(table) for name, table in tables.items()})
    return "\n".join(render(table, form, terminal=terminal) for table in tables.values())


def _json(value: Mapping[str, Any]) -> str:
    return json_text(value) + "\n"


def as_json(table: Table) -> dict[str, Any]:
    """A table as plain values: one mapping a row; references are a list of their own."""

    def values(rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [
            {name: cell.value for name, cell in zip(table.names, row, strict=True)} for row in rows
        ]

    return {
        "title": table.title,
        "synthetic": table.synthetic,
        "rows": values(table.rows),
        **({"references": values(table.references)} if table.references else {}),
        "notes": list(table.notes),
        **({"sweep": list(table.sweep)} if table.sweep else {}),
        **({"trace": table.trace} if table.trace is not None else {}),
    }


def for_people(table: Table) -> Table:
    """The columns people read: joined ones as one, after a line break that a wide format ignores."""
    place = {name: index for index, name in enumerate(table.names)}
    gone = {column.name for column in table.columns if column.machine_only}
    for group in table.merged_columns:
        names = (group.low, group.high, group.sd, group.words, group.elsewhere)
        gone |= {name for name in names if name}
    kept = [index for name, index in place.items() if name not in gone]

    def shown(row: Row) -> Row:
        cells = list(row)
        for group in table.merged_columns:
            cells[place[group.value]] = _join(group, row, place)
        return tuple(cells[index] for index in kept)

    return replace(
        table,
        columns=tuple(table.columns[index] for index in kept),
        rows=tuple(map(shown, table.rows)),
        references=tuple(map(shown, table.references)),
        merged_columns=(),
    )


def _join(group: MergedColumns, row: Row, place: Mapping[str, int]) -> Cell:
    mean, low, high = (row[place[name]] for name in (group.value, group.low, group.high))
    if mean.value is None:
        return mean
    sd = row[place[group.sd]] if group.sd else NO_VALUE
    text = mean.text if sd.value is None else f"{mean.text} {PLUS_MINUS} {sd.text}"
    if low.value is not None:
        text += f"\n[{low.text}, {high.text}]"
    elif low.text and low != NO_VALUE:
        # Where there is no interval, the lower end has the reason.
        text += f"\n({low.text})"
    if group.words:
        text += f",\n{row[place[group.words]].text}"
    if group.elsewhere and (also := row[place[group.elsewhere]]) != NO_VALUE:
        text += f",\non other scenes: {also.text}"
    return replace(mean, text=text)


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_inert, table.names))
    for row in table.all_rows:
        # The text of a number keeps its digits; a missing one is an empty field.
        writer.writerow(
            _inert(cell.text)
            if isinstance(cell.value, str)
            else ""
            if cell.value is None
            else cell.text
            for cell in row
        )
    return text.getvalue()


def _inert(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _for_screen(table: Table, *, terminal: bool) -> str:
    layout = terminal_table if terminal else plain_table
    parts = [table]
    if table.references:
        # A screen has no room for references among the columns of what was measured.
        parts = [part for part in references_apart(table) if part.rows or part.references]
    return "\n".join(layout(_screen_texts(part)) for part in parts)


def _screen_texts(table: Table) -> TextTable:
    """The table without constant columns on which all rows agree: they become a line above it."""
    shared = {}
    for index, column in enumerate(table.columns):
        texts = {row[index].text for row in table.all_rows}
        if column.constant and len(texts) == 1:
            shared[column.name] = texts.pop()
    shown = [
        index
        for index, column in enumerate(table.columns)
        if not column.hidden_on_terminal and column.name not in shared
    ]
    context = ", ".join(f"{name} {text}" for name, text in shared.items() if text)
    return _texts(table, shown, context)


def _texts(table: Table, shown: Sequence[int], context: str = "") -> TextTable:
    """Some columns of a table as texts."""
    return TextTable(
        title=printable(table.title),
        context=printable(context),
        columns=[printable(table.columns[index].name) for index in shown],
        right=[table.columns[index].numeric for index in shown],
        rows=[
            [(printable_lines(row[index].text), printable(row[index].mark)) for index in shown]
            for row in table.all_rows
        ],
        block_ends=_block_ends(table),
        notes=[printable(note) for note in table.notes],
    )


def _block_ends(table: Table) -> list[bool]:
    """After which rows a rule is drawn: where the first column's blocks and the measured end."""
    first = [row[0].text for row in table.rows]
    ends = [False] * len(first)
    if table.block_rules and len(set(first)) < len(first):
        ends = [text != following for text, following in itertools.pairwise(first)] + [False]
    if table.references and ends:
        ends[-1] = True
    return ends + [False] * len(table.references)


def plain_table(texts: TextTable) -> str:
    """Aligned text as wide as the table is, for a pipe: nothing is coloured, cut or wrapped."""
    rows = [[text.replace("\n", " ") for text in row] for row in texts.marked_rows]
    lines = [list(texts.columns), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, texts.right, strict=True)
        padded = [text.rjust(width) if end else text.ljust(width) for text, width, end in cells]
        return "| " + " | ".join(padded) + " |"

    body = [rule, line(texts.columns), rule]
    for row, ends_block in zip(rows, texts.block_ends, strict=True):
        body += [line(row), *([rule] if ends_block else [])]
    return "\n".join([*texts.head, *body, rule, *texts.notes]) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())


_MARKDOWN = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_|<>"})


def markdown_table(texts: TextTable) -> str:
    """A table with pipes, as GitHub and mkdocs read it."""
    lines = [f"**{_escaped(texts.title)}**", "", _pipes([_escaped(name) for name in texts.columns])]
    lines.append(_pipes(["---:" if end else "---" for end in texts.right]))
    lines += [_pipes(map(_escaped, row)) for row in texts.marked_rows]
    if texts.notes:
        lines += ["", *[f"- {_escaped(note)}" for note in texts.notes]]
    return "\n".join(lines) + "\n"


def _pipes(items: Iterable[str]) -> str:
    return "| " + " | ".join(items) + " |"


def _escaped(text: str) -> str:
    # Brackets alone are intervals; these would become links, struck-out text, and links again.
    text = text.translate(_MARKDOWN).replace("](", "]\\(").replace("~~", "\\~\\~")
    text = text.replace("://", ":\\//")
    return _one_line(text)


STYLE = """\
body { font: 14px/1.4 sans-serif; margin: 2em; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { font-weight: bold; text-align: left; padding-bottom: .5em; }
th, td { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid; }
.block-end td { border-bottom: 1px solid #999; }"""


def html_table(texts: TextTable) -> str:
    """A page that needs no other file."""
    kinds = [' class="number"' if end else "" for end in texts.right]
    head = "".join(
        f"<th{kind}>{_html_escaped(name)}</th>"
        for name, kind in zip(texts.columns, kinds, strict=True)
    )
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f'<head><meta charset="utf-8"><title>{_html_escaped(texts.title)}</title>',
        f"<style>\n{STYLE}\n</style></head>",
        "<body>",
        "<table>",
        f"<caption>{_html_escaped(texts.title)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
    ]
    for row, ends_block in zip(texts.rows, texts.block_ends, strict=True):
        cells = "".join(
            f"<td{kind}>{_html_escaped(text)}{f'<sup>{_html_escaped(mark)}</sup>' if mark else ''}</td>"
            for (text, mark), kind in zip(row, kinds, strict=True)
        )
        lines.append(f'<tr class="block-end">{cells}</tr>' if ends_block else f"<tr>{cells}</tr>")
    lines += ["</tbody>", "</table>"]
    if texts.notes:
        lines += ["<ul>", *[f"<li>{_html_escaped(note)}</li>" for note in texts.notes], "</ul>"]
    return "\n".join([*lines, "</body>", "</html>"]) + "\n"


def _html_escaped(text: str) -> str:
    return html.escape(_one_line(text))


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        # Outside math, the usual fonts hold other marks in the places of these.
        "|": r"\textbar{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        PLUS_MINUS: r"$\pm$",
    }
)
# Two hyphens in a row would become a dash.
_LIGATURE = re.compile("-(?=-)")
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")


def latex_table(texts: TextTable) -> str:
    """LaTeX text with booktabs' rules."""
    align = "".join("r" if end else "l" for end in texts.right)
    lines = [
        "% needs " + _command("usepackage", "booktabs"),
        _command("begin", "table"),
        "\\centering",
        _command("caption", _latex_escaped(texts.title)),
        _command("begin", "tabular") + f"{{{align}}}",
        "\\toprule",
        " & ".join(map(_latex_escaped, texts.columns)) + r" \\",
        "\\midrule",
    ]
    for row, ends_block in zip(texts.rows, texts.block_ends, strict=True):
        cells = [
            _latex_cell(text, mark, number=end)
            for (text, mark), end in zip(row, texts.right, strict=True)
        ]
        # After the line before, a bracket would be the argument of its end.
        guard = "{}" if cells[0].startswith("[") else ""
        lines.append(guard + " & ".join(cells) + r" \\")
        if ends_block:
            lines.append("\\midrule")
    lines += ["\\bottomrule", _command("end", "tabular")]
    lines += [f"\\par\\footnotesize {_latex_escaped(note)}" for note in texts.notes]
    return "\n".join([*lines, _command("end", "table")]) + "\n"


def _latex_cell(text: str, mark: str, *, number: bool) -> str:
    shown = _latex_escaped(text)
    if number:
        shown = _MINUS.sub("$-$", shown)
    return shown + (_command("textsuperscript", _latex_escaped(mark)) if mark else "")


def _latex_escaped(text: str) -> str:
    return _LIGATURE.sub("-{}", _one_line(text).translate(_LATEX))


def _command(name: str, argument: str) -> str:
    return f"\\{name}{{{argument}}}"
