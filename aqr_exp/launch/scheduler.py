"""The scheduler: runs of a plan over the room of an executor, each executed exactly once."""

import contextlib
import dataclasses
import functools
import math
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError, stop_reason, words_of
from aqr_exp.files.progress import TOLD_AFTER_S
from aqr_exp.launch.attempt import (
    FINAL,
    Decision,
    PriorState,
    RunSnapshot,
    Started,
    decide,
    prior_state,
    settle,
    start,
)
from aqr_exp.launch.executor import Executor
from aqr_exp.launch.record import create_run
from aqr_exp.launch.slots import Reservation, Slot
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.plan import PlannedRun
from aqr_exp.sweep.status import WatchedRun

TICK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Task(WatchedRun):
    """A run of a scheduler's plan.

    Attributes:
        create: Makes the folder when it is absent; None when it must exist.
        first: It starts before longer ones: others are judged by it while they run.
    """

    create: Callable[[], None] | None = None
    first: bool = False


def entry_of(run: PlannedRun) -> SweepEntry:
    """The record of a planned run in its sweep's folder."""
    return msgspec.convert(run, SweepEntry, from_attributes=True)


def planned_task(run: PlannedRun, folders: RunFolders, threads: int) -> Task:
    """A planned run as a task of the scheduler."""
    return task_of(entry_of(run), folders.of(run.name), run.config, threads)


def task_of(entry: SweepEntry, folder: RunFolder, config: RunConfig, threads: int) -> Task:
    """A run that a sweep wrote down, as a task of the scheduler.

    Args:
        threads: Those it will use, unless its configuration says otherwise.
    """

    def create() -> None:
        launcher = config.launcher
        # Its specification and record are to tell the threads.
        known = dataclasses.replace(launcher, threads=launcher.threads or threads)
        typed = [*entry.overrides, f"seed={entry.seed}"]
        create_run(folder, dataclasses.replace(config, launcher=known), typed)

    return Task(folder=folder, label=entry.label, create=create, expected_s=entry.expected_s)


class SchedulerListener(Protocol):
    """Receiver of a scheduler's events."""

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        """A run was started here."""

    def ended(self, task: Task, snapshot: RunSnapshot, *, here: bool) -> None:
        """A run has an outcome; `here` when this scheduler executed it."""

    def stopping(self, running: int) -> None:
        """The scheduler was asked to stop, and `running` trainings end their step; called once."""

    def waiting(self, what: str) -> None:
        """Nothing runs here; `what` others do is waited for. Called once for each."""

    def tick(self) -> None:
        """Time passes; called several times a second."""


class TaskSource(Protocol):
    """Proposer of tasks while a scheduler works.

    Attributes:
        exhausted: It will never propose another task.
        waits_for: What keeps it from proposing one at this moment, in words.
    """

    exhausted: bool
    waits_for: str

    def poll(self, *, now: bool = False) -> Sequence[Task]:
        """Tasks that have come up since the last poll; called several times a second."""

    def propose(self) -> Sequence[Task]:
        """Tasks for a slot that would stay free; none for now, or none ever when exhausted."""


class Scheduler:
    """Sees every task to its end, here or under another scheduler of the same plan.

    Args:
        tasks: The runs; the longest expected ones start first, unknown ones before all.
        executor: The place where they run.
        stop_requested: Tells of a request from outside to stop, by the signal that it stands for.
        source: Proposes further tasks; None when the tasks are all there are.
        patience_s: Seconds without a run to start after which those of others are left to them; None
            sees every task to its end.

    Attributes:
        outcomes: Final snapshots by run name.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        executor: Executor,
        listener: SchedulerListener,
        stop_requested: Callable[[], int | None] = lambda: None,
        source: TaskSource | None = None,
        patience_s: float | None = None,
    ) -> None:
        self._pending: list[Task] = []
        self._prior: dict[str, PriorState] = {}
        self._add(tasks)
        self._source = source
        self._executor = executor
        self._listener = listener
        self._stop_requested = stop_requested
        self._patience_s = math.inf if patience_s is None else patience_s
        self._working: dict[Task, Started] = {}
        self._stops: list[int] = []
        self._stopping = False
        self._refused: dict[Task, RunSnapshot] = {}
        self._idle_steps = 0
        self._told = ""
        self.outcomes: dict[str, RunSnapshot] = {}

    @property
    def stopped(self) -> bool:
        """It was asked to stop."""
        return bool(self._stops)

    @property
    def stopped_by(self) -> int | None:
        """The signal that the requests stand for; None without one."""
        return functools.reduce(stop_reason, self._stops, None)

    def request_stop(self, number: int = signal.SIGINT) -> None:
        """Stop: asked once, running trainings end cleanly; asked again, at once."""
        self._stops.append(number)

    def run(self) -> dict[str, RunSnapshot]:
        """Work until every task has an outcome, or until asked to stop.

        Returns:
            The outcomes by run name; a run whose owner may or may not live stays `unknown`, and one
            that was left to others is not there.
        """
        try:
            while self._step():
                with contextlib.suppress(OSError):  # a terminal that went away stops no training
                    self._listener.tick()
                self._executor.wait([run.job for run in self._working.values()], TICK_S)
            if self._source is not None:
                self._source.poll(now=True)  # accounts for what has ended last
        finally:
            # Only after an error of this program is anything left to end here.
            for task, run in list(self._working.items()):
                run.job.stop(grace_s=0)
                while (summary := run.job.poll()) is None:
                    self._executor.wait([run.job], TICK_S)
                self._account(task, summary)
            self._executor.close()
        return self.outcomes

    def _step(self) -> bool:
        """Do what can be done now; returns whether anything is left to wait for."""
        self._collect()
        if not self.stopped and (number := self._stop_requested()) is not None:
            self.request_stop(number)
        if self.stopped:
            self._terminate()
            return bool(self._working)
        if self._source is not None:
            self._add(self._source.poll())
        self._start_ready()
        self._tell_waiting()
        if self._working or (self._source is not None and not self._source.exhausted):
            return True
        snapshots = {task: self._snapshot(task) for task in self._pending}
        snapshots |= self._refused
        others = {Decision.UNKNOWN}
        if self._idle_steps * TICK_S >= self._patience_s:
            others |= {Decision.ELSEWHERE}
        if any(snapshot.decision not in others for snapshot in snapshots.values()):
            return True
        for task, snapshot in snapshots.items():
            if snapshot.decision is Decision.UNKNOWN:
                self._finish(task, snapshot, here=False)
        return False

    def _tell_waiting(self) -> None:
        """Say what is waited for when nothing has been running here for a second."""
        idle = not self._working and (self._pending or self._source)
        self._idle_steps = self._idle_steps + 1 if idle else 0
        if self._idle_steps * TICK_S < TOLD_AFTER_S:
            return
        what = self._source.waits_for if self._source is not None else ""
        for task in self._pending[:1]:
            reason = (self._refused.get(task) or self._snapshot(task)).reason
            what = f"{task.folder.name}: {reason}" if reason else self._executor.occupied()
        if what and what != self._told:
            self._told = what
            with contextlib.suppress(OSError):
                self._listener.waiting(what)

    def _add(self, tasks: Sequence[Task]) -> None:
        self._prior |= {task.folder.name: prior_state(task.folder) for task in tasks}
        self._pending = sorted([*self._pending, *tasks], key=_longest_first)

    def _snapshot(self, task: Task) -> RunSnapshot:
        return decide(task.folder, self._prior[task.folder.name])

    def _collect(self) -> None:
        """Account for the jobs that ended; keep the leases of the others alive."""
        for task, run in list(self._working.items()):
            summary = run.job.poll()
            if summary is not None:
                self._account(task, summary)
                continue
            run.lease.beat_when_due()
            if run.job.stopped_by is None and task.folder.cancel_request():
                run.job.stop()

    def _account(self, task: Task, summary: str) -> None:
        """Settle a run whose job ended and give back its leases and room."""
        run = self._working.pop(task)
        try:
            state = settle(task.folder, summary, stopped_by=run.job.stopped_by)
        except LockHeldError:
            self._pending.append(task)  # another process has it: its outcome is waited for
        except (AqrExpError, OSError) as error:
            self._finish(
                task, RunSnapshot(Decision.FAILED, words_of(error), run.attempt), here=True
            )
        else:
            decision = Decision(state.status.value)
            self._finish(task, RunSnapshot(decision, state.reason, state.attempt), here=True)
        finally:
            run.lease.release()
            run.job.release()

    def _start_ready(self) -> None:
        """Start due runs while there is room; note what others have finished."""
        room: Reservation | None = None
        self._refused.clear()
        try:
            for task in list(self._pending):
                snapshot = self._snapshot(task)
                if snapshot.decision in FINAL:
                    self._finish(task, snapshot, here=False)
                if snapshot.decision is not Decision.DUE:
                    continue
                room = room or self._acquire_slot()
                if room is None:
                    # While the slots are busy there is time to make the next run's folder.
                    self._create(task)
                    return
                if self._create(task) and self._start(task, room):
                    room = None
            self._request_more(room)
        finally:
            if room is not None:
                room.release()

    def _request_more(self, room: Reservation | None) -> None:
        """Have further tasks proposed when a slot would stay free; they start at the next step."""
        if self._source is None or self._source.exhausted:
            return
        free = room or self._acquire_slot()
        if free is None:
            return
        try:
            self._add(self._source.propose())
        finally:
            if room is None:
                free.release()

    def _acquire_slot(self) -> Reservation | None:
        """Free room; none for now when claiming it fails (a full disk) while others work."""
        try:
            return self._executor.reserve()
        except OSError:
            if not self._working:
                raise
            return None

    def _create(self, task: Task) -> bool:
        """Make a run's folder when it is absent or empty; returns whether it is there now."""
        try:
            if task.create is not None and not task.folder.state_path.exists():
                task.create()
        except FileExistsError:
            return True  # another scheduler made it meanwhile: as good
        except (AqrExpError, OSError) as error:
            reason = f"cannot be created: {words_of(error)}"
            self._finish(task, RunSnapshot(Decision.FAILED, reason), here=True)
            return False
        return True

    def _start(self, task: Task, room: Reservation) -> bool:
        """Start a run; returns whether the room is in use now."""
        answer = start(task.folder, self._prior[task.folder.name], self._executor, room)
        if isinstance(answer, RunSnapshot):
            if answer.decision in FINAL:
                self._finish(task, answer, here=answer.decision is Decision.FAILED)
            elif answer.decision is Decision.UNKNOWN:
                self._refused[task] = answer
            return False
        self._pending.remove(task)
        self._working[task] = answer
        with contextlib.suppress(OSError):
            self._listener.started(task, room.slot, answer.attempt)
        return True

    def _finish(self, task: Task, snapshot: RunSnapshot, *, here: bool) -> None:
        if task in self._pending:
            self._pending.remove(task)
        self.outcomes[task.folder.name] = snapshot
        # A launcher that was killed while its training went on to the end left its lease here.
        task.folder.clear_dead_leases()
        with contextlib.suppress(OSError):
            self._listener.ended(task, snapshot, here=here)

    def _terminate(self) -> None:
        """Make the trainings end: with their grace, or at once when asked again."""
        stopped_by = self.stopped_by or signal.SIGINT
        for run in self._working.values():
            run.job.stop(stopped_by, grace_s=None if len(self._stops) == 1 else 0)
        if not self._stopping:
            self._stopping = True
            with contextlib.suppress(OSError):
                self._listener.stopping(len(self._working))


def _longest_first(task: Task) -> tuple[bool, bool, float]:
    """A sort key; equal tasks keep the order of the plan, replicate after replicate."""
    known = task.expected_s is not None
    return not task.first, known, -(task.expected_s or 0.0)
