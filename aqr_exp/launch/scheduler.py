"""The local scheduler: runs of a plan over the slots of this machine, each executed exactly once."""

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.slots import Slot, SlotLeases
from aqr_exp.launch.task import (
    FINAL,
    Decision,
    PriorState,
    RunSnapshot,
    SchedulerListener,
    Started,
    Task,
    TaskSource,
    decide,
    prior_state,
    start,
)
from aqr_exp.launch.training import GRACE_S
from aqr_exp.store.lease import Lease, LockHeldError

TICK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class _Working:
    """A run that this scheduler executes, and what it occupies."""

    task: Task
    run: Started
    slot: Lease


class Scheduler:
    """Sees every task to its end, here or under another scheduler of the same plan.

    Args:
        tasks: The runs; the longest expected ones start first, unknown ones before all.
        slots: Where they may run.
        listener: Who is told.
        stop_requested: Whether somebody asked from outside that the sweep stops.
        source: Proposes further tasks; None when the tasks are all there are.

    Attributes:
        outcomes: Final snapshots by run name.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: SlotLeases,
        listener: SchedulerListener,
        stop_requested: Callable[[], bool] = lambda: False,
        source: TaskSource | None = None,
    ) -> None:
        self._pending: list[Task] = []
        self._prior: dict[str, PriorState] = {}
        self._add(tasks)
        self._source = source
        self._slots = slots
        self._listener = listener
        self._stop_requested = stop_requested
        self._working: list[_Working] = []
        self._stops = 0
        self._grace_deadline: float | None = None
        self.outcomes: dict[str, RunSnapshot] = {}

    @property
    def stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stops > 0

    def request_stop(self) -> None:
        """Stop: asked once, running trainings end cleanly; asked again, at once."""
        self._stops += 1

    def run(self) -> dict[str, RunSnapshot]:
        """Work until every task has an outcome, or until asked to stop.

        Returns:
            The outcomes by run name; a run nobody can tell about stays `unknown`.
        """
        try:
            while self._step():
                with contextlib.suppress(OSError):  # a terminal that went away stops no training
                    self._listener.tick()
                self._wait()
            if self._source is not None:
                self._source.poll(now=True)  # what has ended last is accounted for, too
        finally:
            # Only after a fault of ours is anything left to end here.
            for working in list(self._working):
                working.run.training.kill()
                self._account(working)
            self._slots.clear_dead()
        return self.outcomes

    def _step(self) -> bool:
        """Do what there is to do now; returns whether anything is left to wait for."""
        self._collect()
        if not self.stopped and self._stop_requested():
            self.request_stop()
        if self.stopped:
            self._terminate()
            return bool(self._working)
        if self._source is not None:
            self._add(self._source.poll())
        self._start_ready()
        if self._working or (self._source is not None and not self._source.exhausted):
            return True
        snapshots = {task: self._snapshot(task) for task in self._pending}
        if any(snapshot.decision is not Decision.UNKNOWN for snapshot in snapshots.values()):
            return True
        for task, snapshot in snapshots.items():
            self._finish(task, snapshot, here=False)
        return False

    def _add(self, tasks: Sequence[Task]) -> None:
        """Take on tasks."""
        self._prior |= {task.folder.name: prior_state(task.folder) for task in tasks}
        self._pending = sorted([*self._pending, *tasks], key=_longest_first)

    def _snapshot(self, task: Task) -> RunSnapshot:
        return decide(task.folder, self._prior[task.folder.name])

    def _wait(self) -> None:
        """Sleep until a training ends, at most a tick."""
        watched = []
        try:
            if hasattr(os, "pidfd_open"):
                for working in self._working:
                    watched.append(os.pidfd_open(working.run.training.process.pid))  # noqa: PERF401
            select.select(watched, [], [], TICK_S)
        except OSError:
            time.sleep(TICK_S)
        finally:
            for descriptor in watched:
                os.close(descriptor)

    def _collect(self) -> None:
        """Account for the processes that ended; keep the leases of the others alive."""
        for working in list(self._working):
            training = working.run.training
            if training.ended:
                self._account(working)
                continue
            working.run.lease.beat_when_due()
            working.slot.beat_when_due()
            if not training.interrupted and working.task.folder.cancel_requested():
                training.interrupt()

    def _account(self, working: _Working) -> None:
        """Settle a run whose process ended and give back what it occupied."""
        self._working.remove(working)
        try:
            state = working.run.training.settle()
        except LockHeldError:
            self._pending.append(working.task)  # another process has it: its outcome is waited for
        except (AqrExpError, OSError) as error:
            snapshot = RunSnapshot(
                decision=Decision.FAILED, reason=str(error), attempt=working.run.attempt
            )
            self._finish(working.task, snapshot, here=True)
        else:
            decision = Decision.PRUNED if state.pruned else Decision(state.status.value)
            snapshot = RunSnapshot(decision=decision, reason=state.why, attempt=state.attempt)
            self._finish(working.task, snapshot, here=True)
        finally:
            working.run.lease.release()
            working.slot.release()

    def _start_ready(self) -> None:
        """Start due runs while there are slots; note what others have finished."""
        room: tuple[Slot, Lease] | None = None
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
                if self._create(task) and self._start(task, *room):
                    room = None
            self._request_more(room)
        finally:
            if room is not None:
                room[1].release()

    def _request_more(self, room: tuple[Slot, Lease] | None) -> None:
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
                free[1].release()

    def _acquire_slot(self) -> tuple[Slot, Lease] | None:
        """A slot nobody uses; none for now when claiming it fails (a full disk) while others work."""
        try:
            return self._slots.free()
        except OSError:
            if not self._working:
                raise
            return None

    def _create(self, task: Task) -> bool:
        """Make a run's folder when it is not there or empty; returns whether it is there now."""
        try:
            if task.create is not None and not task.folder.state_path.exists():
                task.create()
        except FileExistsError:
            return True  # another scheduler made it meanwhile: as good
        except (AqrExpError, OSError) as error:
            snapshot = RunSnapshot(decision=Decision.FAILED, reason=f"cannot be created: {error}")
            self._finish(task, snapshot, here=True)
            return False
        return True

    def _start(self, task: Task, slot: Slot, slot_lease: Lease) -> bool:
        """Start a run; returns whether the slot is in use now."""
        answer = start(task.folder, self._prior[task.folder.name], slot)
        if isinstance(answer, RunSnapshot):
            if answer.decision in FINAL:
                self._finish(task, answer, here=answer.decision is Decision.FAILED)
            return False
        # The slot is the process's own: should this scheduler be killed, it stays in use.
        slot_lease.hand_over(answer.training.process.pid)
        self._pending.remove(task)
        self._working.append(_Working(task=task, run=answer, slot=slot_lease))
        with contextlib.suppress(OSError):
            self._listener.started(task, slot, answer.attempt)
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
        """Make the trainings end: asked to, and killed when they do not or nobody wants to wait."""
        if self._grace_deadline is None:
            self._grace_deadline = time.monotonic() + GRACE_S
            for working in self._working:
                working.run.training.interrupt()
            with contextlib.suppress(OSError):
                self._listener.stopping(len(self._working))
        if self._stops > 1 or time.monotonic() > self._grace_deadline:
            for working in self._working:
                working.run.training.kill()


def _longest_first(task: Task) -> tuple[bool, bool, float]:
    """What tasks are sorted by; equal ones keep the order of the plan, replicate after replicate."""
    known = task.expected_s is not None
    return not task.first, known, -(task.expected_s or 0.0)
