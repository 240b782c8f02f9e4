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
    Observer,
    Outlook,
    Past,
    Source,
    Started,
    Task,
    View,
    past_of,
    start,
    view_of,
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
        observer: Who is told.
        stop_asked: Whether somebody asked from outside that the sweep stops.
        source: Proposes further tasks; None when the tasks are all there are.

    Attributes:
        outcomes: Final views by run name.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        slots: SlotLeases,
        observer: Observer,
        stop_asked: Callable[[], bool] = lambda: False,
        source: Source | None = None,
    ) -> None:
        self._pending: list[Task] = []
        self._pasts: dict[str, Past] = {}
        self._add(tasks)
        self._source = source
        self._slots = slots
        self._observer = observer
        self._stop_asked = stop_asked
        self._working: list[_Working] = []
        self._stops = 0
        self._patience_ends: float | None = None
        self.outcomes: dict[str, View] = {}

    @property
    def stopped(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stops > 0

    def ask_to_stop(self) -> None:
        """Stop: asked once, running trainings end cleanly; asked again, at once."""
        self._stops += 1

    def run(self) -> dict[str, View]:
        """Work until every task has an outcome, or until asked to stop.

        Returns:
            The outcomes by run name; a run nobody can tell about stays `unknown`.
        """
        try:
            while self._step():
                with contextlib.suppress(OSError):  # a terminal that went away stops no training
                    self._observer.tick()
                self._wait()
            if self._source is not None:
                self._source.look(now=True)  # what has ended last is accounted for, too
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
        if not self.stopped and self._stop_asked():
            self.ask_to_stop()
        if self.stopped:
            self._press()
            return bool(self._working)
        if self._source is not None:
            self._add(self._source.look())
        self._fill()
        if self._working or (self._source is not None and not self._source.exhausted):
            return True
        views = {task: self._view(task) for task in self._pending}
        if any(view.outlook is not Outlook.UNKNOWN for view in views.values()):
            return True
        for task, view in views.items():
            self._finish(task, view, here=False)
        return False

    def _add(self, tasks: Sequence[Task]) -> None:
        """Take on tasks."""
        self._pasts |= {task.folder.name: past_of(task.folder) for task in tasks}
        self._pending = sorted([*self._pending, *tasks], key=_longest_first)

    def _view(self, task: Task) -> View:
        return view_of(task.folder, self._pasts[task.folder.name])

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
            view = View(outlook=Outlook.FAILED, reason=str(error), attempt=working.run.attempt)
            self._finish(working.task, view, here=True)
        else:
            outlook = Outlook.PRUNED if state.pruned else Outlook(state.status.value)
            view = View(outlook=outlook, reason=state.why, attempt=state.attempt)
            self._finish(working.task, view, here=True)
        finally:
            working.run.lease.release()
            working.slot.release()

    def _fill(self) -> None:
        """Start due runs while there are slots; note what others have finished."""
        room: tuple[Slot, Lease] | None = None
        try:
            for task in list(self._pending):
                view = self._view(task)
                if view.outlook in FINAL:
                    self._finish(task, view, here=False)
                if view.outlook is not Outlook.DUE:
                    continue
                room = room or self._room()
                if room is None:
                    # While the slots are busy there is time to make the next run's folder.
                    self._create(task)
                    return
                if self._create(task) and self._start(task, *room):
                    room = None
            self._propose(room)
        finally:
            if room is not None:
                room[1].release()

    def _propose(self, room: tuple[Slot, Lease] | None) -> None:
        """Have further tasks proposed when a slot would stay free; they start at the next step."""
        if self._source is None or self._source.exhausted:
            return
        free = room or self._room()
        if free is None:
            return
        try:
            self._add(self._source.more())
        finally:
            if room is None:
                free[1].release()

    def _room(self) -> tuple[Slot, Lease] | None:
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
            view = View(outlook=Outlook.FAILED, reason=f"cannot be created: {error}")
            self._finish(task, view, here=True)
            return False
        return True

    def _start(self, task: Task, slot: Slot, slot_lease: Lease) -> bool:
        """Start a run; returns whether the slot is in use now."""
        answer = start(task.folder, self._pasts[task.folder.name], slot)
        if isinstance(answer, View):
            if answer.outlook in FINAL:
                self._finish(task, answer, here=answer.outlook is Outlook.FAILED)
            return False
        # The slot is the process's own: should this scheduler be killed, it stays in use.
        slot_lease.hand_over(answer.training.process.pid)
        self._pending.remove(task)
        self._working.append(_Working(task=task, run=answer, slot=slot_lease))
        with contextlib.suppress(OSError):
            self._observer.started(task, slot, answer.attempt)
        return True

    def _finish(self, task: Task, view: View, *, here: bool) -> None:
        if task in self._pending:
            self._pending.remove(task)
        self.outcomes[task.folder.name] = view
        # A launcher that was killed while its training went on to the end left its lease here.
        task.folder.clear_dead_leases()
        with contextlib.suppress(OSError):
            self._observer.ended(task, view, here=here)

    def _press(self) -> None:
        """Make the trainings end: asked to, and killed when they do not or nobody wants to wait."""
        if self._patience_ends is None:
            self._patience_ends = time.monotonic() + GRACE_S
            for working in self._working:
                working.run.training.interrupt()
            with contextlib.suppress(OSError):
                self._observer.stopping(len(self._working))
        if self._stops > 1 or time.monotonic() > self._patience_ends:
            for working in self._working:
                working.run.training.kill()


def _longest_first(task: Task) -> tuple[bool, bool, float]:
    """What tasks are sorted by; equal ones keep the order of the plan, replicate after replicate."""
    known = task.expected_s is not None
    return not task.first, known, -(task.expected_s or 0.0)
