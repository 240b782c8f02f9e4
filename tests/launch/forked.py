"""Trainings as forks of their launcher: real processes with leases, signals and ends, in milliseconds.

`forked.py ARGUMENT...` is `aqr-exp ARGUMENT...` with such trainings.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from aqr_exp.errors import STOPPING, interrupt
from aqr_exp.launch import scheduler, trial_source
from aqr_exp.launch.executor import LocalExecutor, LocalJob, training_arguments
from aqr_exp.launch.slots import Reservation
from aqr_exp.store.run_folder import RunFolder


class ForkedProcess:
    """A child of this process, with the part of `subprocess.Popen` that jobs use."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._returncode: int | None = None

    def poll(self) -> int | None:
        if self._returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._returncode = os.waitstatus_to_exitcode(status)
        return self._returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def submit(
    self: LocalExecutor, folder: RunFolder, attempt: int, reservation: Reservation | None
) -> LocalJob:
    """Take the place of `LocalExecutor.submit`; the stub is named by `STUB_MODULE`."""
    del self
    stub: Any = importlib.import_module(os.environ.get("STUB_MODULE", "stub_training"))
    slot = None if reservation is None else reservation.slot
    sys.stdout.flush()
    sys.stderr.flush()
    with folder.train_log_path.open("ab") as log:
        pid = os.fork()
        if not pid:
            end_as(stub, training_arguments(folder, attempt, slot and slot.threads), log.fileno())
    if reservation is not None:
        reservation.hand_over(pid)
    process: Any = ForkedProcess(pid)
    return LocalJob(folder, reservation, process)


def end_as(stub: Any, arguments: list[str], log: int) -> None:
    """Be the training from here to this process's end."""
    os.setsid()
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - ends with the process
    for number in STOPPING:
        signal.signal(number, interrupt)
    code = 1
    try:
        code = stub.main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


def be_quick(patch: Callable[[object, str, object], None]) -> None:
    """Fork trainings, and look often enough that no test waits for the next look."""
    patch(LocalExecutor, "submit", submit)
    patch(scheduler, "TICK_S", 0.02)
    patch(trial_source, "POLL_EVERY_S", 0.05)


def main() -> int:
    """Run the command line with forked trainings."""
    from aqr_exp.cli.main import main as command_line

    be_quick(setattr)
    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
