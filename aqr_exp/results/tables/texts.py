"""What every format lays out: a table whose cells have become texts."""

from collections.abc import Sequence
from dataclasses import dataclass


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
