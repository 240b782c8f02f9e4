"""A table in LaTeX, from plain texts."""

import re

from aqr_exp.results.tables.cells import PLUS_MINUS
from aqr_exp.results.tables.texts import TableTexts

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
        _command("caption", _escaped(texts.title)),
        _command("begin", "tabular") + f"{{{align}}}",
        "\\toprule",
        " & ".join(map(_escaped, texts.columns)) + r" \\",
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
    lines += [f"\\par\\footnotesize {_escaped(note)}" for note in texts.notes]
    return "\n".join([*lines, _command("end", "table")]) + "\n"


def _cell(text: str, mark: str, *, number: bool) -> str:
    shown = _escaped(text)
    if number:
        shown = _MINUS.sub("$-$", shown)
    return shown + (_command("textsuperscript", _escaped(mark)) if mark else "")


def _escaped(text: str) -> str:
    shown = "".join(LATEX_MARKS.get(mark, mark) for mark in " ".join(text.split()))
    return _LIGATURE.sub("-{}", shown)


def _command(name: str, argument: str) -> str:
    return f"\\{name}{{{argument}}}"
