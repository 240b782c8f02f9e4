"""A table as aligned text for a pipe: nothing is coloured, cut or wrapped."""

from collections.abc import Sequence


def plain_table(
    *,
    head: Sequence[str],
    columns: Sequence[str],
    right: Sequence[bool],
    rows: Sequence[Sequence[str]],
    block_ends: Sequence[bool],
    notes: Sequence[str],
) -> str:
    """Lay out a table as wide as it is.

    Args:
        head: Lines above, the title first.
        columns: Column names.
        right: Whether a column is aligned to the right.
        rows: Texts by column; line breaks become spaces.
        block_ends: After which rows a rule is drawn.
        notes: Lines below.

    Returns:
        The text, with a final line break.
    """
    lines = [list(columns), *[[text.replace("\n", " ") for text in row] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = "+" + "+".join("-" * (width + 2) for width in widths) + "+"

    def line(texts: Sequence[str]) -> str:
        cells = zip(texts, widths, right, strict=True)
        padded = [text.rjust(width) if end else text.ljust(width) for text, width, end in cells]
        return "| " + " | ".join(padded) + " |"

    body = [rule, line(lines[0]), rule]
    for texts, ends_block in zip(lines[1:], block_ends, strict=True):
        body += [line(texts), *([rule] if ends_block else [])]
    return "\n".join([*head, *body, rule, *notes]) + "\n"
