"""Trainings killed at random instants end with the bits of one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from campaign import campaign
from run_bits import assert_same_bits, begun_anew, everything
from workplace import LASTS, SMOKE, STAGED, Workplace

KINDS = (("baseline", LASTS), ("attention_bias", STAGED), ("renderer_modulator", STAGED))


def _train_until(run: Path, environment: dict, phase: str, share: float, kill: Callable) -> int:
    """Train and kill in a phase, or later where that one is over before it was seen; the exit code.

    The instant is a share of what this process itself has taken so far, so that a busy machine moves it
    with the training.
    """
    (run / "progress.json").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "aqr_exp.train", str(run)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    started = time.monotonic()
    while process.poll() is None and _phase(run) not in {phase, "predict", "score"}:
        time.sleep(0.02)
    lasted = time.monotonic() - started
    try:
        return process.wait(share * lasted)
    except subprocess.TimeoutExpired:
        kill(process.pid, signal.SIGKILL)
        print(f"{run.name}: killed at {_phase(run)}, asked for {phase}")  # noqa: T201
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
    kills: Sequence[tuple[str, float, Callable]],
) -> bool:
    """Kill trainings of one run, each at (phase, share of the time so far); whatever completes is compared.

    Returns:
        Whether a kill came while it trained.
    """
    expected, listed = everything(unbroken), False
    run = begun_anew(unbroken, place.folder / "results" / "runs" / unbroken.name)
    for kill in kills:
        # Where it ends before its kill, what had been killed before is compared, and it begins anew.
        while (code := _train_until(run, place.environment, *kill)) != -signal.SIGKILL:
            assert code == 0
            assert_same_bits(everything(run), expected)
            begun_anew(unbroken, run)
        if _phase(run) == "train" and not listed:
            assert json.loads((run / "state.json").read_text())["status"] == "running"
            assert not (run / "metrics.json").exists()
            assert "interrupted" in place.aqr_exp("list").stdout
            listed = True
    place.aqr_exp("run", variant, *SMOKE, *overrides)
    assert_same_bits(everything(run), expected)
    assert not list(run.rglob(".*")), "no lease is left, and nothing half written"
    return listed


def test_a_kill_while_it_trains_changes_no_bit(data, trained, tmp_path):
    place, unbroken = Workplace(tmp_path, data), trained("attention_bias", *STAGED)
    kills = [("train", 0.1, os.killpg)]
    assert _kill_and_compare(place, unbroken, "attention_bias", STAGED, kills)


@campaign(100)
def test_a_hundred_ends_after_kills_change_no_bit(data, trained, tmp_path, seed):
    (variant, overrides), draw = KINDS[seed % len(KINDS)], random.Random(seed)  # noqa: S311
    phases = draw.choices(
        ["setup", "train", "train", "train", "predict"], k=draw.choice([1, 1, 1, 2])
    )
    kills = [
        (
            phase,
            draw.uniform(0.0, 0.1 if phase == "predict" else 0.8),
            draw.choice([os.kill, os.killpg]),
        )
        for phase in phases
    ]
    _kill_and_compare(
        Workplace(tmp_path, data), trained(variant, *overrides), variant, overrides, kills
    )
