"""The contract of executors, held by every implementation."""

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import stub_training
from stub_training import read_audit
from sweep_process import STUB, make, stub_task
from test_scheduler import Recorder

from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError, interrupt
from aqr_exp.launch import executor as executors
from aqr_exp.launch.attempt import Decision, last_log_lines, queue, settle
from aqr_exp.launch.executor import (
    DebugExecutor,
    Executor,
    Job,
    LocalExecutor,
    LocalJob,
    executor_for,
)
from aqr_exp.launch.scheduler import Scheduler
from aqr_exp.launch.signals import stop_on_signals
from aqr_exp.launch.slots import Slot, SlotLeases
from aqr_exp.store.lease import look
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunState
from aqr_exp.store.store import Store

PATIENCE_S = 60.0
SLOTS = [
    Slot(
        name=f"gpu-{at}",
        threads=5,
        environment={"CUDA_VISIBLE_DEVICES": "3", "OMP_NUM_THREADS": "5"},
    )
    for at in range(2)
]
Make = Callable[..., Executor]


@pytest.fixture(params=["local", "debug"])
def make_executor(
    request: pytest.FixtureRequest, store: Store, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Makes an executor whose trainings are stubs that do what a plan says."""

    def built(plan: dict | None = None, slots: int = 1) -> Executor:
        monkeypatch.setenv("STUB_AUDIT", str(audit))
        monkeypatch.setenv("STUB_PLAN", json.dumps({"*": plan or {}}))
        leases = SlotLeases(store.slots_dir, SLOTS[:slots])
        if request.param == "debug":
            monkeypatch.setattr(executors, "train_main", stub_training.main)
            return DebugExecutor(leases)
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(STUB)]))
        return LocalExecutor(leases)

    return built


@pytest.fixture
def folder(store: Store) -> RunFolder:
    made = stub_task(store, 0).folder
    make(made, 0)
    return made


def submitted(executor: Executor, folder: RunFolder) -> Job:
    reservation = executor.reserve()
    assert reservation is not None
    queue(folder, 1)
    return executor.submit(folder, 1, reservation)


def ended(executor: Executor, job: Job) -> tuple[str, RunState]:
    """Wait for a job's end and settle its run."""
    until = time.monotonic() + PATIENCE_S
    while (summary := job.poll()) is None:
        assert time.monotonic() < until
        executor.wait([job], 0.05)
    job.release()
    return summary, settle(job.folder, summary, stopped_by=job.stopped_by)


def wait_for(audit: Path, event: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not any(kind == event for kind, *_ in read_audit(audit)):
        assert time.monotonic() < until
        time.sleep(0.01)


class TestEveryExecutor:
    def test_a_training_completes_with_its_log(
        self, make_executor: Make, folder: RunFolder
    ) -> None:
        executor = make_executor()
        _, state = ended(executor, submitted(executor, folder))
        assert state.status.value == "completed"
        assert folder.read_metrics()["mAP"] == 0.25
        assert last_log_lines(folder)[0].startswith("=== attempt 1, 20")

    def test_a_failure_leaves_its_summary_and_its_last_words(
        self, make_executor: Make, folder: RunFolder
    ) -> None:
        executor = make_executor({"ends": "exits"})
        summary, state = ended(executor, submitted(executor, folder))
        assert summary == "the training process ended with exit code 3 and no result"
        assert (state.status.value, state.reason) == ("failed", summary)
        assert last_log_lines(folder)[-1] == "its last words"

    def test_a_reason_the_training_recorded_stays(
        self, make_executor: Make, folder: RunFolder
    ) -> None:
        executor = make_executor({"ends": "nan"})
        _, state = ended(executor, submitted(executor, folder))
        assert state.reason == "the loss is not finite at step 7 (loss_cls)"

    def test_a_stopped_training_is_cancelled(
        self, make_executor: Make, folder: RunFolder, audit: Path
    ) -> None:
        executor = make_executor({"ends": "hangs"})
        job = submitted(executor, folder)
        if isinstance(executor, LocalExecutor):
            wait_for(audit, "begins")
        job.stop()
        _, state = ended(executor, job)
        assert (state.status.value, state.reason) == ("cancelled", "interrupted")

    def test_a_slot_is_one_trainings_until_it_ends(
        self, make_executor: Make, folder: RunFolder
    ) -> None:
        executor = make_executor({"ends": "hangs"})
        job = submitted(executor, folder)
        assert executor.reserve() is None
        job.stop(grace_s=0)
        ended(executor, job)
        again = executor.reserve()
        assert again is not None
        again.release()

    def test_the_slot_belongs_to_the_process_that_trains(
        self, make_executor: Make, folder: RunFolder, store: Store
    ) -> None:
        executor = make_executor({"ends": "hangs"})
        job = submitted(executor, folder)
        (machine,) = store.slots_dir.iterdir()
        standing = look(machine / "gpu-0")
        assert standing is not None
        assert standing.owner is not None
        trains = job.pid if isinstance(job, LocalJob) else os.getpid()
        assert standing.owner.pid == trains
        job.stop(grace_s=0)
        ended(executor, job)
        assert look(machine / "gpu-0") is None

    def test_threads_and_variables_of_the_slot_reach_the_training(
        self, make_executor: Make, folder: RunFolder
    ) -> None:
        before = dict(os.environ)
        executor = make_executor()
        before |= {name: os.environ[name] for name in os.environ if name not in before}
        ended(executor, submitted(executor, folder))
        seen = folder.read_progress()
        assert seen is not None
        assert seen["threads"] == 5
        assert (seen["CUDA_VISIBLE_DEVICES"], seen["OMP_NUM_THREADS"]) == ("3", "5")
        assert dict(os.environ) == before | {"STUB_PLAN": os.environ["STUB_PLAN"]}

    def test_a_device_that_is_asked_for_now_reaches_a_run_that_was_made_before(
        self, make_executor: Make, folder: RunFolder, store: Store
    ) -> None:
        debug = isinstance(make_executor(), DebugExecutor)
        asked = load_run("baseline", [f"launcher={'debug' if debug else 'local'}"]).launcher
        slots = SlotLeases(store.slots_dir, SLOTS[:1])
        on_cpu = dataclasses.replace(asked, device="cpu")
        for launchers, device in (([on_cpu, asked], None), ([on_cpu], "cpu")):
            # Who chooses stubs has chosen a program, which `debug` refuses.
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("AQR_EXP_TRAIN_COMMAND", raising=False)
                executor = executor_for(launchers, slots)
            ended(executor, submitted(executor, folder))
            seen = folder.read_progress()
            assert seen is not None
            assert seen["AQR_EXP_DEVICE"] == device
            folder.metrics_path.unlink()
        assert "AQR_EXP_DEVICE" not in os.environ

    def test_no_more_trainings_run_at_once_than_there_is_room_for(
        self, make_executor: Make, store: Store, audit: Path
    ) -> None:
        executor = make_executor({"sleep_s": 0.1}, slots=2)
        tasks = [stub_task(store, seed) for seed in range(5)]
        outcomes = Scheduler(tasks, executor, Recorder()).run()
        assert {one.decision for one in outcomes.values()} == {Decision.COMPLETED}
        running, most = 0, 0
        for event, *_ in read_audit(audit):
            running += {"begins": 1, "completed": -1}.get(event, 0)
            most = max(most, running)
        assert 1 <= most <= (2 if isinstance(executor, LocalExecutor) else 1)
        assert sum(path.is_file() for path in store.slots_dir.rglob("*")) == 0

    def test_a_training_that_cannot_be_logged_is_refused_or_fails(
        self, make_executor: Make, store: Store
    ) -> None:
        task = stub_task(store, 0)
        make(task.folder, 0)
        task.folder.logs_dir.rmdir()
        task.folder.logs_dir.write_text("in the way")
        (outcome,) = Scheduler([task], make_executor(), Recorder()).run().values()
        assert outcome.decision is Decision.FAILED
        assert sum(path.is_file() for path in store.slots_dir.rglob("*")) == 0


class TestProcesses:
    """What an executor does whose trainings are other processes."""

    @pytest.fixture
    def executor(self, store: Store, stubs: Callable[[dict], None]) -> LocalExecutor:
        stubs({"*": {"ends": "deaf"}})
        return LocalExecutor(SlotLeases(store.slots_dir, SLOTS[:1]))

    @pytest.mark.parametrize("stops", [[0.3], [600.0, 0.0]])
    def test_a_training_that_ignores_the_stop_is_killed_after_the_grace(
        self, executor: LocalExecutor, folder: RunFolder, audit: Path, stops: list[float]
    ) -> None:
        job = submitted(executor, folder)
        wait_for(audit, "deaf")
        for grace_s in stops:
            assert job.poll() is None
            job.stop(grace_s=grace_s)
        summary, state = ended(executor, job)
        assert summary == "the training process was killed by SIGKILL (out of memory?)"
        assert (state.status.value, state.reason) == ("cancelled", "interrupted")

    def test_a_cancelled_run_that_ignores_the_stop_is_killed_too(
        self, executor: LocalExecutor, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(executors, "GRACE_S", 0.2)
        task, recorder = stub_task(Store(folder.path.parents[1]), 0), Recorder()
        audit = Path(os.environ["STUB_AUDIT"])

        def cancel() -> None:
            if any(kind == "deaf" for kind, *_ in read_audit(audit)):
                folder.request_cancel("cancelled by ann on host")

        recorder.on_tick = cancel
        (outcome,) = Scheduler([task], executor, recorder).run().values()
        assert (outcome.decision, outcome.reason) == (
            Decision.CANCELLED,
            "cancelled by ann on host",
        )

    def test_a_terminals_ctrl_c_reaches_the_launcher_alone(
        self, executor: LocalExecutor, folder: RunFolder
    ) -> None:
        job = submitted(executor, folder)
        assert isinstance(job, LocalJob)
        assert os.getsid(job.pid) == job.pid != os.getsid(0)
        job.stop(grace_s=0)
        ended(executor, job)


class TestInThisProcess:
    """What is particular to trainings in the launcher's process."""

    def trained_by(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, main: Callable[[list[str]], int]
    ) -> DebugExecutor:
        monkeypatch.setattr(executors, "train_main", main)
        return DebugExecutor(SlotLeases(store.slots_dir, SLOTS[:1]))

    def test_ctrl_c_in_a_training_stops_its_launcher(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(arguments: list[str]) -> int:
            del arguments
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.raise_signal(signal.SIGINT)
            return 0

        recorder = Recorder()
        tasks = [stub_task(store, seed) for seed in range(2)]
        scheduler = Scheduler(tasks, self.trained_by(monkeypatch, store, interrupted), recorder)
        with stop_on_signals(scheduler.request_stop):
            outcomes = scheduler.run()
        assert scheduler.stopped
        assert [one.decision for one in outcomes.values()] == [Decision.CANCELLED]
        assert len(recorder.started_names) == 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_so_does_a_signal_that_the_time_is_up(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def out_of_time(arguments: list[str]) -> int:
            del arguments
            signal.signal(signal.SIGUSR2, interrupt)
            signal.raise_signal(signal.SIGUSR2)
            return 0

        tasks = [stub_task(store, seed) for seed in range(2)]
        scheduler = Scheduler(tasks, self.trained_by(monkeypatch, store, out_of_time), Recorder())
        with stop_on_signals(scheduler.request_stop):
            outcomes = scheduler.run()
        assert scheduler.stopped_by == signal.SIGUSR1
        assert [one.decision for one in outcomes.values()] == [Decision.INTERRUPTED]

    def test_a_cancelled_training_leaves_the_others_to_run(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cancelled(arguments: list[str]) -> int:
            RunFolder(Path(arguments[0])).request_cancel("cancelled by ann on host")
            raise KeyboardInterrupt

        tasks = [stub_task(store, seed) for seed in range(2)]
        scheduler = Scheduler(tasks, self.trained_by(monkeypatch, store, cancelled), Recorder())
        assert [one.decision for one in scheduler.run().values()] == [Decision.CANCELLED] * 2

    @pytest.mark.parametrize("error", [ValueError("no such thing"), SystemExit("no such thing")])
    def test_an_exception_is_logged_and_fails_the_run(
        self,
        store: Store,
        folder: RunFolder,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        error: BaseException,
    ) -> None:
        def raises(arguments: list[str]) -> int:
            sys.stdout.write(f"before it {arguments[0]}\n")
            raise error

        executor = self.trained_by(monkeypatch, store, raises)
        summary, state = ended(executor, submitted(executor, folder))
        assert summary == "the training process ended with exit code 1 and no result"
        assert state.status.value == "failed"
        log = "\n".join(last_log_lines(folder, 100))
        assert f"before it {folder.path}" in log
        assert f"before it {folder.path}" in capsys.readouterr().out, (
            "a debugger needs the terminal"
        )
        assert log.endswith("no such thing")

    def test_it_is_the_configuration_that_chooses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AQR_EXP_TRAIN_COMMAND", raising=False)
        local, debug = (
            load_run("baseline", overrides).launcher for overrides in ([], ["launcher=debug"])
        )
        assert isinstance(executor_for([debug, debug]), DebugExecutor)
        assert isinstance(executor_for([local, debug]), LocalExecutor)
        assert debug.loader_workers == 0
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["true"]')
        with pytest.raises(RequestError, match="launcher=debug trains in this process: unset AQR"):
            executor_for([debug])

    def test_the_launcher_is_no_part_of_the_fingerprint(self) -> None:
        from aqr_exp.config.identity import fingerprint

        assert fingerprint(load_run("baseline")) == fingerprint(
            load_run("baseline", ["launcher=debug"])
        )
