import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import DataSet, make_data_set, make_run

from aqr_exp.cli.main import main
from aqr_exp.evaluate.conditions import condition_metrics
from aqr_exp.evaluate.records import read_records
from aqr_exp.files.reading import file_sha256
from aqr_exp.store.store import Store

SEEDS = (0, 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_data_set(tmp_path_factory.mktemp("made up") / "it's a; data set")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: DataSet) -> Store:
    """Two seeds of two arms, in a folder with a hostile name; the tests that change it take a copy."""
    store = Store(tmp_path_factory.mktemp("made") / 'results "$HOME"; echo')
    for variant in ("baseline", "attention_bias"):
        for seed in SEEDS:
            make_run(store, data, seed + 10 * (variant != "baseline"), variant=variant)
    return store


@pytest.fixture
def store(made: Store, few_resamples: None, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made.root))
    return made


@pytest.fixture
def copy(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Runs that a test may change."""
    root = tmp_path / "copied; results"
    shutil.copytree(store.root, root)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(root))
    return Store(root)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main(["table", *arguments, "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_conditions_come_from_the_match_records_with_their_ground_truths(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    table = printed(capsys, "--by", "condition")
    name = "baseline-0123456789ab-s{}"
    found = [
        condition_metrics(read_records(store.folder(name.format(seed)).records_path))
        for seed in SEEDS
    ]
    by_line = {(row["condition"], row["metric"], row["variant"]): row for row in table["rows"]}
    conditions = dict.fromkeys(condition for condition, _, _ in by_line)
    assert list(conditions) == ["night", "day", "rain", "dry", "small", "large"]
    checked = 0
    for condition in conditions:
        row = by_line[condition, "mAP", "baseline"]
        parts = [metrics[condition] for metrics in found]
        truths = sum(value for key, value in parts[0].items() if key.startswith("gt/"))
        assert row["ground truth"] == truths
        if row["mean"] is not None:
            mean = sum(part["mAP"] for part in parts) / len(parts)
            assert row["mean"] == pytest.approx(100 * mean, abs=5e-3)  # points
            checked += 1
    assert checked >= 4


def test_parts_are_named_at_the_metric_as_well(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (row, _) = printed(capsys, "--metrics", "mAP@day,AP/car")["rows"]
    by_condition = printed(capsys, "--by", "condition", "--metrics", "mAP")["rows"]
    (day,) = [
        line for line in by_condition if (line["condition"], line["variant"]) == ("day", "baseline")
    ]
    assert row["mAP@day"] == day["mean"]
    assert main(["table", "--metrics", "mAP@dai"]) == 2
    assert "unknown condition 'dai' in 'mAP@dai': did you mean 'day'?" in capsys.readouterr().err


def test_range_bands_are_shown_where_the_records_hold_them(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = printed(capsys, "--by", "range", "--metrics", "mAP")["rows"]
    assert list(dict.fromkeys(row["range"] for row in rows)) == ["0-20m", "20-30m", "30-50m"]


def test_a_trace_names_runs_files_and_hashes_of_every_cell(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    table = printed(capsys, "--trace", "--sort", "variant")
    bias = [f"attention_bias-0123456789ab-s{seed + 10}" for seed in SEEDS]
    baseline = [f"baseline-0123456789ab-s{seed}" for seed in SEEDS]
    first, second = table["trace"]["cells"]
    assert table["rows"][first["line"]]["variant"] == "attention_bias"
    assert first["columns"]["mAP"] == {"runs": bias}
    assert first["columns"]["mAP difference"] == {"runs": bias, "baseline_runs": baseline}
    assert first["columns"]["time / baseline"] == {"runs": bias, "baseline_runs": baseline}
    assert second["columns"]["NDS"] == {"runs": baseline}
    assert set(first["columns"]) == set(table["rows"][0])
    for name, run in table["trace"]["runs"].items():
        hashes = {file["path"]: file["sha256"] for file in run["files"]}
        assert {"metrics.json", "records.npz", "predictions/mini_val.json"} <= set(hashes)
        for path, sha256 in hashes.items():
            assert sha256 == file_sha256(store.folder(name).path / path)
    assert main(["table", "--trace"]) == 0
    out = capsys.readouterr().out
    sha256 = file_sha256(store.folder(bias[0]).records_path)
    assert f"trace: {bias[0]}/records.npz: " in out
    assert f"sha256 {sha256}" in out
    assert f"is of {', '.join(bias)}; difference, verdict and time also of {baseline[0]}" in out


def test_cells_are_recomputed_from_the_predictions(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "--verify"]) == 0
    assert capsys.readouterr().out == "4 measured cells recomputed from 4 runs: all hold\n"
    assert printed(capsys, "--verify") == {"cells": 4, "runs": 4, "problems": []}


def test_a_cell_that_does_not_hold_is_named(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy.folder("attention_bias-0123456789ab-s10")
    true = folder.read_metrics()["NDS"]
    folder.write_metrics(folder.read_metrics() | {"NDS": true + 0.001})
    assert main(["table", "--verify"]) == 1
    first, *rest, last = capsys.readouterr().out.splitlines()
    said = f"NDS is {true + 0.001} in metrics.json, {true} from"
    assert first == f"NDS of attention_bias 0123456789ab: {folder.name}: {said} records.npz"
    assert len(rest) == 1
    assert last == "4 measured cells recomputed from 4 runs: 1 do not hold"
    found = printed(capsys, "--verify", code=1)
    assert {(item["arm"], item["column"], item["run"]) for item in found["problems"]} == {
        ("attention_bias 0123456789ab", "NDS", folder.name)
    }


def test_a_lost_file_takes_every_cell_of_its_arm(
    copy: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy.folder("attention_bias-0123456789ab-s10")
    folder.records_path.unlink()
    assert main(["table", "--verify"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("every cell of attention_bias 0123456789ab: ")
    assert "records.npz is missing" in out


def test_a_curve_cannot_be_verified(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", "--verify", "--at-epoch", "1"]) == 2
    assert "--verify and --at-epoch cannot be used together" in capsys.readouterr().err


def test_a_folder_without_runs_has_references_and_nothing_to_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AQR_EXP_RESULTS", str(tmp_path / "empty"))
    assert main(["table", "--verify"]) == 0
    assert capsys.readouterr().out == "nothing to verify: there are no completed runs here\n"
    assert main(["table", "--reference"]) == 0
    printed = capsys.readouterr()
    assert "no completed runs in" in printed.err
    assert printed.out.startswith("Reference, not measured here\n"), "no empty table above"
    assert "CMT" in printed.out
