from pathlib import Path
from typing import Any

import pytest
from made_up_runs import HARDWARE, run_row
from tables_as_lines import lines, table_of

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

BIAS: dict[str, Any] = {"variant": "attention_bias", "fingerprint": "b" * 12}
RENDERER: dict[str, Any] = {"variant": "renderer_modulator", "fingerprint": "e" * 12}


def arm(values: tuple[float, ...], **changes: Any) -> list[RunRow]:
    return [run_row(seed, value, **changes) for seed, value in enumerate(values)]


BASELINE = arm((0.15, 0.16, 0.18))


def test_differences_are_paired_by_seed_with_their_interval_and_verdict() -> None:
    # Differences .10, .11, .12: mean .11, sd .01, t(2) = 4.302653: half .024841.
    table = table_of([*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)], ["mAP"])
    baseline, bias = lines(table)
    assert [baseline[f"mAP {name}"] for name in ("difference", "difference low", "verdict")] == [
        "-",
        "-",
        "-",
    ]
    assert bias["mAP difference"] == "+0.1100"
    assert bias["mAP difference low"] == "+0.0852"
    assert bias["mAP difference high"] == "+0.1348"
    assert bias["mAP verdict"] == "better"
    assert "+0.1100 [+0.0852, +0.1348], better |" in render(table, TableFormat.RICH)


def test_an_error_that_falls_is_better() -> None:
    rows = [run_row(seed, 0.2, mATE=value) for seed, value in enumerate((0.5, 0.6, 0.7))]
    rows += [run_row(seed, 0.2, mATE=value, **BIAS) for seed, value in enumerate((0.4, 0.501, 0.6))]
    line = lines(table_of(rows, ["mATE"]))[1]
    assert (line["mATE difference"], line["mATE verdict"]) == ("-0.0997", "better")


def test_verdicts_are_corrected_for_all_comparisons_shown() -> None:
    # p of .11 +- .0333 over three pairs: t = 5.72, two-sided p = .0292; of two comparisons .0584.
    values = (0.15 + 0.0767, 0.16 + 0.11, 0.18 + 0.1433)
    alone = table_of([*BASELINE, *arm(values, **BIAS)], ["mAP"])
    both = table_of([*BASELINE, *arm(values, **BIAS), *arm(values, **RENDERER)], ["mAP"])
    assert lines(alone)[1]["mAP verdict"] == "better"
    assert [line["mAP verdict"] for line in lines(both)[1:]] == ["undecidable"] * 2
    assert any("Holm's correction for 2 comparisons" in note for note in both.notes)
    assert any("Holm's correction for 1 comparison" in note for note in alone.notes)


def test_the_notes_say_method_level_and_what_could_have_been_seen() -> None:
    table = table_of([*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)], ["mAP"])
    method, said, lacking, seen = table.notes[:4]
    assert method == (
        "differences: t over paired seeds, scenes unknown; verdicts at alpha = 0.05 after Holm's "
        "correction for 1 comparison"
    )
    assert said.startswith(f"attention_bias {'b' * 12}: better: mAP +11.00 [+8.52, +13.48] points")
    assert "no match records" not in said
    assert "no match records" in lacking
    assert seen.startswith(
        "mAP: with these 3 seeds you could see ±3.3 points; for ±0.3 points plan"
    )


def test_one_seed_is_compared_but_not_judged() -> None:
    line = lines(table_of([run_row(0, 0.1), run_row(0, 0.2, **BIAS)], ["mAP"]))[1]
    assert (line["mAP difference"], line["mAP difference low"]) == ("+0.1000", "-")
    assert line["mAP verdict"] == "undecidable"


def test_blocks_hold_the_same_comparison() -> None:
    rows = [*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)]
    line = lines(table_of(rows, ["mAP"], by=By.METRIC))[1]
    assert (line["mean"], line["difference"], line["verdict"]) == ("0.2733", "+0.1100", "better")


def test_an_arm_without_a_comparable_baseline_says_so_in_its_cell() -> None:
    table = table_of([*BASELINE, *arm((0.2, 0.3), **BIAS, setting="another")], ["mAP"])
    assert lines(table)[1]["mAP difference"] == "no comparable baseline"
    note = f"no comparable baseline for attention_bias {'b' * 12}: no baseline with the same model"
    assert any(item.startswith(note) for item in table.notes)
    only = table_of(arm((0.2, 0.3), **BIAS), ["mAP"])
    assert lines(only)[0]["mAP difference"] == "no comparable baseline"


def test_baselines_alone_have_no_columns_of_comparison() -> None:
    assert "mAP difference" not in table_of(BASELINE, ["mAP"]).names


def test_confounders_are_marked_at_the_cell_and_named_below() -> None:
    other = {"hardware": HARDWARE | {"threads": 8}}
    rows = [*BASELINE, *arm((0.2, 0.3, 0.3), **BIAS, **other), *arm((0.2, 0.2, 0.2), **RENDERER)]
    table = table_of(rows, ["mAP"])
    note = "(a) not only the declared factor differs: threads 8 and 2"
    assert table.notes[0] == note
    assert [line["confounders"] for line in lines(table)] == ["", "threads 8 and 2", ""]
    for form, mark in {
        TableFormat.RICH: "undecidable (a) |",
        TableFormat.MD: "undecidable (a) |",
        TableFormat.LATEX: r"undecidable\textsuperscript{a} &",
        TableFormat.HTML: "undecidable<sup>a</sup></td>",
    }.items():
        shown = render(table, form)
        assert shown.count(mark) == 1, form
        assert shown.count("threads 8 and 2") == 1, form
    assert "threads 8 and 2" in render(table, TableFormat.CSV)


def test_strict_refuses_what_is_confounded_and_names_the_first() -> None:
    also = {"also": {"code": {"revision": "c" * 40}, "python": "3.12.1"}}
    rows = [
        *arm((0.1, 0.2), also={"code": {"revision": "d" * 40}}),
        *arm((0.1, 0.2), **BIAS, **also),
    ]
    with pytest.raises(RequestError) as caught:
        table_of(rows, strict=True)
    assert str(caught.value) == (
        f"--strict: attention_bias {'b' * 12} and baseline 0123456789ab differ in code cccccccccccc "
        "and dddddddddddd, python 3.12.1 and unknown (1 of 1 comparisons are confounded)"
    )
    assert table_of(rows, strict=True, factors=["code", "python"]).rows
    assert table_of(BASELINE, strict=True).rows


def stored(store: Store, rows: list[RunRow], **schedule: Any) -> list[RunRow]:
    """Write the specifications of runs, all a gate needs of a folder."""
    for row in rows:
        folder = store.folder(row.name)
        settings = ", ".join(f"{key}: {value}" for key, value in schedule.items())
        folder.create(f"variant: {{name: {row.variant}}}\nschedule: {{{settings}}}\n", row.record)
    return rows


def test_another_schedule_is_compared_when_it_is_declared_and_named_when_not(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    rows = stored(store, arm((0.1, 0.2)), epochs=4, amp="true")
    rows += stored(store, arm((0.3, 0.4), **BIAS, setting="another"), epochs=24, amp="true")

    def shown(**request: Any) -> tuple[str, tuple[str, ...]]:
        table = build_table(store, rows, TableRequest(metrics=["mAP"], **request)).table
        return lines(table)[-1]["mAP difference"], table.notes

    words, notes = shown()
    assert words == "no comparable baseline"
    assert any(note.endswith("baseline 0123456789ab differs in schedule.epochs") for note in notes)
    assert shown(factors=["schedule.epochs"])[0] == "+0.2000"
    assert shown(factors=["schedule.amp"])[0] == "no comparable baseline"
    chosen, notes = shown(baseline="baseline")
    assert chosen == "+0.2000"
    assert notes[0] == "(a) not only the declared factor differs: schedule.epochs 24 and 4"


def test_the_arm_to_compare_with_can_be_any_and_is_found_by_each_of_its_names() -> None:
    rows = [*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)]
    for asked in ("b" * 12, "bbb", "attention", f"attention_bias-{'b' * 12}-s1"):
        line = lines(table_of(rows, ["mAP"], baseline=asked))[0]
        assert (line["variant"], line["mAP difference"]) == ("baseline", "-0.1100")
    with pytest.raises(RequestError, match=r"^--baseline 'baselin-': no such arm .* 'baseline'\?$"):
        table_of(rows, baseline="baselin-")
    more = [*rows, *arm((0.1,), fingerprint="b" * 11 + "c")]
    with pytest.raises(
        RequestError, match=r"^--baseline 'bbb' names 2 arms: baseline bbbbbbbbbbbc, "
    ):
        table_of(more, baseline="bbb")
