"""One attempt of a run: whether it is due, how it is queued and started, and how its end is recorded."""

import contextlib
from dataclasses import dataclass
from enum import Enum

from aqr_exp.errors import TIME_SIGNALS, AqrExpError, words_of
from aqr_exp.launch.executor import Executor, Job
from aqr_exp.launch.json_worker import last_lines
from aqr_exp.launch.slots import Reservation
from aqr_exp.store.collect import intact_row
from aqr_exp.store.lease import Lease, LeaseInfo, claim
from aqr_exp.store.process_identity import Liveness
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import ENDED_BADLY, IN_HAND, STOPPED, RunState, RunStatus


class Decision(str, Enum):
    """A launcher's decision on a run of its plan: start it, wait, or take its outcome."""

    DUE = "due"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PRUNED = "pruned"
    INTERRUPTED = "interrupted"


FINAL = frozenset({Decision.COMPLETED, Decision.FAILED, Decision.CANCELLED, Decision.PRUNED})


@dataclass(frozen=True, kw_only=True)
class PriorState:
    """State of a run when this launcher first saw it; failures older than that are retried.

    Attributes:
        attempts: Attempts that had ended without a result.
        cancel: Time of the request to stop that the last one obeyed; None without a request.
    """

    attempts: int = 0
    cancel: str | None = None


@dataclass(frozen=True)
class RunSnapshot:
    """One reading of a run's folder, and the decision that follows from it.

    Attributes:
        reason: Of a failure, a cancellation or an unknown owner; or the process that works on it.
        attempt: Number of the attempt that is due, or of the last one.
    """

    decision: Decision
    reason: str | None = None
    attempt: int = 1


def prior_state(folder: RunFolder) -> PriorState:
    """The state of a run at this moment."""
    try:
        if not folder.state_path.exists():
            return PriorState()
        attempt, status = folder.read_state().attempt, folder.effective_status()
    except (AqrExpError, OSError):
        return PriorState()
    ended = attempt if status in ENDED_BADLY else attempt - 1
    request = folder.cancel_request()
    return PriorState(attempts=ended, cancel=request.requested if request else None)


def decide(folder: RunFolder, prior: PriorState, *, ours: bool = False) -> RunSnapshot:
    """Decide how a launcher treats a run; a damaged folder has failed.

    A failure, or a cancellation on request, that is older than `prior` is due again; a later one (under
    another launcher of the same plan) is an outcome. An interrupted run is due.

    Args:
        folder: The run's folder, which need not exist.
        ours: The launcher holds both of the run's leases: no other process works on it.
    """
    try:
        if not folder.state_path.exists():
            if not (folder.path.exists() and any(folder.path.iterdir())):
                return RunSnapshot(Decision.DUE)
            # A folder arrives whole: another launcher may have made it between the two looks.
            if not folder.state_path.exists():
                return RunSnapshot(Decision.FAILED, f"{folder.state_path} is missing")
        intact_row(folder)
        status = folder.effective_status(ours=ours)
        state = folder.read_state()
        if status is RunStatus.COMPLETED:
            folder.read_metrics()
            return RunSnapshot(Decision.COMPLETED)
        if status in {RunStatus.UNKNOWN, *IN_HAND}:
            decision = Decision.UNKNOWN if status is RunStatus.UNKNOWN else Decision.ELSEWHERE
            return RunSnapshot(decision, f"held by {folder.owner()}", state.attempt)
        if status is RunStatus.PRUNED:
            return RunSnapshot(Decision.PRUNED, state.reason, state.attempt)
        request = folder.cancel_request()
    except (AqrExpError, OSError) as error:
        return RunSnapshot(Decision.FAILED, words_of(error))
    if status is RunStatus.FAILED and state.attempt > prior.attempts:
        return RunSnapshot(Decision.FAILED, state.reason, state.attempt)
    if status is RunStatus.CANCELLED and request and request.requested != prior.cancel:
        return RunSnapshot(Decision.CANCELLED, state.reason, state.attempt)
    started = status is not RunStatus.PLANNED
    return RunSnapshot(Decision.DUE, attempt=state.attempt + 1 if started else state.attempt)


def queue(folder: RunFolder, attempt: int) -> None:
    """Queue an attempt; the caller holds both leases, so no process trains the run at this moment.

    A process of an earlier attempt that has not begun yet finds this one in its place and leaves.
    """
    folder.check_folders()
    folder.forget_attempt()
    folder.logs_dir.mkdir(exist_ok=True)
    folder.write_state(RunStatus.QUEUED, attempt=attempt)


@dataclass(frozen=True, kw_only=True)
class Started:
    """An attempt that was started here.

    Attributes:
        lease: The right to launch the run, to be released when the job has been accounted for.
    """

    job: Job
    lease: Lease
    attempt: int


def start(
    folder: RunFolder, prior: PriorState, executor: Executor, reservation: Reservation
) -> Started | RunSnapshot:
    """Start a run that looked due, if it still is once no other launcher can start it.

    Args:
        folder: The run's folder; it exists.
        reservation: Its room, which stays the caller's unless the run was started.

    Returns:
        The started attempt; or the run as it is instead: in another process's hands, finished
        meanwhile, or failed because it cannot be started.
    """
    kept: list[Lease] = []
    try:
        for path in (folder.launch_lease_path, folder.lease_path):
            answer = claim(path)
            if isinstance(answer, LeaseInfo):
                unknown = answer.liveness is Liveness.UNKNOWN
                decision = Decision.UNKNOWN if unknown else Decision.ELSEWHERE
                return RunSnapshot(decision, f"held by {answer}")
            kept.append(answer)
        # Decided while no process trains: an attempt that outlived its launcher counts until now.
        snapshot = decide(folder, prior, ours=True)
        if snapshot.decision is not Decision.DUE:
            return snapshot
        queue(folder, snapshot.attempt)
        kept.pop().release()
        job = executor.submit(folder, snapshot.attempt, reservation)
        return Started(job=job, lease=kept.pop(), attempt=snapshot.attempt)
    except (AqrExpError, OSError) as error:
        reason = f"cannot be started: {words_of(error)}"
        with contextlib.suppress(AqrExpError, OSError):
            folder.write_state(RunStatus.FAILED, reason=reason)
        return RunSnapshot(Decision.FAILED, reason)
    finally:
        for lease in kept:
            lease.release()


def settle(folder: RunFolder, summary: str, *, stopped_by: int | None) -> RunState:
    """Record how an attempt ended whose job is over; returns a state in which no process is.

    Args:
        summary: The job's summary of its end, the reason of a run that recorded none itself.
        stopped_by: The signal by which the job was asked to stop; None when it was not.

    Raises:
        LockHeldError: Another process trains the run; its state is left to it.
    """
    # The attempt that ended held the lease or never got it: its owner now is another process.
    with folder.lock():
        state = folder.read_state()
        if state.status is RunStatus.COMPLETED and folder.metrics_path.exists():
            return state
        if stopped_by is not None or folder.cancel_request():
            # The training may have heard otherwise.
            out_of_time = stopped_by in TIME_SIGNALS and state.status is not RunStatus.CANCELLED
            folder.write_stopped(out_of_time=out_of_time)
        elif state.status not in {RunStatus.FAILED, RunStatus.INTERRUPTED, *STOPPED}:
            folder.write_state(RunStatus.FAILED, reason=summary)
        return folder.read_state()


def last_log_lines(folder: RunFolder, count: int = 15) -> list[str]:
    """The last lines of the training log; fails as `last_lines` does."""
    return last_lines(folder.train_log_path, count)
