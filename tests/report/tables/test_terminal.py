import os
import re
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.report.tables.cells import Table, TextTable, make_columns, number_cell, text_cell
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.terminal import split, terminal_table

COLUMNS = ("variant", "n", "mAP", "loss oscillation")
RIGHT = (False, True, True, True)
ROWS = (("attention_bias", "3", "0.2113\n[0.1817, 0.2409]", "0.0500"),)


def test_a_wide_terminal_gets_one_part_as_wide_as_its_texts() -> None:
    (part,) = split(COLUMNS, RIGHT, ROWS, 200)
    assert part.columns == (0, 1, 2, 3)
    assert part.widths == (14, 1, 16, 16)


def test_headers_break_before_the_table_does() -> None:
    (part,) = split(COLUMNS, RIGHT, ROWS, 14 + 1 + 16 + 11 + 3 * 2)
    assert part.widths == (14, 1, 16, 11)


def test_a_table_too_wide_continues_below_with_its_first_columns() -> None:
    first, second = split(COLUMNS, RIGHT, ROWS, 14 + 1 + 16 + 11 + 3 * 2 - 1)
    assert (first.columns, second.columns) == ((0, 1, 2), (0, 3))
    assert second.widths == (14, 16)


def test_a_column_too_many_is_shown_all_the_same() -> None:
    parts = split(COLUMNS, RIGHT, ROWS, 1)
    assert [part.columns for part in parts] == [(0, 1), (0, 2), (0, 3)]
    assert parts[1].widths == (14, 16)


def test_words_may_be_broken_and_numbers_may_not() -> None:
    rows = (("a", "one seed: no interval", "0.1 / 0.2 / 0.3 / 0.4"),)
    parts = split(("v", "low", "scale"), (False, True, True), rows, 20)
    assert [part.widths for part in parts] == [(1, 17), (1, 21)]
    (only,) = split(("v", "low"), (False, True), (("a", "one seed: no interval"),), 10)
    assert only.widths == (1, 14)


@given(
    width=st.integers(20, 200),
    numbers=st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6),
)
def test_no_number_is_broken_at_any_width(width: int, numbers: list[float]) -> None:
    names = tuple(f"metric {index}" for index in range(len(numbers)))
    table = Table(
        title="T",
        columns=make_columns(("variant", *names), numeric=names),
        rows=((text_cell("some_arm"), *map(number_cell, numbers)),),
    )
    with mock.patch.dict(os.environ, {"COLUMNS": str(width)}):
        text = re.sub(r"\x1b\[[0-9;]*m", "", render(table, TableFormat.RICH, terminal=True))
    assert re.findall(r"-?\d+\.\d{4}", text) == [number_cell(value).text for value in numbers]
    assert max(map(len, text.splitlines())) <= width


def test_title_context_and_notes_stand_around_it() -> None:
    text = terminal_table(
        TextTable(
            title="The title",
            context="where",
            columns=["m", "x"],
            right=[False, True],
            rows=[[("a", ""), ("1.0", "")], [("a", ""), ("2.0", "")], [("[b]", ""), ("3.0", "*")]],
            block_ends=[False, True, False],
            notes=["[bold]a note[/bold]"],
        )
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert plain[:3] == ["The title", "where", ""]
    assert plain[3].split() == ["m", "x"]
    assert plain[5:9] == ["a        1.0", "a        2.0", "", "[b]  3.0 (*)"]
    assert plain[-1] == "[bold]a note[/bold]"
    assert "\x1b" in text
