"""A table as a page of HTML, from plain texts."""

import html
import re

from aqr_exp.report.tables.cells import PLUS_MINUS, TableTexts

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
    return html.escape(" ".join(text.split()))


LATEX_MARKS = {
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
# Two hyphens in a row would become a dash.
_LIGATURE = re.compile("-(?=-)")
_MINUS = re.compile(r"(?<![\w.])-(?=[\d.])")


def latex_table(texts: TableTexts) -> str:
    """Lay out a table with booktabs' rules.

    Args:
        texts: The table.

    Returns:
        The LaTeX text, with a final line break.
    """
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
            _cell(text, mark, number=end)
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


def _cell(text: str, mark: str, *, number: bool) -> str:
    shown = _latex_escaped(text)
    if number:
        shown = _MINUS.sub("$-$", shown)
    return shown + (_command("textsuperscript", _latex_escaped(mark)) if mark else "")


def _latex_escaped(text: str) -> str:
    shown = "".join(LATEX_MARKS.get(mark, mark) for mark in " ".join(text.split()))
    return _LIGATURE.sub("-{}", shown)


def _command(name: str, argument: str) -> str:
    return f"\\{name}{{{argument}}}"
