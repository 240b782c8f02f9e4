"""The cells of a table, rounded once, and the table they stand in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.statistics.grouping import Group, printable

DECIMALS = 4
PLUS_MINUS = "±"
SYNTHETIC_MARK = "SYNTHETIC data, not comparable with nuScenes"
ORIGIN = "origin"
"""The column that sets measured lines apart from references."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        text: What people read.
        value: What programs read: the same digits as a number or several, text, or None.
        mark: The letters of its footnotes, which are among the table's notes.
    """

    text: str
    value: str | int | float | tuple[float, ...] | None
    mark: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Columns that people read as one, `value ± sd [low, high], words`; programs get each.

    Attributes:
        value: The column that stays.
        low: The column of the interval's lower end.
        high: That of its upper end.
        sd: That of the standard deviation; None where there is none.
        words: That of what is said of it; None where nothing is.
    """

    value: str
    low: str
    high: str
    sd: str | None = None
    words: str | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of rounded cells.

    Attributes:
        title: Says what the numbers are, and that they are synthetic when they are.
        columns: Column names.
        numeric: Names of the columns aligned to the right.
        rows: Cells by column.
        references: Rows of numbers that were not measured here; shown apart, below the others.
        notes: Lines shown below: what is missing and why, and how numbers were made.
        synthetic: Whether any number comes from synthetic data.
        context: Columns that on a terminal become one line above when all rows agree on them.
        details: Columns a terminal leaves out.
        programs: Columns that only programs get; people get the same as marks and notes.
        joined: Columns that people read as one.
        blocks: Whether lines with the same first cell make blocks, with a rule between.
        trace: Which runs and files stand behind the cells; None when it was not asked for.
    """

    title: str
    columns: tuple[str, ...]
    numeric: frozenset[str]
    rows: tuple[Row, ...]
    references: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    context: frozenset[str] = frozenset()
    details: frozenset[str] = frozenset()
    programs: frozenset[str] = frozenset()
    joined: tuple[Joined, ...] = ()
    blocks: bool = True
    trace: Mapping[str, Any] | None = None

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """What was measured, then the references."""
        return (*self.rows, *self.references)


NO_VALUE = Cell(text="-", value=None)


def text_cell(text: str) -> Cell:
    """A cell of words; what would steer a terminal is spelled out."""
    shown = printable(text)
    return Cell(text=shown, value=shown)


def words_cell(text: str) -> Cell:
    """A cell that says in words why there is no value."""
    return Cell(text=text, value=None)


def count_cell(count: int) -> Cell:
    """A cell of a whole number."""
    return Cell(text=str(count), value=count)


def number_cell(
    value: float | None, missing: str = "-", decimals: int = DECIMALS, *, signed: bool = False
) -> Cell:
    """A cell of a rounded number.

    Args:
        value: The number.
        missing: What stands where there is none.
        decimals: Digits behind the point.
        signed: Whether a number above 0 has a plus.
    """
    if value is None or not math.isfinite(value):
        return Cell(text=missing, value=None)
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")  # no minus zero
    elif signed and not text.startswith("-"):
        text = f"+{text}"
    return Cell(text=text, value=float(text))


def titled(title: str, groups: Sequence[Group]) -> tuple[str, bool]:
    """A title that says when anything below it is synthetic, and whether it is."""
    synthetic = any(row.synthetic for group in groups for row in group)
    return (f"{title} ({SYNTHETIC_MARK})" if synthetic else title), synthetic


def common_words(groups: Sequence[Group]) -> list[str]:
    """The overrides that every arm has, which tell none apart."""
    first, *others = [group[0].overrides.split() for group in groups] or [[]]
    return [word for word in first if all(word in words for words in others)]


@dataclass(frozen=True, kw_only=True)
class TableTexts:
    """A table as texts.

    Attributes:
        title: Stands above.
        context: What all rows agree on, where the format has no column for it; may be empty.
        columns: Column names.
        right: Whether a column is aligned to the right. Columns of words before the first such
            column name the row.
        rows: (text, mark of its footnotes) by column; a line break says where a text may be
            broken first.
        block_ends: After which rows a rule is drawn, where the format has rules.
        notes: Lines below.
    """

    title: str
    context: str = ""
    columns: Sequence[str]
    right: Sequence[bool]
    rows: Sequence[Sequence[tuple[str, str]]]
    block_ends: Sequence[bool]
    notes: Sequence[str]

    @property
    def head(self) -> list[str]:
        """Lines above, the title first."""
        return [self.title, *([self.context] if self.context else [])]

    @property
    def marked_rows(self) -> list[list[str]]:
        """The rows' texts with the marks behind them, in brackets."""
        return [[f"{text} ({mark})" if mark else text for text, mark in row] for row in self.rows]
