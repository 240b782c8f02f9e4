"""Runs that several processes train: their ends of every kind, and the same bits after them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from run_bits import assert_same_bits, begun_anew, curve, everything
from workplace import CURVES, LASTS, SMOKE, Workplace

# Three epochs of four steps and a validation of three samples within them; nothing draws in the model, and
# each process predicts the samples one by one, as the run of one process does.
PLAIN = (*LASTS, *CURVES, "model.head.dropout=0", "launcher.loader_workers=0")
TWO = (*PLAIN, "launcher.gpus_per_run=2", "launcher.checkpoint_minutes=0.0001")


def start(place: Workplace, run: Path) -> subprocess.Popen:
    """Start a run's training in a session of its own, as a launcher does."""
    for name in ("history.jsonl", "progress.json"):
        (run / name).unlink(missing_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "aqr_exp.train", str(run)],
        env=place.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def ranks_of(watching: subprocess.Popen) -> list[psutil.Process]:
    """The processes that train, in the order in which they were started."""
    children = psutil.Process(watching.pid).children()
    return [each for each in children if "spawn_main" in " ".join(each.cmdline())]


def state_of(run: Path) -> dict:
    return json.loads((run / "state.json").read_text())


def when_a_step_is_saved(
    run: Path, watching: subprocess.Popen, act: Callable[[subprocess.Popen], object]
) -> float:
    """Act once this start has made a step and saved one; returns how long the process lived after it."""
    while not (run / "history.jsonl").exists() or not list((run / "checkpoints").glob("*.pth")):
        assert watching.poll() is None, (run / "logs" / "train.log").read_text()[-2000:]
        time.sleep(0.02)
    act(watching)
    started = time.monotonic()
    watching.wait(120)
    return time.monotonic() - started


@pytest.mark.slow
def test_two_processes_end_as_one_and_after_any_end_with_the_same_bits(trained, data, tmp_path):
    together = trained("attention_bias", *TWO)
    alone = trained("attention_bias", *PLAIN)
    # The split is no part of the identity, as the batch norms are synced.
    assert together.name == alone.name
    ours, theirs = curve(together), curve(alone)
    assert ours.keys() == theirs.keys()
    for key, line in theirs.items():
        # Later ones differ by what AdamW makes of last digits.
        if key[0] == "train" and key[2] <= 2:
            assert ours[key]["loss"] == pytest.approx(line["loss"], rel=1e-5), key
    assert not list(together.rglob(".dist_test"))
    assert sorted(path.name for path in (together / "predictions").iterdir()) == [
        "synth_val.during.json",
        "synth_val.json",
    ]

    place = Workplace(tmp_path, data)
    run = begun_anew(together, place.folder / "results" / "runs" / together.name)
    # The whole group is told to end, as Slurm and containers do.
    watching = start(place, run)
    when_a_step_is_saved(run, watching, lambda one: os.killpg(one.pid, signal.SIGTERM))
    assert (watching.returncode, state_of(run)["status"]) == (130, "cancelled")
    # One hangs.
    watching = start(place, run)
    took = when_a_step_is_saved(run, watching, lambda one: ranks_of(one)[1].suspend())
    assert took < 60
    assert (watching.returncode, state_of(run)["status"]) == (1, "failed")
    assert state_of(run)["reason"].startswith("rank 1 of 2: hangs: it was stopped (SIGSTOP)")
    # One is killed.
    watching = start(place, run)
    took = when_a_step_is_saved(run, watching, lambda one: ranks_of(one)[1].kill())
    assert took < 60
    assert state_of(run)["status"] == "failed"
    assert state_of(run)["reason"].startswith("rank 1 of 2: was killed by SIGKILL")
    assert not psutil.pid_exists(watching.pid)
    done = place.aqr_exp("run", "attention_bias", *SMOKE, *TWO)
    assert "completed" in done.stdout or state_of(run)["status"] == "completed"
    found, wanted = everything(run), everything(together)
    found["curve"] = {key: line for key, line in found["curve"].items() if key in wanted["curve"]}
    wanted["curve"] = {key: wanted["curve"][key] for key in found["curve"]}
    assert_same_bits(found, wanted)
    assert not list(run.rglob(".*")), "no share, lease or torn file is left"


def test_what_is_frozen_stays_as_it_was_loaded_on_both_processes(trained, data, tmp_path):
    begun = trained("attention_bias", *TWO)
    weights = torch.load(begun / "checkpoints" / "epoch_3.pth", weights_only=True)["model"]
    torch.save({"state_dict": weights}, tmp_path / "trained.pth")
    frozen = ("img_backbone", "img_neck", "pts_middle_encoder", "pts_backbone", "pts_neck")
    place = Workplace(tmp_path / "here", data)
    run = place.run_variant(
        "attention_bias",
        f"start.load_from={tmp_path / 'trained.pth'}",
        f"start.freeze=[{','.join(frozen[:2] + frozen[3:])}]",
        "launcher.gpus_per_run=2",
    )
    after = torch.load(run / "checkpoints" / "epoch_1.pth", weights_only=True)["model"]
    moved = {name for name, value in weights.items() if not torch.equal(value, after[name])}
    assert not [name for name in moved if name.startswith(frozen)]
    assert any(name.startswith("pts_bbox_head.transformer") for name in moved)
