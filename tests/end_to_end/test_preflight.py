"""A sweep tries each distinct configuration for a few real steps before it queues anything."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from workplace import SMOKE, Workplace

GOOD = r"  baseline .*: \d+\.\d\d s a step, \d{3,4} MB at most, loss \d+\.\d+"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files, where they can be counted; its name is short, as sockets need."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def place(data, tmp_path, temporary) -> Workplace:
    place = Workplace(tmp_path / "a b; echo 'x'", data)
    place.environment["TMPDIR"] = str(temporary)
    return place


def test_what_cannot_train_is_refused_before_anything_is_queued(
    place, trained, tmp_path, temporary
):
    """The weights fit, and only a step shows that one of them is no number."""
    state = torch.load(trained("baseline") / "checkpoints" / "epoch_1.pth")["model"]
    state["pts_bbox_head.reference_points.weight"][0] = torch.nan
    checkpoint = tmp_path / "other.pth"
    torch.save({"state_dict": state}, checkpoint)
    sweep = tmp_path / "both.yaml"
    points = [{"schedule.epochs": 2}, {"start.load_from": str(checkpoint)}]
    sweep.write_text(json.dumps({"variant": "baseline", "points": points, "seeds": [0, 1]}))
    done = place.aqr_exp("sweep", str(sweep), *SMOKE, code=2)
    lines = done.stderr.splitlines()
    (good,) = (line for line in lines if "schedule.epochs=2" in line)
    assert re.fullmatch(GOOD, good)
    faults = [line for line in lines if line.startswith("aqr-exp: ")]
    assert len(faults) == 2
    begin = r"aqr-exp: pre-flight: baseline \S.* \.\.\. \S*other\.pth: "
    assert re.match(begin + r"the loss is not finite at step \d \(\S.*\)$", faults[0]), faults
    assert any(f"load_from={checkpoint}: the loss" in line for line in lines)  # said in full
    assert faults[1] == "aqr-exp: nothing was started (--no-preflight leaves it out)"
    assert not place.runs()
    assert not (place.folder / "results" / "sweeps").exists()
    assert not list(temporary.glob("aqr-exp*"))


def test_weights_of_another_model_are_refused_before_any_step(place, tmp_path):
    checkpoint = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.weight": torch.zeros(2)}}, checkpoint)
    typed = ("sweep", "baseline", *SMOKE, f"start.load_from={str(checkpoint)!r}", "seed=0,1")
    lines = place.aqr_exp(*typed, code=2).stderr.splitlines()
    assert not any("pre-flight" in line for line in lines)
    (line,) = (line for line in lines if line.startswith("aqr-exp: "))
    assert line.startswith("aqr-exp: other.pth does not fit the model: missing ")
    assert line.endswith("unexpected backbone.weight")
    assert not place.runs()


def test_seeds_share_one_trial_and_what_has_trained_needs_none(place, temporary):
    stages = "schedule.stages=[{epochs:1},{epochs:1,drop_lidar:1.0,drop_camera:0.0}]"
    typed = ("sweep", "baseline", *SMOKE, "schedule.epochs=2", stages)
    first = place.aqr_exp(*typed, "seed=0", "--slots", "1").stderr
    assert "pre-flight: 1 configuration, a few steps each" in first
    assert len(re.findall(f"^{GOOD}$", first, re.MULTILINE)) == 1
    assert "pre-flight: 1 configuration can train" in first
    (run,) = place.runs()
    # The run is as one without: no step of the trial is in its history.
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 9))
    assert not list(temporary.glob("aqr-exp*"))
    second = place.aqr_exp(*typed, "seed=0,1", "--slots", "1").stderr
    assert "pre-flight" not in second
    assert len(place.runs()) == 2


def test_a_dry_run_measures_loading_where_a_gpu_could_wait_for_it(place):
    """The slot's GPU is made up, so that the steps are made on the processor."""
    typed = ("run", "baseline", "preset=smoke", "--dry-run", "--json")
    place.environment["CUDA_VISIBLE_DEVICES"] = "0"
    done = place.aqr_exp(*typed)
    loading = json.loads(done.stdout)["loading"]
    assert 0 < loading["load_s"] < 60
    assert 0 < loading["step_s"] < 600
    assert loading["workers"] == 1
    waits = loading["load_s"] / loading["step_s"] > 1 / 0.9
    assert (loading["waiting"] is not None) == waits
    assert not place.runs()
