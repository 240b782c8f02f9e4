"""A table as a page of HTML, from plain texts."""

import html

from aqr_exp.results.tables.texts import TableTexts

STYLE = """\
body { font: 14px/1.4 sans-serif; margin: 2em; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; }
caption { font-weight: bold; text-align: left; padding-bottom: .5em; }
th, td { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
thead th { border-bottom: 1px solid; }
.block-end td { border-bottom: 1px solid #999; }"""


def html_table(texts: TableTexts) -> str:
    """Lay out a table as a page that needs no other file.

    Args:
        texts: The table.

    Returns:
        The text, with a final line break.
    """
    kinds = [' class="number"' if end else "" for end in texts.right]
    head = "".join(
        f"<th{kind}>{_escaped(name)}</th>" for name, kind in zip(texts.columns, kinds, strict=True)
    )
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        f'<head><meta charset="utf-8"><title>{_escaped(texts.title)}</title>',
        f"<style>\n{STYLE}\n</style></head>",
        "<body>",
        "<table>",
        f"<caption>{_escaped(texts.title)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
    ]
    for row, ends_block in zip(texts.rows, texts.block_ends, strict=True):
        cells = "".join(
            f"<td{kind}>{_escaped(text)}{f'<sup>{_escaped(mark)}</sup>' if mark else ''}</td>"
            for (text, mark), kind in zip(row, kinds, strict=True)
        )
        lines.append(f'<tr class="block-end">{cells}</tr>' if ends_block else f"<tr>{cells}</tr>")
    lines += ["</tbody>", "</table>"]
    if texts.notes:
        lines += ["<ul>", *[f"<li>{_escaped(note)}</li>" for note in texts.notes], "</ul>"]
    return "\n".join([*lines, "</body>", "</html>"]) + "\n"


def _escaped(text: str) -> str:
    return html.escape(" ".join(text.split()))
