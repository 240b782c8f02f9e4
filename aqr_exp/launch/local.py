"""Ctrl-C, polite kills and closed terminals, as requests to stop."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.training import GRACE_S, Training, queue, training_command
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.process_identity import Life
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.state import RunState, RunStatus
from aqr_exp.store.store import Store

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at every signal that means stop, instead of ending where the program just is.

    Args:
        ask: What to call; a second signal calls it again.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        ask()

    # One that is ignored (a detached process's closed terminal) stays so.
    kept = {
        number: signal.signal(number, handle)
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, previous in kept.items():
            signal.signal(number, previous)


def detach(log: Path) -> int | None:
    """Continue as a process without a terminal; call it before threads or children exist.

    Args:
        log: Where that process's output goes, appended; its folder must exist.

    Returns:
        In the calling process the number of the one that goes on; in that one None.

    Raises:
        AqrExpError: That process could not start, for example because the log cannot be written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    middle = os.fork()
    if middle:
        os.close(writer)
        os.waitpid(middle, 0)
        with os.fdopen(reader, "rb") as pipe:
            number = pipe.read()
        if not number:
            raise AqrExpError(f"the detached process could not start (log: {log})")
        return int(number)
    # A session of its own has no terminal; its leader's child can never get one.
    os.setsid()
    last = os.fork()
    if last:
        os._exit(0)
    os.close(reader)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _redirect(log)
    os.write(writer, str(os.getpid()).encode())
    os.close(writer)
    return None


def _redirect(log: Path) -> None:
    """Read nothing, and write to the log."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


class Action(Enum):
    """What is to be done."""

    SHOW = "show"
    START = "start"
    RESTART = "restart"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The intended action.

    Attributes:
        action: What is to be done.
        folder: With which run.
        attempt: The number of the start.
        previous: How the earlier start ended; None when there was none.
    """

    action: Action
    folder: RunFolder
    attempt: int = 1
    previous: str | None = None


def plan_run(store: Store, name: str, *, force: bool) -> Plan:
    """Decide what asking for the run `name` leads to; changes nothing.

    Args:
        store: Where runs are kept.
        name: The run's name.
        force: Whether a rerun is wanted beside what is there.

    Returns:
        Show the run that counts; or start the last rerun again; or start afresh.

    Raises:
        LockHeldError: Somebody works on it; names the process.
        AqrExpError: Its state cannot be read.
    """
    folders = RunFolders(store)
    folder = folders.of(name)
    if name not in folders:
        return Plan(action=Action.START, folder=folder)
    if force:
        return Plan(action=Action.START, folder=store.folder(store.next_rerun(name)))
    if _status(folder) == RunStatus.COMPLETED.value:
        return Plan(action=Action.SHOW, folder=folder)
    return plan_restart(folder)


def plan_restart(folder: RunFolder) -> Plan:
    """Decide what becomes of a run that is there and has not completed.

    Raises:
        LockHeldError: Somebody works on it; names the process.
        AqrExpError: Its state cannot be read.
    """
    standing = folder.standing()
    if standing is not None:
        unknown = standing.life is Life.UNKNOWN
        hint = (
            f"; once you know it is dead: aqr-exp resume {folder.name} --steal" if unknown else ""
        )
        raise LockHeldError(f"{folder.name} is worked on by {standing}{hint}")
    attempt = folder.read_state().attempt
    status = _status(folder)
    if status == RunStatus.PLANNED.value:
        return Plan(action=Action.START, folder=folder, attempt=attempt)
    return Plan(action=Action.RESTART, folder=folder, attempt=attempt + 1, previous=status)


def _status(folder: RunFolder) -> str:
    try:
        return folder.effective_status()
    except AqrExpError as error:
        raise AqrExpError(f"{error} (--force starts the run anew beside it)") from None


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
