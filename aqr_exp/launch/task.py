"""What is to be done with a run of a sweep: start it, wait for who works on it, or nothing."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.slots import Slot
from aqr_exp.launch.training import Training, queue, training_command
from aqr_exp.store.lease import Lease, Standing, claim
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.state import INTERRUPTED, PRUNED, UNKNOWN, RunStatus


class Decision(str, Enum):
    """A launcher's decision about a run of its plan."""

    DUE = "due"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PRUNED = "pruned"


FINAL = frozenset({Decision.COMPLETED, Decision.FAILED, Decision.CANCELLED, Decision.PRUNED})
_ENDED_BADLY = frozenset({RunStatus.FAILED.value, RunStatus.CANCELLED.value, INTERRUPTED})


@dataclass(frozen=True, kw_only=True)
class PriorState:
    """State of a run when this launcher first saw it; failures older than that are retried.

    Attributes:
        attempts: Attempts that had ended, without a result.
        cancel: When the stop was asked for that it obeyed; None when nobody had.
    """

    attempts: int = 0
    cancel: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunSnapshot:
    """One look at a run.

    Attributes:
        decision: What it is to the launcher.
        reason: Why it failed, was cancelled or is unknown; who works on it.
        attempt: The number its next start has, or that of the last one.
    """

    decision: Decision
    reason: str | None = None
    attempt: int = 1


def prior_state(folder: RunFolder) -> PriorState:
    """What has happened to a run up to now."""
    try:
        if not folder.state_path.exists():
            return PriorState()
        attempt, status = folder.read_state().attempt, folder.effective_status()
    except (AqrExpError, OSError):
        return PriorState()
    ended = attempt if status in _ENDED_BADLY else attempt - 1
    return PriorState(attempts=ended, cancel=folder.cancel_time())


def decide(folder: RunFolder, prior: PriorState, *, ours: bool = False) -> RunSnapshot:
    """Decide what is to be done with a run.

    What failed, or was cancelled on request, before the launcher came is due again; what did so
    since then (under another launcher of the same plan) is an outcome. What was interrupted is due.

    Args:
        folder: The run's folder, which need not exist.
        prior: What had happened when the launcher came.
        ours: The launcher holds both of the run's leases: nobody else works on it.

    Returns:
        The decision; a damaged folder has failed.
    """
    try:
        if not folder.state_path.exists():
            if not (folder.path.exists() and any(folder.path.iterdir())):
                return RunSnapshot(decision=_DUE)
            # A folder arrives whole: another launcher may have made it between the two looks.
            if not folder.state_path.exists():
                return _damaged(f"{folder.state_path} is missing")
        status = folder.effective_status(ours=ours)
        state = folder.read_state()
        if status == RunStatus.COMPLETED.value:
            folder.read_metrics()
            return RunSnapshot(decision=Decision.COMPLETED)
        if status in {UNKNOWN, RunStatus.QUEUED.value, RunStatus.RUNNING.value}:
            decision = Decision.UNKNOWN if status == UNKNOWN else Decision.ELSEWHERE
            return RunSnapshot(
                decision=decision, reason=f"held by {folder.holder()}", attempt=state.attempt
            )
        if status == PRUNED:
            return RunSnapshot(decision=Decision.PRUNED, reason=state.why, attempt=state.attempt)
        cancel = folder.cancel_time()
    except (AqrExpError, OSError) as error:
        return _damaged(str(error))
    if status == RunStatus.FAILED.value and state.attempt > prior.attempts:
        return RunSnapshot(decision=Decision.FAILED, reason=state.reason, attempt=state.attempt)
    if status == RunStatus.CANCELLED.value and cancel not in {None, prior.cancel}:
        return RunSnapshot(decision=Decision.CANCELLED, reason=state.reason, attempt=state.attempt)
    started = status != RunStatus.PLANNED.value
    return RunSnapshot(decision=_DUE, attempt=state.attempt + 1 if started else state.attempt)


_DUE = Decision.DUE


def _damaged(fault: str) -> RunSnapshot:
    return RunSnapshot(decision=Decision.FAILED, reason=fault)


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run a scheduler has to see through.

    Attributes:
        folder: The run's folder.
        create: Makes the folder when it is not there; None when it must be.
        expected_s: How long it is expected to take, in seconds; None when nothing tells.
        first: Whether it starts before longer ones: others are judged by it while they run.
    """

    folder: RunFolder
    create: Callable[[], None] | None = None
    expected_s: float | None = None
    first: bool = False


class SchedulerListener(Protocol):
    """Whoever shows what a scheduler does."""

    def started(self, task: Task, slot: Slot, attempt: int) -> None:
        """A run was started here."""

    def ended(self, task: Task, snapshot: RunSnapshot, *, here: bool) -> None:
        """A run has an outcome; `here` when this scheduler executed it."""

    def stopping(self, running: int) -> None:
        """It was asked to stop, and so many trainings end their step now; told once."""

    def tick(self) -> None:
        """Time passes; called several times a second."""


class TaskSource(Protocol):
    """Whoever proposes tasks while a scheduler works.

    Attributes:
        exhausted: Whether it will never propose another.
    """

    exhausted: bool

    def poll(self, *, now: bool = False) -> Sequence[Task]:
        """Tasks that have come up since the last look; called several times a second."""

    def propose(self) -> Sequence[Task]:
        """Tasks for a slot that would stay free; none for now, or for ever when exhausted."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run whose process was started here.

    Attributes:
        training: The process.
        lease: The right to launch the run, to be released when the process has been accounted for.
        attempt: The number of the start.
    """

    training: Training
    lease: Lease
    attempt: int


def start(folder: RunFolder, prior: PriorState, slot: Slot) -> Started | RunSnapshot:
    """Start a run that looked due, if it still is once nobody else can start it.

    Args:
        folder: The run's folder; it exists.
        prior: What had happened to the run when this launcher came to it.
        slot: Where it runs.

    Returns:
        The started run; or what it is instead: somebody else's, finished meanwhile, or failed
        because it cannot be started.
    """
    kept: list[Lease] = []
    try:
        for path in (folder.launch_lease_path, folder.lease_path):
            answer = claim(path)
            if isinstance(answer, Standing):
                return RunSnapshot(decision=Decision.ELSEWHERE, reason=f"held by {answer}")
            kept.append(answer)
        # Decided while nobody trains: what a process that outlived its launcher did until now counts.
        snapshot = decide(folder, prior, ours=True)
        if snapshot.decision is not Decision.DUE:
            return snapshot
        queue(folder, snapshot.attempt)
        kept.pop().release()
        command = training_command(folder.path, attempt=snapshot.attempt, threads=slot.threads)
        training = Training(folder, command, attempt=snapshot.attempt, environment=slot.environment)
        return Started(training=training, lease=kept.pop(), attempt=snapshot.attempt)
    except (AqrExpError, OSError) as error:
        reason = f"cannot be started: {error}"
        with contextlib.suppress(AqrExpError, OSError):
            folder.write_state(RunStatus.FAILED, reason=reason)
        return RunSnapshot(decision=Decision.FAILED, reason=reason)
    finally:
        for lease in kept:
            lease.release()
