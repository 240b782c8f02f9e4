"""Trainings killed at random instants end with the bits of one that was never killed."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from workplace import SMOKE, Workplace

EPOCHS = 3
LASTS = f"schedule.epochs={EPOCHS}"
# What a clock wrote, and what it reaches: the history's times, and checksums over them.
CLOCKS = {"train_time_s", "evaluate_time_s", "peak_memory_mb", "files", "checksum"}
NOT_COMPARED = {"crc32", "attempt"}


def _everything(run: Path) -> dict:
    """What a run ended with, without what a clock wrote; of repeated steps the last counts."""
    metrics = json.loads((run / "metrics.json").read_text())
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    curve = {
        (line["kind"], line["epoch"], line.get("step")): {
            name: value
            for name, value in line.items()
            if not name.endswith("_time_s") and name not in NOT_COMPARED
        }
        for line in lines
        if line["kind"] in {"train", "arm"}
    }
    assert len(curve) >= 3
    newest = max((run / "checkpoints").glob("*.pth"), key=lambda path: int(path.stem[6:]))
    return {
        "metrics": {name: value for name, value in metrics.items() if name not in CLOCKS},
        "curve": curve,
        "weights": torch.load(newest, weights_only=True)["model"],
    }


def _assert_same_bits(ours: dict, theirs: dict) -> None:
    assert ours["metrics"] == theirs["metrics"]
    assert ours["curve"] == theirs["curve"]
    assert ours["weights"].keys() == theirs["weights"].keys()
    for name, value in ours["weights"].items():
        assert torch.equal(value, theirs["weights"][name]), name


def _anew(unbroken: Path, run: Path) -> None:
    """The run as it is before its first step."""
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(unbroken, run)
    for leftover in ("history.jsonl", "metrics.json", "progress.json"):
        (run / leftover).unlink()
    for folder in ("checkpoints", "predictions"):
        shutil.rmtree(run / folder)
        (run / folder).mkdir()


def _kill_and_compare(folder: Path, data: Path, variant: str, kills: int, seed: int) -> None:
    """Kill trainings of one run at random instants; whatever completes is compared."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    started = time.monotonic()
    unbroken = Workplace(folder / "unbroken", data).run_variant(variant, LASTS)
    lasts_s = time.monotonic() - started
    expected = _everything(unbroken)
    epoch_s = json.loads((unbroken / "metrics.json").read_text())["train_time_s"] / EPOCHS
    place = Workplace(folder / "killed", data)
    run = place.folder / "results" / "runs" / unbroken.name
    _anew(unbroken, run)
    while kills:
        done = max((int(p.stem[6:]) for p in (run / "checkpoints").glob("*.pth")), default=0)
        needs_s = lasts_s - done * epoch_s
        process = subprocess.Popen(
            [sys.executable, "-m", "aqr_exp.train", str(run)],
            env=place.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            code = process.wait(draw.uniform(0.25, 0.95) * needs_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            kills -= 1
            continue
        # It ended before its kill: what had been killed before is compared, and begun anew.
        assert code == 0
        _assert_same_bits(_everything(run), expected)
        _anew(unbroken, run)
    place.aqr_exp("run", variant, *SMOKE, LASTS)
    _assert_same_bits(_everything(run), expected)
    assert not list(run.glob(".l*")), "no lease is left"
    assert not list((run / "checkpoints").glob(".*")), "nothing half written is left"


def test_five_kills_change_no_bit(data, tmp_path):
    _kill_and_compare(tmp_path, data, "attention_bias", kills=5, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "kills"), [("baseline", 7), ("attention_bias", 7), ("renderer_modulator", 6)]
)
def test_twenty_kills_over_the_variants_change_no_bit(data, tmp_path, variant, kills):
    _kill_and_compare(tmp_path, data, variant, kills, seed=20 + kills)
