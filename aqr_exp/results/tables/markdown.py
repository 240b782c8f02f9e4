"""A table in Markdown, from plain texts."""

from collections.abc import Sequence

from aqr_exp.results.tables.texts import TableTexts

ESCAPED = "\\`*_|<>"


def markdown_table(texts: TableTexts) -> str:
    """Lay out a table with pipes, as GitHub and mkdocs read it.

    Args:
        texts: The table.

    Returns:
        The text, with a final line break.
    """
    lines = [f"**{_escaped(texts.title)}**", "", _line([_escaped(name) for name in texts.columns])]
    lines.append(_line(["---:" if end else "---" for end in texts.right]))
    lines += [_line([_cell(text, mark) for text, mark in row]) for row in texts.rows]
    if texts.notes:
        lines += ["", *[f"- {_escaped(note)}" for note in texts.notes]]
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
