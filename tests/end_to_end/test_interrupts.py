"""Trainings that are asked to stop, within epochs and stages, end with the bits of one that never was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_bits import assert_same_bits, begun_anew, curve, everything
from workplace import CURVES, LASTS, STAGED, Workplace


@pytest.fixture(scope="module")
def staged(trained) -> Path:
    """A completed run of two stages, four steps an epoch."""
    return trained("attention_bias", *STAGED)


def _train(place: Workplace, run: Path, interrupted_in: int | None = None) -> int:
    script = Path(__file__).with_name("interrupted_training.py")
    interrupted = [str(script), str(run), str(interrupted_in)]
    arguments = interrupted if interrupted_in else ["-m", "aqr_exp.train", str(run)]
    done = subprocess.run(
        [sys.executable, *arguments], env=place.environment, capture_output=True, check=False
    )
    return done.returncode


def _checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_a_stage_changes_the_data_where_it_begins_and_nothing_before(staged, data, tmp_path):
    plain = Workplace(tmp_path, data).run_variant("attention_bias", *LASTS, *CURVES)
    ours, theirs = curve(staged), curve(plain)
    assert ours.keys() == theirs.keys()
    for key, line in ours.items():
        kind, epoch, _ = key
        stage = line.pop("stage")
        assert stage == (1 if epoch <= 2 else 2)
        if epoch <= 2:
            assert line == theirs[key], key
        elif kind == "train":
            assert line["loss"] != theirs[key]["loss"]
            assert line["lr"] == theirs[key]["lr"]
    assert [epoch for kind, epoch, _ in ours if kind == "val"] == [2, 3]
    names = {json.loads((run / "record.json").read_text())["name"] for run in (staged, plain)}
    assert len(names) == 2


def test_interrupted_at_the_end_of_a_stage_and_within_the_next_it_ends_with_the_same_bits(
    staged, data, tmp_path
):
    place = Workplace(tmp_path, data)
    run = begun_anew(staged, tmp_path / "results" / "runs" / staged.name)
    # In the last step of the first stage; the evaluation after it is made up for.
    assert _train(place, run, interrupted_in=8) == 130
    assert _checkpoints(run) == ["epoch_1.pth", "epoch_2.pth"]
    assert json.loads((run / "state.json").read_text())["status"] == "cancelled"
    assert ("val", 2, None) not in curve(run)
    # Within an epoch.
    assert _train(place, run, interrupted_in=9) == 130
    assert _checkpoints(run) == ["epoch_1.pth", "epoch_2.pth", "epoch_2_step_9.pth"]
    assert _train(place, run) == 0
    assert_same_bits(everything(run), everything(staged))
    # No step was made twice.
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 13))
    assert _checkpoints(run) == ["epoch_2.pth", "epoch_3.pth"]


@pytest.mark.slow
def test_a_step_in_parts_is_never_left_half_done(trained, data, tmp_path):
    """A stop within a step waits for all of its parts; everything is counted in whole steps."""
    whole = trained("attention_bias", "schedule.accumulate=2")
    place = Workplace(tmp_path, data)
    run = begun_anew(whole, tmp_path / "results" / "runs" / whole.name)
    assert _train(place, run, interrupted_in=2) == 130
    assert _checkpoints(run) == ["epoch_0_step_2.pth"]
    assert _train(place, run) == 0
    assert_same_bits(everything(run), everything(whole))
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["kind"] == "arm"] == [1, 2, 3, 4]
