"""Trainings killed at random instants end with the bits of one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from campaign import campaign
from run_bits import assert_same_bits, begun_anew, everything
from workplace import LASTS, SMOKE, STAGED, Workplace

KINDS = (("baseline", LASTS), ("attention_bias", STAGED), ("renderer_modulator", STAGED))


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
        start_new_session=True,
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
        # With the workers that load its data, or alone: they end with it.
        draw.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
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
    overrides: Sequence[str],
    kills: int,
    draw: random.Random,
) -> bool:
    """Kill trainings of one run at random instants; whatever completes is compared.

    Returns:
        Whether a kill came while it trained.
    """
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
    place.aqr_exp("run", variant, *SMOKE, *overrides)
    assert_same_bits(everything(run), expected)
    assert not list(run.rglob(".*")), "no lease is left, and nothing half written"
    return listed


def test_two_kills_change_no_bit(data, trained, tmp_path):
    unbroken, draw = trained("attention_bias", *STAGED), random.Random(5)  # noqa: S311 - to be repeated
    assert _kill_and_compare(Workplace(tmp_path, data), unbroken, "attention_bias", STAGED, 2, draw)


@campaign(100)
def test_a_hundred_ends_after_kills_change_no_bit(data, trained, tmp_path, seed):
    (variant, overrides), draw = KINDS[seed % len(KINDS)], random.Random(seed)  # noqa: S311
    unbroken, kills = trained(variant, *overrides), draw.choice([1, 1, 1, 2])
    _kill_and_compare(Workplace(tmp_path, data), unbroken, variant, overrides, kills, draw)
