"""A signal to every process at once, as Slurm, systemd and containers send it, with loader workers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from campaign import campaign
from run_bits import assert_same_bits, everything
from workplace import LASTS, SMOKE, Workplace

STARTS_WITHIN_S = 600.0
ENDS = {
    signal.SIGTERM: (130, "cancelled", "interrupted"),
    signal.SIGUSR2: (75, "interrupted", "its time was up"),
}
WORKERS = "launcher.loader_workers=2"


def _wait_for_step(place: Workplace, command: subprocess.Popen, step: int) -> Path:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and command.poll() is None:
        for run in place.runs():
            if (run / "history.jsonl").exists() and _steps(run) >= step:
                return run
        time.sleep(0.02)
    raise AssertionError(f"the step was not made: {command.communicate()}")


def _steps(run: Path) -> int:
    # The last line may be half written.
    lines = (run / "history.jsonl").read_text().split("\n")[:-1]
    return sum(json.loads(line)["kind"] == "train" for line in lines)


def _signalled(
    place: Workplace, number: int, step: int, *overrides: str
) -> tuple[Path, int, str, list[psutil.Process]]:
    """Train until a step is made, send a signal to all processes: the run, exit code, stderr, processes."""
    command = subprocess.Popen(
        [
            *(sys.executable, "-m", "aqr_exp.cli.main", "run", "baseline", *SMOKE, WORKERS),
            *overrides,
        ],
        env=place.environment,
        cwd=place.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = _wait_for_step(place, command, step)
    processes = [*psutil.Process(command.pid).children(recursive=True), psutil.Process(command.pid)]
    for process in processes:
        # One that has just ended, such as a worker of the epoch before, needs no signal.
        try:
            os.kill(process.pid, number)
        except ProcessLookupError:
            continue
    _, err = command.communicate()
    return run, command.returncode, err, processes


def _stop_and_resume(place: Workplace, number: int, step: int, reference: Path, *overrides: str):
    run, ended, err, _ = _signalled(place, number, step, *overrides)
    code, status, reason = ENDS[number]
    assert ended == code, err
    assert err.splitlines()[-1] == f"aqr-exp: {run.name} {status}: {reason}"
    assert json.loads((run / "state.json").read_text())["status"] == status
    assert list((run / "checkpoints").glob("epoch_*.pth"))
    assert "DataLoader worker" not in (run / "logs" / "train.log").read_text()
    place.aqr_exp("resume")
    assert_same_bits(everything(run), everything(reference))


@pytest.mark.parametrize(("number", "step"), [(signal.SIGTERM, 1), (signal.SIGUSR2, 2)])
def test_a_signal_to_all_processes_saves_and_the_run_ends_with_the_same_bits(
    trained, data, tmp_path, number, step
):
    _stop_and_resume(Workplace(tmp_path, data), number, step, trained("baseline"))


@campaign(20)
def test_so_it_does_at_any_step(trained, data, tmp_path, seed):
    draws = random.Random(seed)  # noqa: S311
    number, step = draws.choice(list(ENDS)), draws.randint(1, 9)
    print(f"{number.name} after step {step}")  # noqa: T201
    reference = trained("baseline", *LASTS)
    _stop_and_resume(Workplace(tmp_path, data), number, step, reference, *LASTS)


@pytest.mark.slow
def test_killed_within_an_epoch_it_goes_on_from_the_last_minutes_with_the_same_bits(
    trained, data, tmp_path
):
    place = Workplace(tmp_path, data)
    often = "launcher.checkpoint_minutes=0.0001"
    run, ended, _, processes = _signalled(place, signal.SIGKILL, 2, often)
    assert ended == -signal.SIGKILL
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert alive == []
    made = _steps(run)
    (saved,) = (run / "checkpoints").glob("epoch_0_step_*.pth")
    assert int(saved.stem.rsplit("_", 1)[1]) >= made - 1
    place.aqr_exp("resume")
    assert _steps(run) <= 5, "at most one step is made again"
    assert_same_bits(everything(run), everything(trained("baseline")))


@pytest.mark.slow
def test_loader_workers_are_gone_with_a_training_that_is_killed(data, tmp_path):
    place = Workplace(tmp_path, data)
    command = subprocess.Popen(
        [*(sys.executable, "-m", "aqr_exp.cli.main", "run", "baseline", *SMOKE, WORKERS)],
        env=place.environment,
        cwd=place.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = _wait_for_step(place, command, 1)
    (training,) = psutil.Process(command.pid).children()
    workers = training.children(recursive=True)
    assert len(workers) >= 2
    training.kill()
    _, err = command.communicate()
    assert f"{run.name} failed: the training process was killed by SIGKILL" in err
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
