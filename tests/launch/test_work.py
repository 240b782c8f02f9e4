"""Workers: what is due of a planned sweep, worked on by whoever comes, each run once."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_data import write_identity
from stub_training import read_audit

from aqr_exp.cli import control
from aqr_exp.cli.main import main
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

WITHIN_S = 100


@pytest.fixture
def planned(
    store: Store, tmp_path: Path, stubs: Callable[[dict], None], monkeypatch: pytest.MonkeyPatch
) -> list[RunFolder]:
    """Four seeds of the baseline in the sweep `s`, of which nothing was made."""
    write_identity(tmp_path / "data" / "synth")
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("AQR_EXP_RESULTS", str(store.root))
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "baseline", "seed=0,1,2,3", "--name", "s", "--plan"]) == 0
    assert store.names() == []
    return [store.folder(entry.name) for entry in store.sweep("s").read_plan()]


def worker(*arguments: str, slots: int = 2) -> subprocess.Popen:
    """A worker in a process of its own, whose trainings are its forks."""
    forked = Path(__file__).with_name("forked.py")
    return subprocess.Popen(
        [sys.executable, str(forked), "work", "s", *arguments, "--slots", str(slots)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def statuses(folders: list[RunFolder]) -> list[str]:
    return [
        str(folder.effective_status()) if folder.path.exists() else "none" for folder in folders
    ]


def began(tmp_path: Path) -> Counter:
    return Counter(
        name for event, name, _, _ in read_audit(tmp_path / "audit.jsonl") if event == "begins"
    )


def test_two_workers_share_a_sweep(planned: list[RunFolder], tmp_path: Path) -> None:
    workers = [worker() for _ in range(2)]
    said = [one.communicate(timeout=WITHIN_S)[1] for one in workers]
    assert [one.returncode for one in workers] == [0, 0], said
    assert statuses(planned) == ["completed"] * 4
    assert began(tmp_path) == {folder.name: 1 for folder in planned}
    assert main(["work", "s"]) == 0


def test_what_others_run_is_left_to_them_or_waited_for(
    planned: list[RunFolder],
    stubs: Callable[[dict], None],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stubs({planned[0].name: {"ends": "hangs"}, "*": {"sleep_s": 0.2}})
    first = worker(slots=1)  # busy with the one that hangs: all others are the second worker's
    wait_until(lambda: began(tmp_path)[planned[0].name] == 1)
    stubs({})
    monkeypatch.setattr(control, "LEFT_AFTER_S", 0.5)
    assert main(["work", "s", "--slots", "2"]) == 0
    assert statuses(planned) == ["running", *["completed"] * 3]
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("work: 4 runs: 3 completed, 1 running")
    )
    # What the first one leaves, because its time is up, goes on under one that waits.
    second = worker("--until-idle")
    wait_until(lambda: len(store.sweep("s").schedulers()) == 2)
    first.send_signal(12)
    assert first.wait(WITHIN_S) == 75
    assert second.wait(WITHIN_S) == 0
    assert statuses(planned) == ["completed"] * 4
    assert planned[0].read_state().attempt == 2
    for one in (first, second):
        one.communicate()


def test_a_worker_whose_time_is_up_leaves_the_rest_to_the_next(
    planned: list[RunFolder], stubs: Callable[[dict], None]
) -> None:
    stubs({"*": {"ends": "hangs"}})
    assert main(["work", "s", "--slots", "1", "--minutes", "0.03"]) == 75
    # While the slot is busy the next run's folder is made.
    assert statuses(planned) == ["interrupted", "planned", "none", "none"]
    stubs({})
    assert main(["work", "s", "--slots", "2"]) == 0
    assert statuses(planned) == ["completed"] * 4


def test_failed_and_cancelled_runs_are_left_alone(
    planned: list[RunFolder], stubs: Callable[[dict], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failed, asked, signalled, _ = planned
    stubs({failed.name: {"ends": "nan"}})
    assert main(["work", "s", "--slots", "2"]) == 1
    assert statuses(planned) == ["failed", *["completed"] * 3]
    for folder in (asked, signalled):
        folder.metrics_path.unlink()
        folder.write_state("cancelled", reason="interrupted")
    asked.request_cancel("cancelled by ann")
    stubs({})
    capsys.readouterr()
    # Of one of them somebody said that it is to stop; of the other only its process was told.
    assert main(["work", "s", "--slots", "2"]) == 0
    assert statuses(planned) == ["failed", "cancelled", "completed", "completed"]
    assert main(["work", asked.name, failed.name]) == 0
    assert statuses(planned)[:2] == ["failed", "cancelled"]
    assert capsys.readouterr().err.splitlines()[-1] == "work: nothing is left to start"


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_a_time_that_is_none_is_refused(
    minutes: str, planned: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work", "s", "--minutes", minutes]) == 2
    assert capsys.readouterr().err == f"aqr-exp: --minutes={minutes}: must be more than 0\n"
    assert statuses(planned) == ["none"] * 4


def test_a_sweep_that_was_never_planned_is_refused(
    planned: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["work", "t"]) == 2
    assert "unknown run or sweep 't'" in capsys.readouterr().err
