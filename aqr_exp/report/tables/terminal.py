"""A table on a terminal, from plain texts: no number is ever broken, whatever the width.

A table that is too wide first breaks its cells where they allow it (at a line break, and at words),
then continues below, repeating of its first columns those that tell the rows apart.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.report.tables.cells import TextTable

GAP = 2
# Words may be wrapped to this many characters; a longer single word is folded.
WRAPPED = 14


@dataclass(frozen=True, kw_only=True)
class TablePart:
    """A part of a table that fits: the indices of the columns it shows, and their widths in characters."""

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def terminal_table(texts: TextTable) -> str:
    """A table for the terminal this process writes to, with its colours."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=io.StringIO(), force_terminal=True)
    rows = [[text.replace("\n", " ") for text in row] for row in texts.marked_rows]
    parts = split(texts.columns, texts.right, rows, console.width)
    if len(parts) > 1:
        rows = texts.marked_rows
        parts = split(texts.columns, texts.right, rows, console.width)
    with console.capture() as capture:
        console.print(Text(texts.title, style="bold"), soft_wrap=True)
        for text in texts.head[1:]:
            console.print(Text(text), soft_wrap=True)
        for part in parts:
            console.print()
            console.print(_grid(part, texts, rows), crop=False)
        console.print()
        for note in texts.notes:
            console.print(Text(note), soft_wrap=True)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def split(
    columns: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]], width: int
) -> list[TablePart]:
    """Choose column widths, and where the table continues below.

    Returns:
        The parts; each holds columns that name the row and at least one other. Only a part of
        a single column too many is wider than `width`.
    """
    every = range(len(columns))
    texts = [[row[index] for row in rows] for index in every]
    least = [_least(columns[index], texts[index], right=right[index]) for index in every]
    most = [max(map(_longest_line, [columns[index], *texts[index]])) for index in every]
    keys = [*right, True].index(True) or 1
    telling = _telling(rows, keys)
    parts: list[list[int]] = [[*range(keys)]]
    for index in every[keys:]:
        begun = len(parts[-1]) > (keys if len(parts) == 1 else len(telling))
        if begun and _total([least[i] for i in (*parts[-1], index)]) > width:
            parts.append([*telling])
        parts[-1].append(index)
    return [
        TablePart(columns=tuple(part), widths=_widened(part, least, most, width)) for part in parts
    ]


def _telling(rows: Sequence[Sequence[str]], keys: int) -> list[int]:
    """The fewest of the columns that name a row by which all rows can be told apart, the first kept."""
    chosen = [0]
    distinct = len({row[0] for row in rows})
    for index in range(1, keys):
        more = len({tuple(row[i] for i in (*chosen, index)) for row in rows})
        if more > distinct:
            chosen.append(index)
            distinct = more
    return chosen


def _least(name: str, texts: Sequence[str], *, right: bool) -> int:
    """The least width of a column: numbers are never broken, words at spaces, headers at words."""
    header = max(map(len, name.split()), default=1)
    return max([header, *(_unbroken(line, right) for text in texts for line in text.split("\n"))])


def _unbroken(line: str, right: bool) -> int:
    if right and not any(letter.isalpha() for letter in line):
        return len(line)
    return max([*map(len, line.split()), min(len(line), WRAPPED)])


def _longest_line(text: str) -> int:
    return max(map(len, text.split("\n")))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _widened(
    part: Sequence[int], least: Sequence[int], most: Sequence[int], width: int
) -> tuple[int, ...]:
    """Give the room that is left to the columns that can use it, from the left."""
    room = width - _total([least[index] for index in part])
    widths = []
    for index in part:
        more = max(0, min(room, most[index] - least[index]))
        widths.append(least[index] + more)
        room -= more
    return tuple(widths)


def _grid(part: TablePart, texts: TextTable, rows: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, width in zip(part.columns, part.widths, strict=True):
        justify: Any = "right" if texts.right[index] else "left"
        name = Text(texts.columns[index])
        grid.add_column(name, justify=justify, overflow="fold", width=width, vertical="top")
    for row, ends_block in zip(rows, texts.block_ends, strict=True):
        grid.add_row(*[Text(row[index]) for index in part.columns], end_section=ends_block)
    return grid
