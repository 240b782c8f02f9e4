"""A run's training process on this machine: started, followed, interrupted, accounted for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.run_folder import RunFolder, utc_now
from aqr_exp.results.state import RunState, RunStatus

POLL_S = 0.2
# How long an interrupted process may take to put its state in order before it is killed.
GRACE_S = 30.0

ShowProgress = Callable[[dict[str, Any]], None]


def training_command(run_dir: Path) -> list[str]:
    """The command that trains the run of a folder."""
    return [sys.executable, "-m", "aqr_exp.train", os.fspath(run_dir.absolute())]


def train(
    folder: RunFolder,
    show: ShowProgress,
    *,
    attempt: int = 1,
    command: Sequence[str] | None = None,
) -> RunState:
    """Train a run in its own process and wait for it; the caller holds the launch lock.

    Args:
        folder: The run's folder.
        show: Called with the run's progress whenever it changed.
        attempt: The number of this start.
        command: What to start; the real training by default.

    Returns:
        The state it ended in: completed, failed or cancelled (Ctrl-C, SIGTERM), never another.
    """
    folder.clear_progress()
    folder.write_state(RunStatus.QUEUED, attempt=attempt)
    folder.logs_dir.mkdir(exist_ok=True)
    interrupted = False
    with folder.train_log_path.open("ab") as log, _sigterm_interrupts():
        log.write(f"=== attempt {attempt}, {utc_now()}\n".encode())
        log.flush()
        child = subprocess.Popen(
            list(command or training_command(folder.path)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own session: Ctrl-C reaches it once, from here, and not also from the terminal.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            _follow(child, folder, show)
        except KeyboardInterrupt:
            interrupted = True
            _interrupt(child)
        except BaseException:
            _interrupt(child)
            raise
    return settle(folder, child.returncode, interrupted=interrupted)


def _follow(child: subprocess.Popen[bytes], folder: RunFolder, show: ShowProgress) -> None:
    """Report progress until the process ends."""
    last = None
    while True:
        try:
            child.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return
        try:
            progress = folder.read_progress()
        except (AqrExpError, OSError):
            continue  # what cannot be shown does not stop a training
        if progress is not None and progress != last:
            last = progress
            show(progress)


def _interrupt(child: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop and wait; kill it when it does not, or when asked twice."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.wait(timeout=GRACE_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        child.wait()


def settle(folder: RunFolder, returncode: int, *, interrupted: bool) -> RunState:
    """Make the state say how a process that has ended did end.

    Args:
        folder: The run's folder.
        returncode: The process's exit code; negative for the signal that killed it.
        interrupted: Whether it was asked to stop.

    Returns:
        The state: completed, failed or cancelled.

    Raises:
        LockHeldError: Another process trains the run; its state is left to it.
    """
    # The process that ended held the lock or never got it: whoever holds it now is another one.
    with folder.lock():
        state = folder.read_state()
        if state.status is RunStatus.COMPLETED and folder.metrics_path.exists():
            return state
        if interrupted:
            folder.write_state(RunStatus.CANCELLED, reason="interrupted")
        elif state.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
            folder.write_state(RunStatus.FAILED, reason=_ending(returncode))
        return folder.read_state()


def _ending(returncode: int) -> str:
    if returncode >= 0:
        return f"the training process ended with exit code {returncode} and no result"
    name = signal.Signals(-returncode).name
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"the training process was killed by {name}{hint}"


def last_log_lines(folder: RunFolder, count: int = 15) -> list[str]:
    """The last lines of the training log, read from its end."""
    if not folder.train_log_path.exists():
        return []
    with folder.train_log_path.open("rb") as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 64 * 1024))
        text = log.read().decode("utf-8", errors="replace")
    return text.splitlines()[-count:]


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
