"""A table as aligned text for a pipe: nothing is coloured, cut or wrapped."""

from collections.abc import Sequence

from aqr_exp.results.tables.texts import TableTexts


def plain_table(texts: TableTexts) -> str:
    """Lay out a table as wide as it is.

    Args:
        texts: The table.

    Returns:
        The text, with a final line break.
    """
    lines = [
        list(texts.columns),
        *[[text.replace("\n", " ") for text in row] for row in texts.marked_rows],
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(row: Sequence[str]) -> str:
        cells = zip(row, widths, texts.right, strict=True)
        padded = [text.rjust(width) if end else text.ljust(width) for text, width, end in cells]
        return "| " + " | ".join(padded) + " |"

    body = [rule, line(lines[0]), rule]
    for row, ends_block in zip(lines[1:], texts.block_ends, strict=True):
        body += [line(row), *([rule] if ends_block else [])]
    return "\n".join([*texts.head, *body, rule, *texts.notes]) + "\n"
