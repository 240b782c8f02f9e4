import csv
import io
import json
import math
from typing import Any

import pytest
from made_up_runs import HARDWARE, run_row
from tables_as_lines import lines
from tables_as_lines import table_of as arm_table

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.formats import TableFormat, render
from aqr_exp.store.collect import RunRow

SEEDS = (0.15, 0.16, 0.18)
BIAS: dict[str, Any] = {"variant": "attention_bias", "fingerprint": "b" * 12}


def arm(values: tuple[float, ...] = SEEDS, **changes: Any) -> list[RunRow]:
    return [run_row(seed, value, **changes) for seed, value in enumerate(values)]


def test_one_line_an_arm_with_everything_by_hand() -> None:
    costs = {
        "peak_memory_mb": 1000.0,
        "stability/loss_oscillation": 0.05,
        "stability/gradient_spikes": 0.01,
    }
    rows = arm(train_time_s=100.0, **costs)
    rows += arm((0.2, 0.2), **BIAS, **costs, train_time_s=105.0, **{"aqr/final_scale": 2.4831})
    baseline, bias = lines(arm_table(rows))
    # Mean .49/3, sd .015275, t(2) = 4.302653: half the interval is .037946.
    assert {name: baseline[name] for name in baseline if " difference" not in name} == {
        "variant": "baseline",
        "changes": "",
        "identity": "0123456789ab",
        "preset": "quick",
        "data": "synth_val (synthetic)",
        "n": "3",
        "mAP": "16.33",
        "mAP sd": "1.53",
        "mAP low": "12.54",
        "mAP high": "20.13",
        "mAP verdict": "-",
        "mAP on other scenes": "-",
        "NDS": "25.00",
        "NDS sd": "0.00",
        "NDS low": "25.00",
        "NDS high": "25.00",
        "NDS verdict": "-",
        "NDS on other scenes": "-",
        "confounders": "",
        "time / baseline": "1.00",
        "memory (MB)": "1000",
        "loss oscillation": "0.0500",
        "gradient spikes": "0.0100",
        "final scale": "-",
    }
    assert (bias["n"], bias["time / baseline"], bias["final scale"]) == ("2", "1.05", "2.4831")


def test_memory_on_gpus_is_named_and_is_not_that_of_the_process() -> None:
    on_gpu = arm(peak_memory_mb=4000.0, peak_gpu_memory_mb=900.4)
    (line,) = lines(arm_table(on_gpu))
    assert line["GPU memory (MB)"] == "900"
    assert "memory (MB)" not in line
    # What was trained without one, or by an older version, has no such number.
    first, second = lines(arm_table([*on_gpu, *arm(**BIAS, peak_memory_mb=1000.0)]))
    assert (first["GPU memory (MB)"], second["GPU memory (MB)"]) == ("900", "-")


def test_missing_keys_are_dashes_and_no_metric_is_lost() -> None:
    (line,) = lines(arm_table([run_row(0, 0.2)]))
    assert (line["n"], line["mAP"], line["mAP low"]) == ("1", "20.00", "one seed: no interval")
    for name in ("time / baseline", "memory (MB)", "loss oscillation", "final scale"):
        assert line[name] == "-"


def test_people_read_mean_and_interval_as_one() -> None:
    table = arm_table(arm(train_time_s=1.0))
    for form in (TableFormat.RICH, TableFormat.MD):
        text = render(table, form)
        assert "| 16.33 ± 1.53 [12.54, 20.13] | 25.00 ± 0.00 [25.00, 25.00] |" in text
        assert "mAP low" not in text
    latex = r"16.33 $\pm$ 1.53 [12.54, 20.13] & 25.00 $\pm$ 0.00 [25.00, 25.00] &"
    assert latex in render(table, TableFormat.LATEX)
    one = render(arm_table([run_row(0, 0.2)]), TableFormat.RICH)
    assert "20.00 (one seed: no interval)" in one
    (parsed,) = csv.DictReader(io.StringIO(render(table, TableFormat.CSV)))
    assert (parsed["mAP"], parsed["mAP low"], parsed["mAP high"]) == ("16.33", "12.54", "20.13")
    (row,) = json.loads(render(table, TableFormat.JSON))["rows"]
    assert (row["mAP"], row["mAP low"], row["mAP high"]) == (16.33, 12.54, 20.13)


def test_a_mean_over_fewer_seeds_than_the_line_says_so() -> None:
    table = arm_table([*arm(), run_row(3, None)])
    (line,) = lines(table)
    assert (line["n"], line["mAP"], line["mAP low"]) == ("4", "16.33", "12.54")
    note = "baseline 0123456789ab: mAP is over 3 of 4 seeds, the others have none"
    assert note in table.notes


def test_metrics_can_be_chosen_and_misspelt() -> None:
    rows = arm(mATE=0.5)
    assert "mATE low" in arm_table(rows, ["mATE", "mATE"]).names
    assert "mAP" not in arm_table(rows, ["mATE"]).names
    with pytest.raises(RequestError, match=r"^unknown metric 'mAT': did you mean 'mATE'\?"):
        arm_table(rows, ["mAT"])


def test_what_all_arms_share_is_said_once_and_what_differs_in_each_line() -> None:
    shared = ["seed=7", "schedule.epochs=2"]
    rows = arm(overrides=shared)
    rows += arm(**BIAS, overrides=["bias_scale=5", *shared])
    table = arm_table(rows)
    assert [line["changes"] for line in lines(table)] == ["", "bias_scale=5"]
    assert "all arms with: schedule.epochs=2" in table.notes
    shown = render(table, TableFormat.RICH)
    assert "bias_scale=5" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("| baseline")]
    assert "0123456789ab" not in line


def test_arms_that_look_alike_show_their_identity() -> None:
    shown = render(arm_table([*arm(), *arm(fingerprint="c" * 12)]), TableFormat.RICH)
    assert "| 0123456789ab |" in shown
    assert "| cccccccccccc |" in shown


def test_each_setting_starts_with_its_baseline() -> None:
    rows = arm(**BIAS, setting="x")
    rows += arm(variant="renderer_modulator", fingerprint="e" * 12, setting="y")
    rows += arm(setting="y") + arm(fingerprint="d" * 12, setting="x")
    order = [(line["variant"], line["identity"][0]) for line in lines(arm_table(rows))]
    assert order == [
        ("baseline", "0"),
        ("renderer_modulator", "e"),
        ("baseline", "d"),
        ("attention_bias", "b"),
    ]


def test_several_scales_are_means_over_seeds_in_their_order() -> None:
    rows = [
        run_row(0, 0.1, **{"aqr/final_scale": [[1.0, 2.0], [3.0, 4.0]]}),
        run_row(1, 0.1, **{"aqr/final_scale": [[2.0, 2.0], [3.0, 6.0]]}),
    ]
    table = arm_table(rows)
    assert lines(table)[0]["final scale"] == "1.5000 / 2.0000 / 3.0000 / 5.0000"
    assert json.loads(render(table, TableFormat.JSON))["rows"][0]["final scale"] == [1.5, 2, 3, 5]
    rows[1] = run_row(1, 0.1, **{"aqr/final_scale": 2.0})
    assert lines(arm_table(rows))[0]["final scale"] == "-"


def test_runs_without_metrics_are_listed_and_synthetic_data_are_marked() -> None:
    table = arm_table([*arm(), run_row(7, None, status="failed", reason="boom")])
    assert "not in the table: baseline-0123456789ab-s7: failed: boom" in table.notes
    assert lines(table)[0]["n"] == "3"
    assert "SYNTHETIC" in table.title
    assert "SYNTHETIC" not in arm_table(arm(synthetic=False)).title
    assert arm_table([]).rows == ()


def time_of_bias(rows: list[RunRow]) -> tuple[str, list[str]]:
    table = arm_table(rows)
    (line,) = [line for line in lines(table) if line["variant"] == "attention_bias"]
    return line["time / baseline"], [note for note in table.notes if note.startswith("training")]


def test_time_is_the_mean_over_the_baselines_mean() -> None:
    rows = [run_row(0, 0.1, train_time_s=90.0), run_row(1, 0.1, train_time_s=110.0)]
    rows += [
        run_row(0, 0.1, **BIAS, train_time_s=80.0),
        run_row(1, 0.1, **BIAS, train_time_s=130.0),
    ]
    assert time_of_bias(rows) == ("1.05", [])


WHOSE = f"training time of attention_bias {'b' * 12}"


@pytest.mark.parametrize(
    ("baseline", "bias", "shown", "reason"),
    [
        (
            {"setting": "another"},
            {},
            "-",
            "no baseline with the same model, data and schedule",
        ),
        ({"setting": None}, {"setting": None}, "-", "no baseline with the same model, data"),
        ({"synthetic": False}, {}, "-", "no baseline with the same model, data and schedule"),
        ({"train_time_s": None}, {}, "-", "none of the baseline's runs was timed in one go"),
        ({}, {"attempt": 2}, "-", "none of its runs was timed in one go"),
        (
            {"hardware": HARDWARE | {"threads": 1}},
            {},
            "-",
            "ran with threads 2 and 1",
        ),
        (
            {"hardware": HARDWARE | {"gpus": ["NVIDIA H200"], "processor": "Xeon"}},
            {},
            "-",
            "ran with processor AMD EPYC and Xeon, gpus none and NVIDIA H200",
        ),
        ({"hardware": HARDWARE | {"host": "two"}}, {}, "1.00", None),
    ],
)
def test_times_that_cannot_be_compared_are_dashes_with_the_reason(
    baseline: dict[str, Any], bias: dict[str, Any], shown: str, reason: str | None
) -> None:
    rows = arm((0.1,), **({"train_time_s": 100.0} | baseline))
    rows += arm((0.1,), **BIAS, **({"train_time_s": 100.0} | bias))
    value, notes = time_of_bias(rows)
    assert value == shown
    if reason is None:
        assert notes == []
    else:
        assert any(WHOSE in note and reason in note for note in notes)


def test_one_run_on_another_machine_spoils_an_arms_time() -> None:
    rows = arm(train_time_s=100.0)
    rows += [*arm((0.1, 0.1), **BIAS, train_time_s=100.0)]
    other = HARDWARE | {"loader_workers": 0}
    rows += [run_row(2, 0.1, **BIAS, train_time_s=50.0, hardware=other)]
    value, notes = time_of_bias(rows)
    assert value == "-"
    names = f"attention_bias-{'b' * 12}-s2 and baseline-0123456789ab-s0"
    assert notes == [f"{WHOSE}: {names} ran with loader_workers 0 and 1"]


def test_a_resumed_run_is_left_out_of_the_time_alone() -> None:
    rows = arm(train_time_s=100.0)
    rows += [*arm((0.1, 0.1), **BIAS, train_time_s=120.0)]
    rows += [run_row(2, 0.1, **BIAS, train_time_s=1.0, attempt=2)]
    value, notes = time_of_bias(rows)
    assert value == "1.20"
    assert notes == [f"{WHOSE}: 1 of 3 runs were not timed in one go and are left out"]
    assert [line["n"] for line in lines(arm_table(rows))] == ["3", "3"]


def test_a_baseline_is_its_own_measure() -> None:
    (line,) = lines(arm_table([run_row(0, 0.1, train_time_s=math.pi, setting=None)]))
    assert line["time / baseline"] == "1.00"
