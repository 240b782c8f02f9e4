"""A run's training process on this machine: started, asked to stop, accounted for."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aqr_exp.errors import AqrExpError
from aqr_exp.store.run_folder import RunFolder, utc_now
from aqr_exp.store.state import RunState, RunStatus

# A JSON list of arguments to start instead of the training, for tests and benchmarks: what it starts
# gets the training's own arguments and goes through the same store, leases and launcher.
COMMAND_VARIABLE = "AQR_EXP_TRAIN_COMMAND"
# How long an interrupted process may take to put its state in order before it is killed.
GRACE_S = 30.0


def training_command(
    run_dir: Path, *, attempt: int | None = None, threads: int | None = None
) -> list[str]:
    """The command that trains the run of a folder.

    Args:
        run_dir: The run's folder.
        attempt: The attempt that is meant; a process that finds another one there leaves it alone.
        threads: The most threads it may use; None leaves it to the run.

    Returns:
        A list of arguments, never a shell string.

    Raises:
        AqrExpError: `$AQR_EXP_TRAIN_COMMAND` is no JSON list of texts.
    """
    command = [*_program(), os.fspath(run_dir.absolute())]
    if attempt is not None:
        command += ["--attempt", str(attempt)]
    if threads is not None:
        command += ["--threads", str(threads)]
    return command


def _program() -> list[str]:
    replaced = os.environ.get(COMMAND_VARIABLE)
    if not replaced:
        return [sys.executable, "-m", "aqr_exp.train"]
    try:
        program = json.loads(replaced)
    except ValueError:
        program = None
    if not isinstance(program, list) or not program or not all(isinstance(a, str) for a in program):
        raise AqrExpError(f"{COMMAND_VARIABLE}={replaced}: must be a JSON list of arguments")
    return program


def queue(folder: RunFolder, attempt: int) -> None:
    """Make an attempt the one that is to be trained; the caller holds both leases.

    So nobody trains the run at this moment: a process of an earlier attempt that has not begun yet
    finds this one in its place and leaves.

    Args:
        folder: The run's folder.
        attempt: The number of this start.
    """
    folder.clear_progress()
    folder.forget_cancel()
    folder.logs_dir.mkdir(exist_ok=True)
    folder.write_state(RunStatus.QUEUED, attempt=attempt)


class Training:
    """A training process of this launcher.

    Attributes:
        folder: The run's folder.
        process: The process; its output goes to the run's log.
        interrupted: Whether it was asked to stop.
    """

    def __init__(
        self,
        folder: RunFolder,
        command: Sequence[str],
        *,
        attempt: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it; `queue` came before.

        Args:
            folder: The run's folder.
            command: What to start.
            attempt: The number of this start, for the log.
            environment: Variables besides this process's own.

        Raises:
            OSError: It could not be started.
        """
        self.folder = folder
        self.interrupted = False
        with folder.train_log_path.open("ab") as log:
            log.write(f"=== attempt {attempt}, {utc_now()}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C reaches it once, from here, and not also from the terminal.
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            )

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def interrupt(self) -> None:
        """Ask the process to stop; it puts its state in order first."""
        self.interrupted = True
        if not self.ended:
            self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End the process at once."""
        if not self.ended:
            self.process.kill()

    def settle(self) -> RunState:
        """Make the state say how the process ended; call it when it has.

        Returns:
            Completed, failed or cancelled.

        Raises:
            LockHeldError: Another process trains the run; its state is left to it.
        """
        return settle(self.folder, self.process.wait(), interrupted=self.interrupted)


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
    # The process that ended held the lease or never got it: whoever holds it now is another one.
    with folder.lock():
        state = folder.read_state()
        if state.status is RunStatus.COMPLETED and folder.metrics_path.exists():
            return state
        asked = folder.cancel_requested()
        if interrupted or asked:
            folder.write_state(RunStatus.CANCELLED, reason=asked or "interrupted")
        elif state.status not in {RunStatus.FAILED, RunStatus.CANCELLED}:
            folder.write_state(RunStatus.FAILED, reason=ending(returncode))
        return folder.read_state()


def ending(returncode: int) -> str:
    """How a training process ended that left no result.

    Args:
        returncode: Its exit code; negative for the signal that killed it.
    """
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
