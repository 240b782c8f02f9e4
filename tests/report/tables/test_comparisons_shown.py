from pathlib import Path
from typing import Any

import pytest
from made_up_runs import HARDWARE, run_row
from scipy import stats
from tables_as_lines import lines, table_of

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.report.tables.request import By, TableRequest
from aqr_exp.statistics.confounders import code_pair
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

BIAS: dict[str, Any] = {"variant": "attention_bias", "fingerprint": "b" * 12}
RENDERER: dict[str, Any] = {"variant": "renderer_modulator", "fingerprint": "e" * 12}


def arm(values: tuple[float, ...], **changes: Any) -> list[RunRow]:
    return [run_row(seed, value, **changes) for seed, value in enumerate(values)]


BASELINE = arm((0.15, 0.16, 0.18))


def test_differences_stand_with_their_interval_and_verdict() -> None:
    # Welch's interval is the least; Dunnett's with the noise of both arms may be wider.
    values = (0.25, 0.27, 0.30), (0.15, 0.16, 0.18)
    welch = stats.ttest_ind(*values, equal_var=False).confidence_interval(0.95)
    table = table_of([*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)], ["mAP"])
    baseline, bias = lines(table)
    assert [baseline[f"mAP {name}"] for name in ("difference", "difference low", "verdict")] == [
        "-",
        "-",
        "-",
    ]
    assert bias["mAP difference"] == "+11.00"
    low, high = (float(bias[f"mAP difference {end}"]) for end in ("low", "high"))
    assert low <= 100 * welch.low + 0.005
    assert high >= 100 * welch.high - 0.005
    assert bias["mAP verdict"] == "better"
    assert f"+11.00 [{low:+.2f}, {high:+.2f}], better |" in render(table, TableFormat.RICH)


def test_an_error_that_falls_is_better() -> None:
    rows = [run_row(seed, 0.2, mATE=value) for seed, value in enumerate((0.5, 0.6, 0.7))]
    rows += [run_row(seed, 0.2, mATE=value, **BIAS) for seed, value in enumerate((0.1, 0.201, 0.3))]
    line = lines(table_of(rows, ["mATE"]))[1]
    assert (line["mATE difference"], line["mATE verdict"]) == ("-0.3997", "better")


def test_what_is_shown_beside_a_metric_changes_no_verdict() -> None:
    values = (0.17, 0.19, 0.20)
    rows = [*BASELINE, *arm(values, **BIAS), *arm((0.16, 0.17, 0.19), **RENDERER)]
    alone, both = table_of(rows, ["mAP"]), table_of(rows, ["mAP", "NDS", "mATE"])
    names = ["mAP difference", "mAP difference low", "mAP difference high", "mAP verdict"]
    for one, two in zip(lines(alone), lines(both), strict=True):
        assert [one[name] for name in names] == [two[name] for name in names]
    assert any("Dunnett's step-down test of 2 comparisons" in note for note in both.notes)
    exploratory = (
        "mAP is the primary metric; each other one (NDS, mATE) is corrected by itself: exploratory"
    )
    assert exploratory in both.notes
    assert exploratory not in alone.notes


def test_more_arms_of_the_setting_are_corrected_for_and_tell_of_noise() -> None:
    values = (0.17, 0.19, 0.20)
    alone = table_of([*BASELINE, *arm(values, **BIAS)], ["mAP"])
    both = table_of([*BASELINE, *arm(values, **BIAS), *arm(values, **RENDERER)], ["mAP"])
    assert "of 1 comparison with the seed noise of 2 arms (4 degrees of freedom)" in alone.notes[0]
    assert "of 2 comparisons with the seed noise of 3 arms (6 degrees of freedom)" in both.notes[0]


def test_the_notes_say_the_question_the_rule_and_what_could_have_been_seen() -> None:
    table = table_of([*BASELINE, *arm((0.16, 0.15, 0.19), **BIAS)], ["mAP"])
    rule, said, lacking = table.notes[:3]
    assert rule == (
        "verdicts are about models trained again with other seeds, on these scenes: Dunnett's step-down "
        "test of 1 comparison with the seed noise of 2 arms (4 degrees of freedom), and Welch's test of "
        "the two arms alone, at 0.05; intervals hold together"
    )
    assert said.startswith(f"attention_bias {'b' * 12}: undecided: mAP +0.33 [")
    assert " points; p = " in said
    assert "; 3 seeds can show ±" in said
    assert ", ±0.5 points would take " in said
    assert "no match records" not in said
    assert "no match records" in lacking


def test_the_question_and_the_smallest_effect_of_interest_can_be_chosen() -> None:
    rows = [*BASELINE, *arm((0.16, 0.15, 0.19), **BIAS)]
    larger = table_of(rows, ["mAP"], sesoi_points=6.0)
    assert lines(larger)[1]["mAP verdict"] == "no difference as large as ±6 points"
    asked = table_of(rows, ["mAP"], population="scenes")
    assert "on other scenes as well: Banerjee's test after Holm" in asked.notes[0]
    # Without match records nothing is known of other scenes.
    assert lines(asked)[1]["mAP verdict"] == "undecided"
    assert "scene noise is unknown" in asked.notes[1]


def test_configurations_that_were_tried_are_counted() -> None:
    more = {"variant": "attention_bias", "fingerprint": "c" * 12}
    rows = [*BASELINE, *arm((0.2, 0.21), **BIAS), *arm((0.2, 0.21), **more)]
    counts = "baseline 1, attention_bias 2"
    note = f"configurations tried: {counts}: the best of more of them looks better by chance"
    assert note in table_of(rows, ["mAP"]).notes
    assert not any("tried" in note for note in table_of(rows[:5], ["mAP"]).notes)


def test_a_diverged_seed_is_named_with_the_verdict_without_it() -> None:
    rows = [*arm((0.30, 0.301, 0.302, 0.3)), *arm((0.31, 0.312, 0.311, 0.02), **BIAS)]
    table = table_of(rows, ["mAP"])
    assert lines(table)[1]["mAP verdict"] == "undecided"
    (note,) = [note for note in table.notes if "diverged" in note]
    assert "seed 3 (mAP 2.00, the others 31.10 on average; 1 of 4 diverged): without better" in note


def test_one_seed_is_compared_but_not_judged() -> None:
    line = lines(table_of([run_row(0, 0.1), run_row(0, 0.2, **BIAS)], ["mAP"]))[1]
    assert (line["mAP difference"], line["mAP difference low"]) == ("+10.00", "-")
    assert line["mAP verdict"] == "undecided"


def test_blocks_hold_the_same_comparison() -> None:
    rows = [*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)]
    line = lines(table_of(rows, ["mAP"], by=By.METRIC))[1]
    assert (line["mean"], line["difference"], line["verdict"]) == ("27.33", "+11.00", "better")


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
        TableFormat.RICH: "undecided (a) |",
        TableFormat.MD: "undecided (a) |",
        TableFormat.LATEX: r"undecided\textsuperscript{a} &",
        TableFormat.HTML: "undecided<sup>a</sup></td>",
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


def test_seeds_of_different_code_are_marked_and_other_revisions_are_not() -> None:
    def code(revision: str, head: str) -> dict[str, Any]:
        modules = {"aqr_exp/cmt/head.py": head, "aqr_exp/errors.py": "1"}
        return {"also": {"code": {"revision": revision * 40, "modules": modules}}}

    rows = [run_row(seed, 0.1 + seed / 50, **code("a", "1")) for seed in range(3)]
    rows += [
        run_row(seed, 0.2 + seed / 50, **BIAS, **code("b", "2" if seed == 1 else "1"))
        for seed in range(3)
    ]
    table = table_of(rows)
    assert [note for note in table.notes if "code" in note] == [
        "(a) not only the declared factor differs: code aqr_exp/cmt/head.py (1 of 3 pairs of runs)",
        f"attention_bias {'b' * 12}: different code made its seeds 0, 2; 1: aqr_exp/cmt/head.py",
    ]
    even = [row for row in rows if row.seed != 1]
    assert not [note for note in table_of(even, strict=True).notes if "code" in note]


def test_code_that_was_tested_is_a_note_and_no_confounder(
    tmp_path: Path,
) -> None:
    def code(digest: str) -> dict[str, Any]:
        return {"also": {"code": {"modules": {"aqr_exp/cmt/head.py": digest}}}}

    rows = [*arm((0.1, 0.2), **code("1")), *arm((0.1, 0.3), **BIAS, **code("2"))]
    store = Store(tmp_path)
    store.same_code_dir.mkdir()
    answer = store.same_code_dir / f"{code_pair(rows[0], rows[2])}.json"
    for same in ("false", "1", "[", "true"):
        answer.write_text(f'{{"same": {same}}}')
        assert store.same_code() == ({answer.stem} if same == "true" else set())
    (store.same_code_dir / "link.json").symlink_to(answer)
    assert store.same_code() == {answer.stem}
    table = build_table(store, rows, TableRequest(strict=True)).table
    assert [note for note in table.notes if "code" in note] == [
        f"attention_bias {'b' * 12}: code aqr_exp/cmt/head.py: same bits (tested)"
    ]


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
    assert shown(factors=["schedule.epochs"])[0] == "+20.00"
    assert shown(factors=["schedule.amp"])[0] == "no comparable baseline"
    chosen, notes = shown(baseline="baseline")
    assert chosen == "+20.00"
    assert notes[0] == "(a) not only the declared factor differs: schedule.epochs 24 and 4"


def test_the_arm_to_compare_with_can_be_any_and_is_found_by_each_of_its_names() -> None:
    rows = [*BASELINE, *arm((0.25, 0.27, 0.30), **BIAS)]
    for asked in ("b" * 12, "bbb", "attention", f"attention_bias-{'b' * 12}-s1"):
        line = lines(table_of(rows, ["mAP"], baseline=asked))[0]
        assert (line["variant"], line["mAP difference"]) == ("baseline", "-11.00")
    with pytest.raises(RequestError, match=r"^--baseline 'baselin-': no such arm .* 'baseline'\?$"):
        table_of(rows, baseline="baselin-")
    more = [*rows, *arm((0.1,), fingerprint="b" * 11 + "c")]
    with pytest.raises(
        RequestError, match=r"^--baseline 'bbb' names 2 arms: baseline bbbbbbbbbbbc, "
    ):
        table_of(more, baseline="bbb")
