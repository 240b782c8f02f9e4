"""A table in Markdown, from plain texts."""

from collections.abc import Sequence

ESCAPED = "\\`*_|<>"


def markdown_table(
    *,
    title: str,
    columns: Sequence[str],
    right: Sequence[bool],
    rows: Sequence[Sequence[tuple[str, str]]],
    block_ends: Sequence[bool],
    notes: Sequence[str],
) -> str:
    """Lay out a table with pipes, as GitHub and mkdocs read it.

    Args:
        title: Stands above in bold.
        columns: Column names.
        right: Whether a column is aligned to the right.
        rows: (text, mark of its footnotes) by column.
        block_ends: Markdown has no rules inside a table: not used.
        notes: Become a list below.

    Returns:
        The text, with a final line break.
    """
    del block_ends
    lines = [f"**{_escaped(title)}**", "", _line([_escaped(name) for name in columns])]
    lines.append(_line(["---:" if end else "---" for end in right]))
    lines += [_line([_cell(text, mark) for text, mark in row]) for row in rows]
    if notes:
        lines += ["", *[f"- {_escaped(note)}" for note in notes]]
    return "\n".join(lines) + "\n"


def _line(items: Sequence[str]) -> str:
    return "| " + " | ".join(items) + " |"


def _cell(text: str, mark: str) -> str:
    return _escaped(text) + (f" ({mark})" if mark else "")


def _escaped(text: str) -> str:
    for mark in ESCAPED:
        text = text.replace(mark, f"\\{mark}")
    # Brackets alone are intervals; these would become links, and struck-out text.
    text = text.replace("](", "]\\(").replace("~~", "\\~\\~")
    return " ".join(text.split())
