import csv
import io
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_as_lines import class_table, metrics_table

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.cells import Table, make_columns, number_cell, text_cell
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.metric_table import one_run_table
from aqr_exp.statistics.estimates import summarize
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus

SEEDS = (0.15, 0.16, 0.18)


def row(seed: int, mean_ap: float | None, **changes: Any) -> RunRow:
    record = {
        "variant": changes.pop("variant", "baseline"),
        "fingerprint": changes.pop("fingerprint", "0123456789ab"),
        "preset": "quick",
        "seed": seed,
        "overrides": changes.pop("overrides", []),
    }
    metrics = {
        "mAP": mean_ap,
        "NDS": 0.25,
        "split": "synth_val",
        "synthetic": changes.pop("synthetic", True),
        "AP/car": 0.5,
        "gt/car": 120,
        "AP/bus": 0.0,
        "gt/bus": 0,
    }
    values: dict[str, Any] = {
        "name": f"{record['variant']}-{record['fingerprint']}-s{seed}",
        "status": RunStatus.COMPLETED,
        "updated": f"2026-01-0{seed + 1}",
        "record": record,
        "metrics": metrics,
        "verified": True,
    }
    return RunRow(**(values | changes))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in line] for line in table.rows]


def test_mean_sd_and_student_interval_by_hand() -> None:
    summary = summarize(SEEDS)
    # Mean .49/3; deviations -.013333, -.003333, .016667: sum of squares .000466667, sd sqrt(/2).
    assert summary.n == 3
    assert summary.mean == pytest.approx(0.163333333, abs=1e-9)
    assert summary.sd == pytest.approx(0.015275252, abs=1e-9)
    # t(2 degrees, .975) = 4.302653 from the printed tables.
    half = 4.302653 * 0.015275252 / math.sqrt(3)
    assert summary.low == pytest.approx(0.163333333 - half, abs=1e-7)
    assert summary.high == pytest.approx(0.163333333 + half, abs=1e-7)


def test_one_seed_has_no_interval() -> None:
    summary = summarize([0.2])
    assert (summary.n, summary.mean, summary.sd, summary.low) == (1, 0.2, None, None)
    assert summarize([]).mean is None


def test_seeds_are_replicates_of_one_arm() -> None:
    table = metrics_table([row(seed, value) for seed, value in enumerate(SEEDS)], ["mAP"])
    assert texts(table) == [
        [
            "mAP",
            "baseline",
            "0123456789ab",
            "quick",
            "synth_val (synthetic)",
            "3",
            "16.33",
            "1.53",
            "12.54",
            "20.13",
        ]
    ]


def test_one_seed_is_said_aloud() -> None:
    for form in (TableFormat.RICH, TableFormat.MD, TableFormat.LATEX):
        assert "one seed: no interval" in render(metrics_table([row(0, 0.15)]), form)
    assert metrics_table([row(0, 0.15)]).rows[0][-2].value is None


def test_synthetic_data_are_marked_and_real_ones_are_not() -> None:
    made = metrics_table([row(0, 0.15), row(1, 0.15, synthetic=False)])
    real = metrics_table([row(0, 0.15, synthetic=False)])
    assert made.synthetic
    assert not real.synthetic
    for form in set(TableFormat) - {TableFormat.PARQUET}:
        assert ("ynthetic" in render(real, form).replace('"synthetic": false', "")) is False
        assert "synthetic" in render(made, form).lower()
    assert "SYNTHETIC" in made.title
    assert "SYNTHETIC" in class_table([row(0, 0.1)]).title
    assert "SYNTHETIC" in one_run_table(row(0, 0.1)).title


def test_synthetic_and_real_are_never_averaged() -> None:
    table = metrics_table([row(0, 0.1), row(1, 0.5, synthetic=False)], ["mAP"])
    assert [(line[4], line[5]) for line in texts(table)] == [
        ("synth_val", "1"),
        ("synth_val (synthetic)", "1"),
    ]


def test_what_is_missing_is_listed_by_name_and_reason() -> None:
    rows = [
        row(0, 0.15),
        row(1, None, status=RunStatus.FAILED, reason="out of\nmemory"),
        row(2, None, status=RunStatus.INTERRUPTED, reason="its process ended"),
        row(3, None, status=RunStatus.QUEUED),
    ]
    table = metrics_table(rows, ["mAP"])
    assert table.notes == (
        "not in the table: baseline-0123456789ab-s1: failed: out of memory",
        "not in the table: baseline-0123456789ab-s2: interrupted: its process ended",
        "not in the table: baseline-0123456789ab-s3: queued: no metrics yet",
    )
    assert texts(table)[0][5] == "1"


def test_a_seed_run_again_counts_once() -> None:
    again = row(0, 0.3, name="baseline-0123456789ab-s0-a2", updated="2026-02-01")
    table = metrics_table([again, row(0, 0.1)], ["mAP"])
    assert texts(table)[0][5:7] == ["1", "30.00"]
    older = "baseline-0123456789ab-s0"
    note = f"not in the table: {older}: the same seed was run again as {older}-a2"
    assert table.notes == (note,)


def test_arms_stand_together_by_metric_baseline_first() -> None:
    rows = [row(0, 0.2, variant="attention_bias", overrides=["seed=0", "x=1"]), row(0, 0.1)]
    table = metrics_table(rows, ["mAP", "NDS"])
    assert [line[:2] for line in texts(table)] == [
        ["mAP", "baseline"],
        ["mAP", "attention_bias"],
        ["NDS", "baseline"],
        ["NDS", "attention_bias"],
    ]
    assert [line[4] for line in texts(table)] == ["", "x=1", "", "x=1"]


def test_a_missing_value_lowers_n() -> None:
    table = metrics_table([row(0, 0.1), row(1, None)], ["mAP"])
    assert texts(table)[0][5:7] == ["1", "10.00"]


def test_classes_stand_beside_their_ground_truth() -> None:
    table = class_table([row(0, 0.1), row(1, 0.2)])
    assert [(line[0], line[5], line[6], line[7]) for line in texts(table)] == [
        ("car", "120", "2", "50.00"),
        ("bus", "0", "0", "-"),
    ]


def test_an_unknown_metric_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        metrics_table([row(0, 0.1)], ["mAp", "NDS", "zzz"])
    first, second = str(caught.value).splitlines()
    assert first.startswith("unknown metric 'mAp': did you mean 'mAP'? (available: mAP, NDS, mATE")
    assert second.startswith("unknown metric 'zzz' (available: mAP, NDS")


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=4))
def test_all_formats_show_the_same_digits(values: list[float]) -> None:
    table = metrics_table([row(seed, value) for seed, value in enumerate(values)], ["mAP"])
    number = re.compile(r"-?\d+\.\d{2}\b")
    expected = number.findall(" ".join(cell.text for cell in table.rows[0]))
    assert expected
    for form in (TableFormat.RICH, TableFormat.MD, TableFormat.CSV, TableFormat.LATEX):
        shown = render(table, form).replace("$-$", "-")
        assert [found for found in number.findall(shown) if found in expected] == expected
    (parsed,) = json.loads(render(table, TableFormat.JSON))["rows"]
    assert [f"{value:.2f}" for value in parsed.values() if isinstance(value, float)] == expected
    (line,) = csv.DictReader(io.StringIO(render(table, TableFormat.CSV)))
    assert [
        line[name] for name in ("mean", "sd", "95 % low", "95 % high") if line[name]
    ] == expected


def test_marks_of_the_formats_are_escaped() -> None:
    hostile = Table(
        title="50 % & more",
        columns=make_columns(("a_b", "n"), numeric={"n"}),
        rows=((text_cell("x_y | $1 {z} #2 ~^\\"), number_cell(-0.00001)),),
        notes=("[bold]not markup[/bold]",),
    )
    assert "x\\_y \\| $1 {z} #2 ~^\\\\" in render(hostile, TableFormat.MD)
    latex = render(hostile, TableFormat.LATEX)
    assert r"\caption{50 \% \& more}" in latex
    escaped = r"x\_y \textbar{} \$1 \{z\} \#2 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert rf"{escaped} & 0.0000 \\" in latex
    assert latex.count(r"\begin{tabular}{lr}") == latex.count(r"\bottomrule") == 1
    assert "[bold]not markup[/bold]" in render(hostile, TableFormat.RICH)


def test_columns_all_rows_agree_on_move_above_the_table() -> None:
    text = render(metrics_table([row(0, 0.1)], ["mAP"]), TableFormat.RICH)
    assert "identity 0123456789ab, preset quick, data synth_val (synthetic)" in text
    assert "preset |" not in text
    assert "\x1b" not in text


def test_a_pipe_gets_aligned_text_with_a_rule_between_blocks() -> None:
    cells = tuple((text_cell(name), number_cell(value)) for name, value in ROWS)
    table = Table(
        title="T", columns=make_columns(("m", "x"), numeric={"x"}), rows=cells, notes=("n",)
    )
    assert render(table, TableFormat.RICH) == (
        "T\n"
        "+---+---------+\n"
        "| m |       x |\n"
        "+---+---------+\n"
        "| a |  1.0000 |\n"
        "| a | 10.0000 |\n"
        "+---+---------+\n"
        "| b |       - |\n"
        "+---+---------+\n"
        "n\n"
    )


def test_a_terminal_gets_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = metrics_table(
        [row(0, 0.1), row(1, None, status=RunStatus.FAILED, reason="boom")], ["mAP"]
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", render(table, TableFormat.RICH, terminal=True))
    for words in (table.title, "10.00", "one seed: no interval", *table.notes):
        assert words in text
    assert max(map(len, text.splitlines()[2:-1])) <= 80


ROWS = (("a", 1.0), ("a", 10.0), ("b", None))


def test_one_run_shows_means_and_classes() -> None:
    table = one_run_table(row(0, 0.15))
    shown = {line[0]: line[1:] for line in texts(table)}
    assert shown["mAP"] == ["0.1500", ""]
    assert shown["mATE"] == ["-", ""]
    assert shown["AP/car"] == ["0.5000", "120"]
