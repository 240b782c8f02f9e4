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
from workplace import LASTS, SMOKE, STAGED, Workplace


def _train_until(run: Path, environment: dict, draw: random.Random) -> int:
    """Train and kill at a random instant, before the first step or after; the exit code.

    Instants are drawn in shares of what this process itself has taken so far, so that a busy machine
    moves them with the training.
    """
    (run / "progress.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "aqr_exp.train", str(run)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    phase = draw.choice(["setup", "train", "train", "train", "predict"])
    started = time.monotonic()
    while process.poll() is None and _phase(run) not in {phase, "predict", "score"}:
        time.sleep(0.02)
    lasted = time.monotonic() - started
    try:
        share = 0.1 if phase == "predict" else 0.8
        return process.wait(draw.uniform(0.0, share) * lasted)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        print(f"{run.name}: killed at {_phase(run)}, in the drawn phase {phase}")  # noqa: T201
        return process.wait()


def _phase(run: Path) -> str | None:
    """What the training says it does: setup, train, predict or score; None before it says anything."""
    path = run / "progress.json"
    return json.loads(path.read_text())["phase"] if path.exists() else None


def _kill_and_compare(
    place: Workplace,
    unbroken: Path,
    variant: str,
    overrides: tuple[str, ...],
    kills: int,
    seed: int,
) -> None:
    """Kill trainings of one run at random instants; whatever completes is compared."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    expected, listed = everything(unbroken), False
    run = begun_anew(unbroken, place.folder / "results" / "runs" / unbroken.name)
    while kills:
        code = _train_until(run, place.environment, draw)
        if code == -signal.SIGKILL:
            kills -= 1
            if _phase(run) == "train" and not listed:
                assert json.loads((run / "state.json").read_text())["status"] == "running"
                assert not (run / "metrics.json").exists()
                assert "interrupted" in place.aqr_exp("list").stdout
                listed = True
            continue
        # It ended before its kill: what had been killed before is compared, and begun anew.
        assert code == 0
        assert_same_bits(everything(run), expected)
        begun_anew(unbroken, run)
    assert listed, "no kill came while it trained"
    place.aqr_exp("run", variant, *SMOKE, *overrides)
    assert_same_bits(everything(run), expected)
    assert not list(run.glob(".l*")), "no lease is left"
    assert not list((run / "checkpoints").glob(".*")), "nothing half written is left"


def test_five_kills_change_no_bit(data, trained, tmp_path):
    unbroken = trained("attention_bias", *STAGED)
    place = Workplace(tmp_path, data)
    _kill_and_compare(place, unbroken, "attention_bias", STAGED, kills=5, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "overrides", "kills"),
    [("baseline", LASTS, 7), ("attention_bias", STAGED, 7), ("renderer_modulator", STAGED, 6)],
)
def test_twenty_kills_over_the_variants_change_no_bit(
    data, trained, tmp_path, variant, overrides, kills
):
    unbroken, place = trained(variant, *overrides), Workplace(tmp_path, data)
    _kill_and_compare(place, unbroken, variant, overrides, kills, seed=20 + kills)
