"""Several launchers on one plan: every run is executed exactly once, also when they are killed."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import campaign
from stub_training import read_audit
from sweep_process import stub_environment

from aqr_exp.store.process_identity import Liveness, liveness_of
from aqr_exp.store.store import Store

LAUNCHER = Path(__file__).with_name("sweep_process.py")
ENDS_WITHIN_S = 600


class Place:
    """A results folder with a hostile name, and launchers that work on it."""

    def __init__(self, folder: Path, runs: int, slots: int, plan: dict) -> None:
        self.root = folder / "it's; echo $HOME"
        self.root.mkdir()
        self.audit = folder / "audit.jsonl"
        self.store = Store(self.root)
        self.runs = runs
        self.command = [
            sys.executable,
            str(LAUNCHER),
            str(self.root),
            str(runs),
            str(slots),
            "forked",
        ]
        self.environment = os.environ | stub_environment(self.audit, plan)
        self.log = folder / "launchers.log"

    def launch(self, *within: str) -> subprocess.Popen:
        """Start a launcher; `within` is a command that starts it in a place of its own."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*within, *self.command],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def names(self, event: str) -> Counter:
        return Counter(name for kind, name, _, _ in read_audit(self.audit) if kind == event)

    def statuses(self) -> Counter:
        return Counter(folder.effective_status() for folder in self.store)

    def leases(self) -> list[Path]:
        """Everything that a lease or the claim of one leaves while it is there."""
        found = [
            p for p in self.root.glob("runs/*/.l*") if p.name.startswith((".lease", ".launch"))
        ]
        found += self.root.glob("sweeps/*/schedulers/*")
        found += self.root.glob(".slots/*/*")
        return found

    def workers(self) -> list[int]:
        """Stubs that live."""
        begun = [who for kind, _, _, who in read_audit(self.audit) if kind == "begins"]
        return sorted({who.pid for who in begun if liveness_of(who, 0.0) is Liveness.ALIVE})


@pytest.mark.parametrize("launchers", [2, 4])
def test_launchers_share_a_hundred_runs(tmp_path: Path, launchers: int) -> None:
    place = Place(tmp_path, runs=100, slots=8, plan={})
    started = [place.launch() for _ in range(launchers)]
    codes = [process.wait(ENDS_WITHIN_S) for process in started]
    assert codes == [0] * launchers, place.log.read_text()
    for event in ("begins", "finishes", "completed"):
        assert len(place.names(event)) == 100
        assert place.names(event).total() == 100
    assert place.statuses() == {"completed": 100}
    assert place.leases() == []


def wait_until(holds: Callable[[], bool]) -> None:
    """Look until something holds that other processes bring about."""
    deadline = time.monotonic() + ENDS_WITHIN_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_stops_cleanly_and_asking_again_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=3, slots=2, plan={"*": {"ends": "hangs"}})
    launcher = place.launch()
    wait_until(lambda: place.statuses()["running"] == 2)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(ENDS_WITHIN_S) == 130
    assert place.statuses()["cancelled"] == 2
    assert place.leases() == []
    place.environment |= stub_environment(place.audit)
    assert place.launch().wait(ENDS_WITHIN_S) == 0
    assert place.statuses() == {"completed": 3}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_launchers_that_are_confined_to_other_cores_work_side_by_side(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=3, slots=1, plan={"*": {"ends": "hangs"}})
    cores = sorted(os.sched_getaffinity(0))
    launchers = [place.launch("taskset", "-c", str(core)) for core in cores[:2]]
    wait_until(lambda: place.statuses()["running"] == 2)
    log = place.log.read_text()
    assert {f"starts on cpu-{core}" in log for core in cores[:2]} == {True}
    # A third one may use either core, and neither is free.
    launchers.append(place.launch())
    wait_until(lambda: "waiting for" in place.log.read_text())
    assert place.statuses()["running"] == 2
    assert place.names("begins").total() == 2
    place.store.sweep("stubs").request_cancel()
    assert [launcher.wait(ENDS_WITHIN_S) for launcher in launchers] == [130] * 3
    assert place.leases() == []


def test_a_launcher_whose_time_is_up_leaves_its_runs_to_the_next(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=3, slots=2, plan={"*": {"ends": "hangs"}})
    launcher = place.launch()
    wait_until(lambda: place.statuses()["running"] == 2)
    launcher.send_signal(signal.SIGUSR2)
    assert launcher.wait(ENDS_WITHIN_S) == 75
    assert place.statuses()["interrupted"] == 2
    assert "2 interrupted" in place.log.read_text()
    assert "did not end well" not in place.log.read_text()
    assert place.leases() == []
    place.environment |= stub_environment(place.audit)
    assert place.launch().wait(ENDS_WITHIN_S) == 0
    assert place.statuses() == {"completed": 3}


def test_the_last_word_is_that_of_who_does_not_want_the_runs(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=1, slots=1, plan={"*": {"ends": "hangs"}})
    launcher = place.launch()
    wait_until(lambda: place.statuses()["running"] == 1)
    (training,) = place.workers()
    os.kill(training, signal.SIGSTOP)
    launcher.send_signal(signal.SIGUSR2)
    wait_until(lambda: "1 training ends its step" in place.log.read_text())
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(ENDS_WITHIN_S) == 130
    assert place.statuses() == {"cancelled": 1}


def test_a_sweep_is_stopped_from_another_process(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=3, slots=1, plan={"*": {"ends": "hangs"}})
    launchers = [place.launch() for _ in range(2)]
    sweep = place.store.sweep("stubs")
    wait_until(lambda: place.statuses()["running"] == 1 and len(sweep.schedulers()) == 2)
    sweep.request_cancel()
    assert [launcher.wait(ENDS_WITHIN_S) for launcher in launchers] == [130, 130]
    assert place.statuses()["completed"] == 0
    assert place.leases() == []


def test_a_detached_launcher_goes_on_alone(tmp_path: Path) -> None:
    place = Place(tmp_path, runs=2, slots=2, plan={"*": {"sleep_s": 0.2}})
    place.command.append("detached")
    assert place.launch().wait(ENDS_WITHIN_S) == 0
    said = place.log.read_text()
    assert "stubs: goes on as process " in said
    assert "see it with `aqr-exp watch stubs`" in said
    wait_until(lambda: place.statuses()["completed"] == 2 and place.leases() == [])
    log = place.store.sweep("stubs").detached_log_path
    wait_until(lambda: "stubs: 2 runs: 2 completed" in log.read_text())


def one_round(folder: Path, seed: int) -> None:
    """Kill launchers and workers at random moments, then let one launcher finish."""
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    place = Place(folder, runs=8, slots=4, plan={"*": {"sleep_s": 0.3}})
    launchers = [place.launch() for _ in range(2)]
    kills = 0
    until = time.monotonic() + draw.uniform(1.0, 4.0)
    while time.monotonic() < until:
        time.sleep(draw.uniform(0.0, 0.6))
        victims = place.workers() + [one.pid for one in launchers if one.poll() is None]
        if not victims:
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(victims), signal.SIGKILL)
            kills += 1
        if draw.random() < 0.5:
            launchers.append(place.launch())
    end_round(place, launchers, kills, f"seed {seed}")


def end_round(place: Place, launchers: list[subprocess.Popen], kills: int, what: str) -> None:
    """Let launchers end and one more finish; every run was completed once, and by one at a time."""
    for launcher in launchers:
        assert launcher.wait(ENDS_WITHIN_S) in {0, 1, -signal.SIGKILL}, place.log.read_text()
    # What was killed under a living launcher has failed: asking again runs what is missing.
    assert place.launch().wait(ENDS_WITHIN_S) == 0, place.log.read_text()

    assert place.statuses() == {"completed": place.runs}, what
    assert place.leases() == [], what
    assert place.names("not alone") == {}, what
    completed = place.names("completed")
    assert max(completed.values()) == 1, what
    # A start beyond the first one of a run is the work of a kill.
    assert place.names("begins").total() - place.runs <= kills, what
    events = read_audit(place.audit)
    for name in completed:
        of_run = [event for event, run, _, _ in events if run == name]
        assert of_run[-1] == "completed", f"{what}: something began after the end"


@pytest.mark.parametrize("seed", range(3))
def test_kills_leave_every_run_completed_once(tmp_path: Path, seed: int) -> None:
    one_round(tmp_path, seed)


@campaign(30)
def test_many_kills_leave_every_run_completed_once(tmp_path: Path, seed: int) -> None:
    one_round(tmp_path, seed)
