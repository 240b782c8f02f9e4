"""One run trained on this machine while its launcher waits: followed, interrupted, accounted for."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.training import GRACE_S, Training, queue, training_command
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.state import RunState, RunStatus

POLL_S = 0.2

ShowProgress = Callable[[dict[str, Any]], None]


def train(
    folder: RunFolder,
    show: ShowProgress,
    *,
    attempt: int = 1,
    command: Sequence[str] | None = None,
) -> RunState:
    """Train a run in its own process and wait for it; the caller holds the launch lease.

    Args:
        folder: The run's folder.
        show: Called with the run's progress whenever it changed.
        attempt: The number of this start.
        command: What to start; the real training by default.

    Returns:
        The state it ended in: completed, failed or cancelled (Ctrl-C, SIGTERM), never another.

    Raises:
        LockHeldError: A process that outlived its launcher trains the run; names it.
    """
    with folder.lock():
        state = folder.read_state()
        if state.status is RunStatus.COMPLETED and folder.metrics_path.exists():
            return state  # such a process has just finished it
        queue(folder, attempt)
    command = command or training_command(folder.path, attempt=attempt)
    with _sigterm_interrupts():
        training = Training(folder, command, attempt=attempt)
        try:
            _follow(training, show)
        except KeyboardInterrupt:
            _stop(training)
        except BaseException:
            _stop(training)
            raise
    return training.settle()


def _follow(training: Training, show: ShowProgress) -> None:
    """Report progress until the process ends."""
    last = None
    while True:
        try:
            training.process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return
        try:
            progress = training.folder.read_progress()
        except (AqrExpError, OSError):
            continue  # what cannot be shown does not stop a training
        if progress is not None and progress != last:
            last = progress
            show(progress)


def _stop(training: Training) -> None:
    """Ask the process to stop and wait; kill it when it does not, or when asked twice."""
    training.interrupt()
    try:
        training.process.wait(timeout=GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        training.kill()
        training.process.wait()


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let a polite kill of the launcher stop the training as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
