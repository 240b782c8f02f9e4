import builtins
import csv
import html.parser
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_runs import run_row
from tables_as_lines import table_of

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.cells import Cell, Table, make_columns, number_cell, text_cell
from aqr_exp.report.tables.formats import TableFormat, parquet_bytes, render
from aqr_exp.statistics.grouping import printable
from aqr_exp.store.collect import RunRow

NUMBER = re.compile(r"(?<![\w.=])[+-]?\d+\.\d+(?![\w.])")
HOSTILE = 'a|b & c_d <script>"x"</script> $1 {z} #2 ~~^\\ [l](u) `q` 100 % -- \x1b[31m\nnext'
TEXTS = (TableFormat.RICH, TableFormat.MD, TableFormat.LATEX, TableFormat.HTML)


class Cells(html.parser.HTMLParser):
    """The rows of a page's table, and its notes."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.notes: list[str] = []
        self.tags: list[str] = []
        self._into: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th", "li"}:
            self._into = self.notes if tag == "li" else self.rows[-1]
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "li"}:
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def compared(overrides: str = "bias_scale=5") -> Table:
    rows: list[RunRow] = [
        run_row(seed, value, train_time_s=100.0, mATE=0.5)
        for seed, value in enumerate((0.15, 0.16, 0.18))
    ]
    rows += [
        run_row(
            seed,
            value,
            variant="attention_bias",
            fingerprint="b" * 12,
            overrides=[overrides],
            train_time_s=105.0,
            mATE=0.4 + value,
            **{"aqr/final_scale": [2.5, 3.25]},
        )
        for seed, value in enumerate((0.14, 0.17, 0.2))
    ]
    return table_of(rows, ["mAP", "mATE"])


def numbers(texts: list[str]) -> list[str]:
    return [found.lstrip("+") for text in texts for found in NUMBER.findall(text)]


def shown(table: Table, form: TableFormat) -> list[list[str]]:
    """The cells of a text format, by parsing it."""
    text = render(table, form)
    if form is TableFormat.HTML:
        page = Cells()
        page.feed(text)
        return page.rows
    if form is TableFormat.LATEX:
        body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
        lines = [line for line in body.splitlines() if line != "\\midrule"]
        assert all(line.endswith(" \\\\") for line in lines)
        return [re.split(r"(?<!\\)&", line.replace("$-$", "-")[:-3]) for line in lines]
    if form is TableFormat.MD:
        lines = [line for line in text.splitlines() if line.startswith("|")]
        del lines[1]
        return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [line.split("|")[1:-1] for line in lines]


def test_every_format_holds_the_same_digits() -> None:
    table = compared()
    raw = list(csv.reader(io.StringIO(render(table, TableFormat.CSV))))
    expected = numbers([cell for row in raw[1:] for cell in row])
    # Two arms of two means, two differences, two times, two scales.
    assert len(expected) == 2 * 2 * 4 + 2 * 3 + 2 + 2
    for form in TEXTS:
        found = numbers([cell for row in shown(table, form)[1:] for cell in row])
        assert found == expected, form
    parsed = json.loads(render(table, TableFormat.JSON))["rows"]
    values = [
        value
        for row in parsed
        for item in row.values()
        for value in (item if isinstance(item, list) else [item])
    ]
    floats = [value for value in values if isinstance(value, float)]
    assert floats == [float(text) for text in expected]


def test_pandas_reads_the_csv_with_numbers_as_numbers() -> None:
    import pandas as pd

    table = compared()
    frame = pd.read_csv(io.StringIO(render(table, TableFormat.CSV)))
    assert tuple(frame.columns) == table.names
    assert frame["mAP difference"].tolist()[1] == pytest.approx(0.67, abs=1e-12)
    assert frame["mAP difference"].isna().tolist() == [True, False]
    assert frame["time / baseline"].tolist() == [1.0, 1.05]
    assert frame["n"].tolist() == [3, 3]


def test_every_line_has_a_cell_for_every_column() -> None:
    table = compared(HOSTILE)
    for form in TEXTS[1:]:  # a pipe's text escapes nothing
        widths = {len(row) for row in shown(table, form)}
        assert len(widths) == 1, form


def test_latex_can_be_pasted() -> None:
    text = render(compared(HOSTILE), TableFormat.LATEX)
    assert text.isprintable() or "\n" in text
    align = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert align is not None
    assert {len(row) for row in shown(compared(HOSTILE), TableFormat.LATEX)} == {len(align[1])}
    # Outside commands no special character stands alone.
    bare = re.sub(
        r"\\(textasciitilde|textasciicircum|textbackslash|textbar|textless|textgreater)\{\}",
        "",
        text,
    )
    bare = re.sub(r"\\[&%$#_{}]|\$\\pm\$|\$-\$|^% needs.*$|\\\\$", "", bare, flags=re.MULTILINE)
    bare = re.sub(
        r"\\(begin|end|caption|centering|toprule|midrule|bottomrule|par|footnotesize)", "", bare
    )
    assert not set("$#_~^\\%") & set(bare)
    assert bare.count("{") == bare.count("}")
    assert "--" not in text.replace("-{}-", "")
    for command in ("table", "tabular"):
        assert text.count(f"\\begin{{{command}}}") == text.count(f"\\end{{{command}}}") == 1


def test_a_bracket_that_begins_a_line_is_no_argument_of_the_line_before() -> None:
    table = Table(title="T", columns=make_columns("a"), rows=((text_cell("[1] x"),),) * 2)
    assert render(table, TableFormat.LATEX).count("\n{}[1] x \\\\") == 2


def test_minus_signs_are_typeset_as_such_in_numbers_alone() -> None:
    table = Table(
        title="T",
        columns=make_columns(("name", "x"), numeric={"x"}),
        rows=((text_cell("a-1 -2"), Cell(text="-0.5\n[-1.0, +0.2]", value=-0.5)),),
    )
    assert "a-1 -2 & $-$0.5 [$-$1.0, +0.2] \\\\" in render(table, TableFormat.LATEX)


def test_a_page_holds_hostile_names_as_text_alone() -> None:
    table = compared(HOSTILE)
    page = Cells()
    page.feed(render(table, TableFormat.HTML))
    assert "script" not in page.tags
    assert any("<script>" in cell for row in page.rows for cell in row)
    assert page.tags.count("table") == 1
    assert len(page.notes) == len(table.notes)


def test_nothing_that_steers_a_terminal_is_printed() -> None:
    for form in (*TEXTS, TableFormat.CSV, TableFormat.JSON):
        text = render(compared(HOSTILE), form)
        assert "\x1b" not in text
        assert "\\u001b" not in text
    notes = Table(
        title="T",
        columns=make_columns("a"),
        rows=((text_cell("x"),),),
        notes=("\x1b[2J\x07",),
    )
    assert "\\x1b[2J\\x07" in render(notes, TableFormat.RICH)


@given(st.text())
def test_printable_text_is_kept_and_all_text_becomes_printable(text: str) -> None:
    found = printable(text)
    assert found.isprintable()
    assert not text.isprintable() or found == text


@given(st.one_of(st.none(), st.floats()), st.booleans())
def test_a_number_cell_has_one_value_and_its_digits(value: float | None, signed: bool) -> None:
    cell = number_cell(value, signed=signed)
    if cell.value is None:
        assert cell.text == "-"
        assert value is None or not abs(value) < float("inf")
    else:
        assert float(cell.text) == cell.value
        assert cell.text.startswith("+") == (signed and cell.value > 0)
        assert not cell.text.startswith("-0.0000") or cell.value != 0


def test_parquet_without_pyarrow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(RequestError) as caught:
        parquet_bytes(compared())
    assert str(caught.value).startswith(
        "--format parquet needs pyarrow: `pip install 'aqr-exp[report]'`"
    )
    with pytest.raises(RequestError, match=r"^parquet is no text"):
        render(compared(), TableFormat.PARQUET)


def test_parquet_holds_the_rows_of_the_csv(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = compared()
    found = pq.read_table(io.BytesIO(parquet_bytes(table)))
    assert tuple(found.column_names) == table.names
    rows = json.loads(render(table, TableFormat.JSON))["rows"]
    for row, expected in zip(found.to_pylist(), rows, strict=True):
        scale = expected.pop("final scale")
        assert row.pop("final scale") == (
            " / ".join(f"{value:.4f}" for value in scale) if scale else None
        )
        assert row == expected
    about = json.loads(found.schema.metadata[b"aqr_exp"])
    assert about["notes"] == list(table.notes)
