"""Tables of cells that are rounded once, with columns that say what they hold."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.files.text import printable
from aqr_exp.statistics.grouping import Group
from aqr_exp.statistics.metrics import in_points
from aqr_exp.store.collect import RunRow

DECIMALS = 4
PLUS_MINUS = "±"
MEASURE = "mean ± sd [95 % interval] over n seeds"
POINTS = "mAP, NDS and AP in points"
SYNTHETIC_MARK = "SYNTHETIC data, not comparable with nuScenes"
ORIGIN = "origin"
"""The column that sets measured lines apart from references."""
TIME = "time / baseline"
"""The column of training times relative to the baseline's."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell.

    Attributes:
        value: What programs read: the same digits as a number or several, text, or None.
        mark: The letters of its footnotes, which are among the table's notes.
    """

    text: str
    value: str | int | float | tuple[float, ...] | None
    mark: str = ""


Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """A column; its name is its title, too.

    Attributes:
        numeric: Whether it is aligned to the right.
        head: Whether it says what a block of lines measures.
        constant: Whether on a terminal it becomes one line above the table when all rows agree on it.
        hidden_on_terminal: Whether a terminal leaves it out.
        machine_only: Whether only programs get it; people get the same as marks and notes.
        highest_first: Whether the best of its values is the largest.
        of_line: Whether it holds values of its line's metric, in which direction that is better.
        with_baseline: Whether its cells come from the runs of the baseline, too.
    """

    name: str
    numeric: bool = False
    head: bool = False
    constant: bool = False
    hidden_on_terminal: bool = False
    machine_only: bool = False
    highest_first: bool = False
    of_line: bool = False
    with_baseline: bool = False


def make_columns(
    names: Iterable[str], *, numeric: Collection[str] = (), constant: Collection[str] = ()
) -> tuple[Column, ...]:
    """Columns by their names, some of them numeric or constant."""
    return tuple(Column(name, numeric=name in numeric, constant=name in constant) for name in names)


@dataclass(frozen=True, kw_only=True)
class MergedColumns:
    """Columns that people read as one, `value ± sd [low, high], words`; programs get each.

    `value` stays; there may be no `sd`, no `words`, which are of a verdict, and no `elsewhere`, which says
    whether that is shown on other scenes.
    """

    value: str
    low: str
    high: str
    sd: str | None = None
    words: str | None = None
    elsewhere: str | None = None

    def columns(self, *, with_baseline: bool = False, **of_value: bool) -> list[Column]:
        """The columns in the order `value`, `sd`, `low`, `high`, `words`; `of_value` is about the first."""
        numbers = [name for name in (self.sd, self.low, self.high) if name]
        return [
            Column(self.value, numeric=True, with_baseline=with_baseline, **of_value),
            *(Column(name, numeric=True, with_baseline=with_baseline) for name in numbers),
            *(
                Column(name, with_baseline=with_baseline)
                for name in (self.words, self.elsewhere)
                if name
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class Line:
    """The subject of a measured row.

    Attributes:
        arm: The index of its arm.
        metric: What it measures; empty where its columns say that.
    """

    arm: int
    metric: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of rounded cells.

    Attributes:
        title: Says what the numbers are, and that they are synthetic when they are.
        lines: The subject of each row; empty for a table of other things than arms.
        references: Rows of numbers that were not measured here; shown apart, below the others.
        notes: Lines shown below: what is missing and why, and how numbers were made.
        synthetic: Whether any number comes from synthetic data.
        block_rules: Whether rules are drawn between blocks of lines with the same first cell.
        trace: The runs and files behind the cells; None when it was not asked for.
        sweep: What the sweep it is of says of each number it varied; empty of all others.
    """

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    lines: tuple[Line, ...] = ()
    references: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    synthetic: bool = False
    merged_columns: tuple[MergedColumns, ...] = ()
    block_rules: bool = True
    trace: Mapping[str, Any] | None = None
    sweep: tuple[Mapping[str, Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(column.name for column in self.columns)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The measured rows, then the references."""
        return (*self.rows, *self.references)


NO_VALUE = Cell(text="-", value=None)


def range_words(counts: Collection[int]) -> str:
    """The one number that all counts are, or from which to which they reach."""
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def text_cell(text: str) -> Cell:
    """A cell of words; what would steer a terminal is spelled out."""
    shown = printable(text)
    return Cell(text=shown, value=shown)


def words_cell(text: str) -> Cell:
    """A cell with the reason why there is no value."""
    return Cell(text=printable(text), value=None)


def count_cell(count: int) -> Cell:
    """A cell of a whole number."""
    return Cell(text=str(count), value=count)


# From here on all digits would be a line of zeros.
_LARGE = 1e12


def number_cell(value: float | None, decimals: int = DECIMALS, *, signed: bool = False) -> Cell:
    """A cell of a rounded number, with a plus where it is signed."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text = f"{value:.{decimals}f}" if abs(value) < _LARGE else f"{value:.{decimals}e}"
    if float(text) == 0:
        text = text.lstrip("-")  # no minus zero
    elif signed and not text.startswith("-"):
        text = f"+{text}"
    return Cell(text=text, value=float(text))


def metric_cell(metric: str, value: float | None, *, signed: bool = False) -> Cell:
    """A cell of a metric's value: in points where the metric is given in them."""
    if value is None or not in_points(metric):
        return number_cell(value, signed=signed)
    return number_cell(100 * value, DECIMALS - 2, signed=signed)


def interval_cells(
    metric: str, mean: float | None, low: float | None, high: float | None, *, signed: bool = False
) -> tuple[Cell, Cell, Cell]:
    """A metric and the ends of its interval; where it has none, the lower one says so."""
    value, lower, upper = (metric_cell(metric, each, signed=signed) for each in (mean, low, high))
    unknown = words_cell("-" if mean is None else "no interval")
    return value, unknown if low is None else lower, upper


def titled(title: str, groups: Iterable[Sequence[RunRow]]) -> tuple[str, bool]:
    """A title marked when anything below it is synthetic, and whether it is."""
    synthetic = any(row.synthetic for group in groups for row in group)
    return (f"{title} ({SYNTHETIC_MARK})" if synthetic else title), synthetic


def common_words(groups: Sequence[Group]) -> list[str]:
    """The overrides that every arm has, which tell none apart."""
    first, *others = [group[0].overrides.split() for group in groups] or [[]]
    return [word for word in first if all(word in words for words in others)]


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A table as texts.

    Attributes:
        context: The constant columns, where the format has no column for them; may be empty.
        right: Whether a column is aligned to the right. Columns of words before the first such
            column name the row.
        rows: (text, mark of its footnotes) by column; a line break marks where a text may be
            broken first.
        block_ends: Whether a rule is drawn after a row, where the format has rules.
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
