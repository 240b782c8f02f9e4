"""Trainings killed at random instants end with the bits of one that was never killed."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_bits import assert_same_bits, begun_anew, everything
from workplace import SMOKE, Workplace

EPOCHS = 3
LASTS = (f"schedule.epochs={EPOCHS}",)
STAGED = (
    *LASTS,
    "schedule.stages=[{epochs:1},{epochs:2,rotate_deg:90.0,drop_lidar:0.5}]",
    "schedule.validate_every_epochs=2",
)


def _kill_and_compare(
    folder: Path, data: Path, variant: str, overrides: tuple[str, ...], kills: int, seed: int
) -> None:
    """Kill trainings of one run at random instants; whatever completes is compared."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    started = time.monotonic()
    unbroken = Workplace(folder / "unbroken", data).run_variant(variant, *overrides)
    lasts_s = time.monotonic() - started
    expected = everything(unbroken)
    epoch_s = json.loads((unbroken / "metrics.json").read_text())["train_time_s"] / EPOCHS
    place = Workplace(folder / "killed", data)
    run = place.folder / "results" / "runs" / unbroken.name
    begun_anew(unbroken, run)
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
            _tell(run, kills)
            continue
        # It ended before its kill: what had been killed before is compared, and begun anew.
        assert code == 0
        assert_same_bits(everything(run), expected)
        begun_anew(unbroken, run)
    place.aqr_exp("run", variant, *SMOKE, *overrides)
    assert_same_bits(everything(run), expected)
    assert not list(run.glob(".l*")), "no lease is left"
    assert not list((run / "checkpoints").glob(".*")), "nothing half written is left"


def _tell(run: Path, left: int) -> None:
    """Where the kill came, for whoever looks on (`pytest -s`)."""
    path = run / "progress.json"
    progress = json.loads(path.read_text()) if path.exists() else {}
    print(f"killed at {progress.get('phase')} {progress.get('step')}, {left} to go")  # noqa: T201


def test_five_kills_change_no_bit(data, tmp_path):
    _kill_and_compare(tmp_path, data, "attention_bias", STAGED, kills=5, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "overrides", "kills"),
    [("baseline", LASTS, 7), ("attention_bias", STAGED, 7), ("renderer_modulator", STAGED, 6)],
)
def test_twenty_kills_over_the_variants_change_no_bit(data, tmp_path, variant, overrides, kills):
    _kill_and_compare(tmp_path, data, variant, overrides, kills, seed=20 + kills)
