"""One run started by hand: what asking for it leads to, and its training followed to the end."""

import contextlib
import functools
from dataclasses import dataclass

from aqr_exp.errors import AqrExpError, RunFailedError, refusal, stop_reason
from aqr_exp.files.progress import RunProgress
from aqr_exp.launch.attempt import queue, settle
from aqr_exp.launch.executor import Executor
from aqr_exp.launch.signals import stop_on_signals
from aqr_exp.store.collect import intact_row
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.process_identity import Liveness
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunState, RunStatus
from aqr_exp.store.store import Store


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The folder and attempt that a request for a run means.

    Attributes:
        attempt: Number of the attempt that is started; nothing is when the run is completed.
        previous: Status in which the run or its earlier attempt ended; None without one.
    """

    folder: RunFolder
    attempt: int = 1
    previous: RunStatus | None = None


def plan_run(store: Store, name: str, *, force: bool) -> Plan:
    """Decide how a request for the run `name` is answered; changes nothing.

    Args:
        force: Start a rerun in a folder beside those that exist.

    Returns:
        The completed run that counts; or the next attempt of the last rerun; or a new run.

    Raises:
        LockHeldError: A process works on it; names the process.
        AqrExpError: Its state cannot be read.
    """
    folders = RunFolders(store)
    folder = folders.of(name)
    if name not in folders:
        return Plan(folder=folder)
    if force:
        return Plan(folder=store.folder(store.next_rerun(name)))
    if _status(folder) is RunStatus.COMPLETED:
        return Plan(folder=folder, previous=RunStatus.COMPLETED)
    standing = folder.lease_info()
    if standing is not None:
        unknown = standing.liveness is Liveness.UNKNOWN
        hint = (
            f"; once you know it is dead: aqr-exp resume {folder.name} --steal" if unknown else ""
        )
        raise LockHeldError(f"{folder.name} is worked on by {standing}{hint}")
    attempt = folder.read_state().attempt
    status = _status(folder)
    if status is RunStatus.PLANNED:
        return Plan(folder=folder, attempt=attempt)
    return Plan(folder=folder, attempt=attempt + 1, previous=status)


def _status(folder: RunFolder) -> RunStatus:
    try:
        return intact_row(folder).status
    except AqrExpError as error:
        raise AqrExpError(f"{error} (--force starts the run anew beside it)") from None


POLL_S = 0.2


def train(
    folder: RunFolder, executor: Executor, show: RunProgress, *, attempt: int = 1
) -> RunState:
    """Train a run and wait for its end; the caller holds the launch lease.

    A signal that means stop stops the training; the second one at once.

    Args:
        show: Called with the run's progress whenever it changed.

    Returns:
        The final state: completed, failed, cancelled or interrupted.

    Raises:
        LockHeldError: A process that outlived its launcher trains the run; names it.
        RunFailedError: The training has ended, and how could not be written.
    """
    with folder.lock():
        state = folder.read_state()
        if state.status is RunStatus.COMPLETED and folder.metrics_path.exists():
            return state  # such a process has just finished it
        queue(folder, attempt)
    stops: list[int] = []

    with stop_on_signals(stops.append):
        job = executor.submit(folder, attempt, None)
        last = None
        try:
            while (summary := job.poll()) is None:
                if stops:
                    job.stop(
                        functools.reduce(stop_reason, stops), grace_s=None if len(stops) == 1 else 0
                    )
                executor.wait([job], POLL_S)
                with contextlib.suppress(AqrExpError):  # unreadable progress stops no training
                    progress = folder.read_progress()
                    if progress is not None and progress != last:
                        last = progress
                        show(progress)
        except BaseException:
            job.stop()
            while job.poll() is None:
                executor.wait([job], POLL_S)
            raise
    try:
        return settle(folder, summary, stopped_by=job.stopped_by)
    except OSError as error:
        raise RunFailedError(f"{folder.name}: {summary}; {refusal(error)}") from error
