"""Executors: places where trainings run.

A launcher reserves room for a training, submits a queued attempt, polls the job and may stop it. Where the
training's process is, and how it is started and killed, is known to the executor alone.
"""

import os
import select
import signal
import subprocess
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

import msgspec

from aqr_exp.config.idea_files import search_environment
from aqr_exp.config.schema.run import Device, LauncherConfig
from aqr_exp.errors import (
    INTERRUPTED,
    OUT_OF_TIME,
    STOPPING,
    TIME_SIGNALS,
    AqrExpError,
    OutOfTimeError,
    RequestError,
    stop_reason,
)
from aqr_exp.launch.json_worker import exit_summary, open_log, python_module
from aqr_exp.launch.slots import Reservation, SlotLeases
from aqr_exp.store.run_files import LOG_BEGINS
from aqr_exp.store.run_folder import RunFolder, utc_now
from aqr_exp.train.__main__ import DEVICE_VARIABLE, LAUNCHER_VARIABLE
from aqr_exp.train.__main__ import main as train_main

# A JSON list of arguments to start instead of the training, for tests and benchmarks: what it starts
# gets the training's own arguments and goes through the same store, leases and launcher.
COMMAND_VARIABLE = "AQR_EXP_TRAIN_COMMAND"
# How long a training that was asked to stop may take to save its state before it is killed.
GRACE_S = 30.0


class Job(ABC):
    """A submitted training.

    Attributes:
        folder: The run's folder.
        stopped_by: The signal of the request that `stop` was called for, or one that means stop and
            that ended the training; None without.
    """

    def __init__(self, folder: RunFolder, reservation: Reservation | None) -> None:
        self.folder = folder
        self.stopped_by: int | None = None
        self._reservation = reservation
        self._kill_at: float | None = None

    def poll(self) -> str | None:
        """Look at the training; kills it when a stop is overdue.

        Returns:
            None while it may be working, also where that cannot be known now; else one line on how
            it ended.
        """
        if self._reservation is not None:
            self._reservation.beat_when_due()
        summary = self._summary()
        if summary is None and self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._kill()
        return summary

    def stop(self, number: int = signal.SIGINT, *, grace_s: float | None = None) -> None:
        """Ask the training to save its state and end; `poll` kills it after the grace.

        Called again, it can shorten the grace.

        Args:
            number: The signal that asks for it.
            grace_s: Seconds; `GRACE_S` when None.
        """
        deadline = time.monotonic() + (GRACE_S if grace_s is None else grace_s)
        self._kill_at = deadline if self._kill_at is None else min(deadline, self._kill_at)
        asked, self.stopped_by = self.stopped_by, stop_reason(self.stopped_by, number)
        if asked is None:
            self._interrupt(number)

    def release(self) -> None:
        """Give back what was reserved for it."""
        if self._reservation is not None:
            self._reservation.release()

    @abstractmethod
    def _summary(self) -> str | None:
        """One line on the training's end; None while it may be working."""

    @abstractmethod
    def _interrupt(self, number: int) -> None:
        """Tell the training to stop, as this signal does."""

    @abstractmethod
    def _kill(self) -> None:
        """End the training at once."""


class Executor(ABC):
    """A place where trainings run; their output reaches their runs' training logs.

    Args:
        slots: Slots of this machine, shared with other launchers; None for a run without a slot.
        device: The one that was asked for.

    Attributes:
        uses_terminal: Trainings read from and write to this terminal.
    """

    uses_terminal = False

    def __init__(self, slots: SlotLeases | None = None, device: Device = "auto") -> None:
        self._slots = slots
        self._asked = {} if device == "auto" else {DEVICE_VARIABLE: device}

    def reserve(self) -> Reservation | None:
        """Claim room for one more training; None while there is none.

        Raises:
            OSError: The room could not be claimed.
        """
        return self._slots.reserve() if self._slots is not None else None

    def occupied(self) -> str:
        """Who holds the room, in words."""
        return self._slots.occupied() if self._slots is not None else ""

    def close(self) -> None:
        """Give back room that dead launchers and trainings of this machine have left."""
        if self._slots is not None:
            self._slots.clear_dead()

    @abstractmethod
    def submit(self, folder: RunFolder, attempt: int, reservation: Reservation | None) -> Job:
        """Start a queued attempt of a run; the reservation is the job's from here.

        Args:
            reservation: Its room; None gives the training all there is.

        Raises:
            AqrExpError: The training cannot be started.
            OSError: The same; the reservation is still the caller's.
        """

    @abstractmethod
    def wait(self, jobs: Sequence[Job], timeout_s: float) -> None:
        """Sleep until a job may have ended, at most `timeout_s`."""


def training_arguments(folder: RunFolder, attempt: int, threads: int | None) -> list[str]:
    """Arguments of `python -m aqr_exp.train`.

    Args:
        attempt: A process that finds another attempt queued leaves the run alone.
        threads: Those of a run that does not say how many; None gives it every core.
    """
    limit = [] if threads is None else ["--threads", str(threads)]
    return [os.fspath(folder.path.absolute()), "--attempt", str(attempt), *limit]


def training_program() -> list[str]:
    """The training's program; `$AQR_EXP_TRAIN_COMMAND` replaces it.

    Raises:
        AqrExpError: The variable is no JSON list of texts.
    """
    replaced = os.environ.get(COMMAND_VARIABLE)
    if not replaced:
        return python_module("aqr_exp.train")
    program: list[str] = []
    with suppress(msgspec.DecodeError):
        program = msgspec.json.decode(replaced, type=list[str])
    if not program:
        raise AqrExpError(f"{COMMAND_VARIABLE}={replaced}: must be a JSON list of arguments")
    return program


class LocalExecutor(Executor):
    """Runs each training in a process of its own on this machine."""

    def submit(
        self, folder: RunFolder, attempt: int, reservation: Reservation | None
    ) -> "LocalJob":
        """Start a process; its slot stays in use until it ends, whatever becomes of this one."""
        slot = None if reservation is None else reservation.slot
        arguments = training_arguments(folder, attempt, None if slot is None else slot.threads)
        with open_log(folder.train_log_path) as log:
            log.write(_log_header(attempt))
            log.flush()
            process = subprocess.Popen(
                [*training_program(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its own session: Ctrl-C reaches it once, from here, and not also from the terminal.
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONUNBUFFERED": "1",
                    "PYTHONIOENCODING": "utf-8:backslashreplace",
                    LAUNCHER_VARIABLE: str(os.getpid()),
                    **self._asked,
                    **search_environment(),
                    **(slot.environment if slot else {}),
                },
            )
        if reservation is not None:
            reservation.hand_over(process.pid)
        return LocalJob(folder, reservation, process)

    def wait(self, jobs: Sequence[Job], timeout_s: float) -> None:
        """Sleep until a process ends, at most `timeout_s`."""
        watched: list[int] = []
        try:
            if hasattr(os, "pidfd_open"):
                local = [job for job in jobs if isinstance(job, LocalJob)]
                watched += map(os.pidfd_open, [job.pid for job in local])
            select.select(watched, [], [], timeout_s)
        except OSError:
            time.sleep(timeout_s)
        finally:
            for descriptor in watched:
                os.close(descriptor)


class LocalJob(Job):
    """A training process of this machine."""

    def __init__(
        self, folder: RunFolder, reservation: Reservation | None, process: subprocess.Popen[bytes]
    ) -> None:
        super().__init__(folder, reservation)
        self._process = process
        self.pid = process.pid

    def _summary(self) -> str | None:
        returncode = self._process.poll()
        if returncode is not None and -returncode in STOPPING:
            # It got the signal before it could handle any.
            self.stopped_by = stop_reason(self.stopped_by, -returncode)
        return None if returncode is None else exit_summary(returncode)

    def _interrupt(self, number: int) -> None:
        # A request to end may come of a closed terminal, whose signal the training may ignore.
        self._process.send_signal(number if number in TIME_SIGNALS else signal.SIGINT)

    def _kill(self) -> None:
        # With its loader workers, whose session it leads.
        os.killpg(self.pid, signal.SIGKILL)


class DebugExecutor(Executor):
    """Runs trainings in this process, one at a time: a breakpoint stops in this terminal."""

    uses_terminal = True

    _job: "DebugJob | None" = None

    def reserve(self) -> Reservation | None:
        """Claim a slot, unless a job of this executor has not ended yet."""
        return None if self._job and self._job.ended is None else super().reserve()

    def submit(
        self, folder: RunFolder, attempt: int, reservation: Reservation | None
    ) -> "DebugJob":
        """Prepare a training that runs when its job is first polled."""
        self._job = DebugJob(folder, reservation, attempt, self._asked)
        return self._job

    def wait(self, jobs: Sequence[Job], timeout_s: float) -> None:
        """Sleep where there is no job: polling runs one to its end."""
        if not jobs:
            time.sleep(timeout_s)


_SIGNALS = {INTERRUPTED: signal.SIGINT, OUT_OF_TIME: signal.SIGUSR1}
"""Signals that stand for exit codes of trainings that were stopped."""


class DebugJob(Job):
    """A training in this process; it ends within its first poll.

    Attributes:
        ended: One line on how; None before.
    """

    def __init__(
        self,
        folder: RunFolder,
        reservation: Reservation | None,
        attempt: int,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(folder, reservation)
        self._attempt = attempt
        self._environment = environment
        self.ended: str | None = None

    def _summary(self) -> str | None:
        if self.ended is None and self.stopped_by is None:
            # Said before it runs, for a launcher that an exception makes account for it.
            self.ended = "the training was left"
            returncode = self._run()
            self.ended = exit_summary(returncode)
            number = _SIGNALS.get(returncode)
            if number is not None and self.folder.cancel_request() is None:
                # The training had the handlers while it ran: the launcher is to hear of it, too.
                self.stopped_by = number
                signal.raise_signal(number)
        return self.ended

    def _run(self) -> int:
        slot = None if self._reservation is None else self._reservation.slot
        arguments = training_arguments(self.folder, self._attempt, slot.threads if slot else None)
        with (
            _process_state_kept(),
            TextIOWrapper(
                open_log(self.folder.train_log_path), encoding="utf-8", write_through=True
            ) as log,
            redirect_stdout(cast(TextIO, _Tee(sys.stdout, log))),
            redirect_stderr(cast(TextIO, _Tee(sys.stderr, log))),
        ):
            log.write(_log_header(self._attempt).decode())
            os.environ.update({**self._environment, **(slot.environment if slot else {})})
            try:
                return train_main(arguments)
            except KeyboardInterrupt as stopped:
                return OUT_OF_TIME if isinstance(stopped, OutOfTimeError) else INTERRUPTED
            except SystemExit as end:
                if isinstance(end.code, int):
                    return end.code
                sys.stderr.write(f"{end.code}\n")
                return 1
            except Exception:
                traceback.print_exc()
                return 1

    def _interrupt(self, number: int) -> None:
        del number
        self.ended = self.ended or "the training was stopped before it began"

    def _kill(self) -> None:
        """Nothing is left to end: `poll` returns when the training has."""


class _Tee:
    """A text stream that also writes to a log; in all else it is the stream, for debuggers."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        if not self._log.closed:  # a logger may keep this stream longer
            self._log.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _process_state_kept() -> Iterator[None]:
    """Give this process its environment and signal handlers back when the context ends."""
    environment = dict(os.environ)
    handlers = {number: signal.getsignal(number) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.clear()
        os.environ.update(environment)


def _log_header(attempt: int) -> bytes:
    return f"{LOG_BEGINS} {attempt}, {utc_now()}\n".encode()


def executor_for(launchers: Iterable[LauncherConfig], slots: SlotLeases | None = None) -> Executor:
    """The executor that runs are configured for; `debug` only when every one of them says so.

    Raises:
        RequestError: `launcher=debug` with another program in the training's place.
    """
    launchers = list(launchers)
    devices = {launcher.device for launcher in launchers}
    device = devices.pop() if len(devices) == 1 else "auto"
    if {launcher.name for launcher in launchers} != {"debug"}:
        return LocalExecutor(slots, device)
    if os.environ.get(COMMAND_VARIABLE):
        raise RequestError(
            f"launcher=debug trains in this process: unset {COMMAND_VARIABLE}, which names a program"
        )
    return DebugExecutor(slots, device)
