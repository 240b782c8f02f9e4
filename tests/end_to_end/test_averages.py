"""Averages beside the metrics of record change no bit of a training, and end the same however it is cut."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
import torch
from run_bits import assert_same_bits, begun_anew, everything
from workplace import STAGED, Workplace

from aqr_exp.files.run_name import RunName

AVERAGES = ("schedule.mean_of_last=2", "schedule.ema_decay=0.75")


@pytest.fixture(scope="module")
def averaged(trained) -> Path:
    """A completed run of three epochs of four steps, the last one a stage, with averages."""
    return trained("attention_bias", *STAGED, *AVERAGES)


def _metrics(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_the_training_and_its_metrics_of_record_are_those_without_averages(averaged, trained):
    plain = trained("attention_bias", *STAGED)
    ours, theirs = everything(averaged), everything(plain)
    added = {name: ours["metrics"].pop(name) for name in ("mAP_ema", "NDS_ema")}
    added |= {name: ours["metrics"].pop(name) for name in ("mAP_last2", "NDS_last2")}
    assert all(isinstance(value, float) for value in added.values())
    assert ours["last checkpoint"].pop("average").keys() > {"n_averaged"}
    assert {path.name for path in ours["files"]} - {path.name for path in theirs["files"]} == {
        "synth_val.ema.json"
    }
    ours["files"] = [path for path in ours["files"] if ".ema." not in path.name]
    for run in (ours, theirs):
        del run["last checkpoint"]["run"]
    assert_same_bits(ours, theirs)
    assert RunName.parse(averaged.name).fingerprint != RunName.parse(plain.name).fingerprint


def test_the_mean_is_of_the_last_evaluations_of_which_the_final_one_is_of_record(averaged):
    curve, metrics = everything(averaged)["curve"], _metrics(averaged)
    points = [curve["val", epoch, None] for epoch in (2, 3)]
    for name in ("mAP", "NDS"):
        assert metrics[f"{name}_last2"] == fmean(point[name] for point in points)
        assert points[1][name] == metrics[name]


def test_the_average_is_of_all_steps_and_is_scored_by_itself(averaged):
    states = [
        torch.load(averaged / "checkpoints" / f"epoch_{epoch}.pth", weights_only=True)
        for epoch in (2, 3)
    ]
    assert [int(state["average"]["n_averaged"]) for state in states] == [8, 12]
    boxes = [
        json.loads((averaged / "predictions" / f"synth_val{kind}.json").read_text())["results"]
        for kind in ("", ".ema")
    ]
    assert boxes[0].keys() == boxes[1].keys()
    assert boxes[0] != boxes[1]
    assert _metrics(averaged)["NDS_ema"] != _metrics(averaged)["NDS"]


@pytest.mark.slow
def test_cut_within_an_epoch_it_ends_with_the_same_bits(averaged, data, tmp_path):
    place = Workplace(tmp_path, data)
    run = begun_anew(averaged, tmp_path / "results" / "runs" / averaged.name)
    interrupted = [str(Path(__file__).with_name("interrupted_training.py")), str(run), "6"]
    for arguments, code in ((interrupted, 130), (["-m", "aqr_exp.train", str(run)], 0)):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=place.environment, capture_output=True, check=False)
        assert done.returncode == code
    assert_same_bits(everything(run), everything(averaged))


def test_a_table_shows_them_in_points_where_they_are_asked_for(averaged, data, tmp_path):
    place = Workplace(tmp_path, data)
    shutil.copytree(averaged, tmp_path / "results" / "runs" / averaged.name)
    shown = place.aqr_exp("table", "--metrics", "mAP_ema,NDS_last2", "--format", "md").stdout
    for name in ("mAP_ema", "NDS_last2"):
        assert f"{100 * _metrics(averaged)[name]:.2f} (one seed: no interval)" in shown
    assert "mAP_ema" not in place.aqr_exp("table", "--format", "md").stdout
    assert place.aqr_exp("table", "--verify").returncode == 0
    refused = place.aqr_exp("table", "--metrics", "mAP_emma", code=2).stderr
    assert "did you mean 'mAP_ema'" in refused
