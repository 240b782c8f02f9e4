from pathlib import Path

import pytest

from aqr_exp.store.collect import collect, read_row
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = Store(tmp_path).folder("baseline-aa-s1")
    overrides = ["seed=1", "a=2"]
    record = {"variant": "baseline", "fingerprint": "aa", "seed": 1, "overrides": overrides}
    made.create("", record)
    return made


def test_a_completed_run_is_read(folder: RunFolder) -> None:
    folder.write_metrics({"mAP": 0.5, "split": "val", "synthetic": True})
    folder.write_state("completed")
    row = read_row(folder)
    assert (row.status, row.variant, row.fingerprint, row.seed) == (
        "completed",
        "baseline",
        "aa",
        1,
    )
    assert (row.metric("mAP"), row.metric("NDS"), row.data) == (0.5, None, "val (synthetic)")
    assert row.overrides == "a=2"
    assert row.completed


def test_metrics_of_a_run_that_did_not_complete_are_not_shown(folder: RunFolder) -> None:
    folder.write_metrics({"mAP": 0.5})
    folder.write_state("failed", reason="boom")
    row = read_row(folder)
    assert (row.status, row.reason, row.metrics) == ("failed", "boom", {})


def test_a_killed_run_is_interrupted(folder: RunFolder) -> None:
    folder.write_state("running")
    row = read_row(folder)
    assert (row.status, row.reason) == ("interrupted", "its process ended without saying so")


def test_completed_without_metrics_is_damaged(folder: RunFolder) -> None:
    folder.write_state("completed")
    row = read_row(folder)
    assert row.status == "damaged"
    assert row.reason == f"{folder.metrics_path} is missing"


def test_text_in_place_of_a_number_is_damage(folder: RunFolder) -> None:
    folder.write_metrics({"mAP": "0.5"})
    folder.write_state("completed")
    row = read_row(folder)
    assert row.status == "damaged"
    assert row.reason == f"{folder.metrics_path} is damaged: mAP is '0.5', not a number"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("train_time_s", "4 h", "'4 h', not a number"),
        ("stability/loss_oscillation", True, "True, not a number"),
        ("mAP_ema", "0.5", "'0.5', not a number"),
        ("NDS_last12", [0.5], "[0.5], not a number"),
        ("peak_memory_mb", [1], "[1], not a number"),
        ("aqr/final_scale", [2.5, ["x"]], "[2.5, 'x'], not numbers"),
    ],
)
def test_what_a_run_cost_is_checked_too(
    folder: RunFolder, name: str, value: object, shown: str
) -> None:
    folder.write_metrics({name: value})
    folder.write_state("completed")
    assert read_row(folder).reason == f"{folder.metrics_path} is damaged: {name} is {shown}"


def test_scales_are_read_one_or_several(folder: RunFolder) -> None:
    folder.write_state("completed")
    for value, scales in ((2.5, [2.5]), ([1, [2.0, 3.0]], [1.0, 2.0, 3.0]), (None, []), ([], [])):
        folder.write_metrics({"aqr/final_scale": value})
        assert read_row(folder).final_scales == scales


def test_one_damaged_run_hides_no_other(folder: RunFolder, tmp_path: Path) -> None:
    torn = Store(tmp_path).folder("torn")
    torn.create("", {})
    torn.state_path.write_text('{"status": "comp')
    rows = {row.name: row for row in collect(Store(tmp_path))}
    assert set(rows) == {"baseline-aa-s1", "torn"}
    assert rows["torn"].status == "damaged"
    assert str(torn.state_path) in (rows["torn"].reason or "")
