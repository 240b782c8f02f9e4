"""A signal to every process at once, as Slurm, systemd and containers send it, with loader workers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from run_bits import assert_same_bits, everything
from workplace import SMOKE, Workplace

STARTS_WITHIN_S = 600.0


def _state(place: Workplace) -> dict:
    return json.loads((place.only_run() / "state.json").read_text())


def _wait_for_first_step(place: Workplace, command: subprocess.Popen) -> Path:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and command.poll() is None:
        for run in place.runs():
            if (run / "history.jsonl").exists():
                return run
        time.sleep(0.02)
    raise AssertionError(f"no step was made: {command.communicate()}")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGUSR2, marks=pytest.mark.slow)]
)
def test_a_signal_to_all_processes_saves_and_the_run_ends_with_the_same_bits(
    trained, data, tmp_path, number
):
    reference = trained("baseline")
    place = Workplace(tmp_path, data)
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "aqr_exp.cli.main", "run", "baseline", *SMOKE),
            "launcher.loader_workers=2",
        ],
        env=place.environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = _wait_for_first_step(place, command)
    for process in [*psutil.Process(command.pid).children(recursive=True), command]:
        # One that has just ended, such as a worker of the epoch before, needs no signal.
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue
    _, err = command.communicate()
    assert command.returncode == 130, err
    assert err.splitlines()[-1] == f"aqr-exp: {run.name} cancelled: interrupted"
    assert _state(place)["status"] == "cancelled"
    assert list((run / "checkpoints").glob("epoch_*.pth"))
    assert "DataLoader worker" not in (run / "logs" / "train.log").read_text()
    place.aqr_exp("resume")
    assert_same_bits(everything(run), everything(reference))
