"""One launcher, its trainings replaced by stubs."""

import errno
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stub_training import read_audit
from sweep_process import make, stub_task

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.attempt import Decision, RunSnapshot
from aqr_exp.launch.executor import LocalExecutor
from aqr_exp.launch.scheduler import Scheduler, Task
from aqr_exp.launch.slots import Reservation, Slot, SlotLeases, cpu_slots
from aqr_exp.store.process_identity import process
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

Stubs = Callable[[dict], None]


class Recorder:
    """Remembers what it is told, and may do something when time passes."""

    def __init__(self) -> None:
        self.started_names: list[str] = []
        self.ended_here: dict[str, bool] = {}
        self.told_to_stop: list[int] = []
        self.waited_for: list[str] = []
        self.on_tick: Callable[[], None] = lambda: None

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        del slot, attempt
        self.started_names.append(task.folder.name)

    def ended(self, task: Task, snapshot: RunSnapshot, *, here: bool) -> None:
        del snapshot
        self.ended_here[task.folder.name] = here

    def stopping(self, running: int) -> None:
        self.told_to_stop.append(running)

    def waiting(self, what: str) -> None:
        self.waited_for.append(what)

    def tick(self) -> None:
        self.on_tick()


def scheduler(
    store: Store, tasks: list[Task], recorder: Recorder | None = None, slots: int = 2
) -> Scheduler:
    executor = LocalExecutor(SlotLeases(store.slots_dir, cpu_slots(slots)))
    return Scheduler(tasks, executor, recorder or Recorder())


def decisions(snapshots: dict[str, RunSnapshot]) -> list[str]:
    return [snapshots[name].decision.value for name in sorted(snapshots)]


def running(folder: RunFolder) -> bool:
    return folder.state_path.exists() and folder.read_state().status.value == "running"


def test_every_kind_of_failure_has_its_reason_and_the_rest_goes_on(
    store: Store, stubs: Stubs
) -> None:
    tasks = [stub_task(store, seed) for seed in range(6)]
    kinds = ["raises", "nan", "exits", "killed"]
    stubs({task.folder.name: {"ends": kind} for task, kind in zip(tasks, kinds, strict=False)})
    recorder = Recorder()
    snapshots = scheduler(store, tasks, recorder).run()
    assert decisions(snapshots) == ["failed"] * 4 + ["completed"] * 2
    assert [snapshots[task.folder.name].reason for task in tasks] == [
        "ValueError: no",
        "the loss is not finite at step 7 (loss_cls)",
        "the training process ended with exit code 3 and no result",
        "the training process was killed by SIGKILL (out of memory?)",
        None,
        None,
    ]
    assert set(recorder.ended_here.values()) == {True}
    assert sum(path.is_file() for path in store.slots_dir.rglob("*")) == 0
    assert not any(path.name.startswith(".l") for path in store.runs_dir.glob("*/.*"))


def test_asking_again_runs_only_what_failed(store: Store, stubs: Stubs, audit: Path) -> None:
    tasks = [stub_task(store, seed) for seed in range(3)]
    stubs({tasks[1].folder.name: {"ends": "nan"}})
    scheduler(store, tasks).run()
    stubs({})
    recorder = Recorder()
    snapshots = scheduler(store, tasks, recorder).run()
    assert decisions(snapshots) == ["completed"] * 3
    assert recorder.started_names == [tasks[1].folder.name]
    assert recorder.ended_here[tasks[0].folder.name] is False
    assert tasks[1].folder.read_state().attempt == 2
    begun = [(name, attempt) for event, name, attempt, _ in read_audit(audit) if event == "begins"]
    assert sorted(begun) == sorted(
        [(t.folder.name, 1) for t in tasks] + [(tasks[1].folder.name, 2)]
    )


def test_the_longest_expected_starts_first_and_the_unknown_before_it(
    store: Store, stubs: Stubs
) -> None:
    tasks = [stub_task(store, seed, s) for seed, s in enumerate([1.0, 3.0, None, 2.0])]
    recorder = Recorder()
    scheduler(store, tasks, recorder, slots=1).run()
    assert [int(name.rpartition("s")[2]) for name in recorder.started_names] == [2, 1, 3, 0]


def test_a_run_whose_folder_is_empty_is_made(store: Store, stubs: Stubs) -> None:
    task = stub_task(store, 0)
    task.folder.path.mkdir(parents=True)
    assert decisions(scheduler(store, [task]).run()) == ["completed"]


@pytest.mark.parametrize("expected_s", [None, 2.0])
def test_equally_long_ones_start_in_the_order_of_the_plan(
    store: Store, stubs: Stubs, expected_s: float | None
) -> None:
    tasks = [stub_task(store, seed, expected_s) for seed in [2, 0, 1]]
    recorder = Recorder()
    scheduler(store, tasks, recorder, slots=1).run()
    assert recorder.started_names == [task.folder.name for task in tasks]


def test_interrupted_once_the_trainings_end_cleanly(store: Store, stubs: Stubs) -> None:
    tasks = [stub_task(store, seed) for seed in range(3)]
    stubs({"*": {"ends": "hangs"}})
    recorder = Recorder()
    work = scheduler(store, tasks, recorder)

    def stop_when_both_run() -> None:
        if not work.stopped and sum(running(task.folder) for task in tasks) == 2:
            work.request_stop()

    recorder.on_tick = stop_when_both_run
    assert decisions(work.run()) == ["cancelled", "cancelled"]
    assert work.stopped
    assert len(recorder.started_names) == 2
    assert recorder.told_to_stop == [2], "once, however long they take"
    for name in recorder.started_names:
        assert store.folder(name).read_state().reason == "interrupted"


def test_interrupted_twice_they_end_at_once(
    store: Store, stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = tmp_path / "deaf.py"
    deaf.write_text(
        "import signal, sys\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "Path(sys.argv[1], 'deaf').touch()\n"
        "while True: signal.pause()\n"
    )
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(deaf)]))
    task = stub_task(store, 0)
    recorder = Recorder()
    work = scheduler(store, [task], recorder)

    def press() -> None:
        if (task.folder.path / "deaf").exists():
            work.request_stop()

    recorder.on_tick = press
    started = time.monotonic()
    snapshots = work.run()
    assert time.monotonic() - started < 25, "it was not waited for"
    assert snapshots[task.folder.name].decision is Decision.CANCELLED


def test_a_cancelled_run_stops_and_the_others_go_on(store: Store, stubs: Stubs) -> None:
    tasks = [stub_task(store, seed, 9.0 - seed) for seed in range(3)]
    first = tasks[0].folder
    stubs({first.name: {"ends": "hangs"}})
    recorder = Recorder()

    def cancel() -> None:
        if running(first) and first.cancel_request() is None:
            first.request_cancel("cancelled by ann on host")

    recorder.on_tick = cancel
    snapshots = scheduler(store, tasks, recorder).run()
    assert decisions(snapshots) == ["cancelled", "completed", "completed"]
    assert snapshots[first.name].reason == "cancelled by ann on host"


def test_a_run_that_cannot_be_made_or_started_takes_no_other_down(
    store: Store, stubs: Stubs
) -> None:
    def refuse() -> None:
        raise AqrExpError("disk full")

    folder = store.folder("a-broken-s0")
    broken = Task(folder=folder, label="broken", create=refuse, expected_s=9.0)
    unlogged = stub_task(store, 1, 8.0)
    make(unlogged.folder, 1)
    unlogged.folder.logs_dir.rmdir()
    unlogged.folder.logs_dir.write_text("in the way")
    snapshots = scheduler(store, [stub_task(store, 2), broken, unlogged]).run()
    assert snapshots["a-broken-s0"].reason == "cannot be created: disk full"
    assert (snapshots[unlogged.folder.name].reason or "").startswith("cannot be started: ")
    assert unlogged.folder.effective_status() == "failed"
    assert snapshots[stub_task(store, 2).folder.name].decision is Decision.COMPLETED


def test_a_run_trained_elsewhere_is_waited_for(store: Store, stubs: Stubs) -> None:
    task = stub_task(store, 0)
    make(task.folder, 0)
    recorder = Recorder()
    with task.folder.lock() as lease:
        task.folder.write_state("running")

        def finish() -> None:
            task.folder.write_metrics({"mAP": 0.5})
            task.folder.write_state("completed")
            lease.release()

        recorder.on_tick = finish
        snapshots = scheduler(store, [task], recorder).run()
    assert snapshots[task.folder.name].decision is Decision.COMPLETED
    assert recorder.started_names == []
    assert recorder.ended_here == {task.folder.name: False}


def test_a_run_nobody_can_tell_about_is_left_alone(store: Store, stubs: Stubs) -> None:
    unknown, other = stub_task(store, 0), stub_task(store, 1)
    make(unknown.folder, 0)
    unknown.folder.write_state("running")
    with unknown.folder.lock() as lease:
        lease.file.write_text("{")
        snapshots = scheduler(store, [unknown, other]).run()
        assert lease.beat()
    assert decisions(snapshots) == ["unknown", "completed"]
    assert (snapshots[unknown.folder.name].reason or "").startswith("held by ")


def test_waiting_for_a_slot_says_who_has_it(
    store: Store, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.launch.scheduler.TOLD_AFTER_S", 0.1)
    leases = SlotLeases(store.slots_dir, cpu_slots(1))
    held = leases.reserve()
    assert held is not None
    recorder = Recorder()
    recorder.on_tick = lambda: held.release() if recorder.waited_for else None
    task = stub_task(store, 0)
    assert decisions(scheduler(store, [task], recorder, slots=1).run()) == ["completed"]
    assert recorder.waited_for == [f"a free slot: cpu-0 is held by {process()}"]


def test_what_lies_in_leases_and_slots_stops_no_sweep(store: Store, stubs: Stubs) -> None:
    tasks = [stub_task(store, seed) for seed in range(2)]
    for task in tasks:
        assert task.create is not None
        task.create()
        for path in (task.folder.lease_path, task.folder.launch_lease_path):
            path.mkdir()
            (path / ".nfs0001").touch()
    slot = store.slots_dir / re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()) / "cpu-0"
    slot.parent.mkdir(parents=True)
    slot.touch()
    kept = tasks[1].folder.launch_lease_path / "lost+found" / "kept"
    kept.mkdir(parents=True)
    snapshots = scheduler(store, tasks, slots=1).run()
    assert decisions(snapshots) == ["completed", "unknown"]
    reason = snapshots[tasks[1].folder.name].reason
    assert reason == f"held by {kept.parent}, which is no lease: remove it"
    assert kept.exists()


class FullDisk(LocalExecutor):
    """No room can be claimed at some of the calls, as on a disk that is full at that moment."""

    def __init__(self, store: Store, *, full_at: set[int]) -> None:
        super().__init__(SlotLeases(store.slots_dir, cpu_slots(2)))
        self.calls, self.full_at = 0, full_at

    def reserve(self) -> Reservation | None:
        self.calls += 1
        if self.calls - 1 in self.full_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().reserve()


def leases_left(store: Store) -> list[str]:
    """The owners' files in the slots and in the runs' leases."""
    folders = [store.slots_dir, *store.runs_dir.glob("*/.lease"), *store.runs_dir.glob("*/.launch")]
    return [path.name for folder in folders for path in folder.rglob("*.json")]


def test_room_that_cannot_be_claimed_while_others_work_is_asked_for_again(
    store: Store, stubs: Stubs
) -> None:
    tasks = [stub_task(store, seed) for seed in range(2)]
    executor = FullDisk(store, full_at={1})
    snapshots = Scheduler(tasks, executor, Recorder()).run()
    assert decisions(snapshots) == ["completed", "completed"]
    assert executor.calls > 2
    assert leases_left(store) == []


def test_room_that_cannot_be_claimed_at_all_is_an_error(store: Store, stubs: Stubs) -> None:
    work = Scheduler([stub_task(store, 0)], FullDisk(store, full_at={0}), Recorder())
    with pytest.raises(OSError, match="No space left on device"):
        work.run()
    assert leases_left(store) == []


def test_an_error_of_the_launcher_leaves_no_training_and_no_lease(
    store: Store, stubs: Stubs
) -> None:
    tasks = [stub_task(store, seed) for seed in range(2)]
    stubs({"*": {"ends": "hangs"}})
    recorder = Recorder()

    def fail_when_both_run() -> None:
        if all(running(task.folder) for task in tasks):
            assert len(leases_left(store)) == 6
            raise ZeroDivisionError

    recorder.on_tick = fail_when_both_run
    with pytest.raises(ZeroDivisionError):
        scheduler(store, tasks, recorder).run()
    assert [task.folder.read_state().status.value for task in tasks] == ["cancelled"] * 2
    assert recorder.ended_here == {task.folder.name: True for task in tasks}
    assert leases_left(store) == []


def test_the_leases_of_a_running_training_are_kept_young(
    store: Store, stubs: Stubs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.BEAT_S", 0.0)
    task = stub_task(store, 0)
    stubs({"*": {"ends": "hangs"}})
    recorder = Recorder()
    work = scheduler(store, [task], recorder, slots=1)
    aged: list[Path] = []
    ages_s: list[float] = []

    def let_them_age() -> None:
        if aged and not ages_s:
            ages_s.extend(time.time() - path.stat().st_mtime for path in aged)
            work.request_stop()
        elif not aged and running(task.folder):
            aged.extend(task.folder.launch_lease_path.glob("*.json"))
            aged.extend(store.slots_dir.rglob("*.json"))
            for path in aged:
                os.utime(path, (0, 0))

    recorder.on_tick = let_them_age
    work.run()
    assert len(ages_s) == 2
    assert max(ages_s) < 3600


def test_a_slot_is_given_back_when_its_training_has_ended(store: Store, stubs: Stubs) -> None:
    """Not left to the next launcher that finds its owner dead: one of another machine cannot."""
    tasks = [stub_task(store, seed) for seed in range(2)]
    stubs({tasks[1].folder.name: {"ends": "hangs"}})
    recorder = Recorder()
    work = scheduler(store, tasks, recorder)
    held: list[int] = []

    def look() -> None:
        if tasks[0].folder.name in recorder.ended_here and not held:
            held.append(len([*store.slots_dir.rglob("*.json")]))
            work.request_stop()

    recorder.on_tick = look
    assert decisions(work.run()) == ["completed", "cancelled"]
    assert held == [1]


def test_room_that_no_run_took_is_given_back(store: Store, stubs: Stubs) -> None:
    def refuse() -> None:
        raise AqrExpError("no such folder")

    task = Task(folder=store.folder("a-broken-s0"), label="broken", create=refuse)
    assert decisions(scheduler(store, [task]).run()) == ["failed"]
    assert leases_left(store) == []
