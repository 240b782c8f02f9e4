"""A run's folder: the only code that reads and writes its files."""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import read_checked_json, read_json, replace_checked_json, replace_json
from aqr_exp.store.history import ATTEMPT, append_line, read_lines
from aqr_exp.store.lease import Lease, LeaseInfo, clear, hold, look
from aqr_exp.store.process_identity import Liveness
from aqr_exp.store.run_files import (
    RunPaths,
    measured,
    read_metrics_file,
    read_spec,
    write_metrics_file,
    write_spec,
)
from aqr_exp.store.status import IN_HAND, CancelRequest, RunState, RunStatus


def utc_now() -> str:
    """The time, ISO 8601 in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunFolder(RunPaths):
    """One run's folder: its files are read and written here and nowhere else.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._attempt: int | None = None

    def create(self, spec_yaml_text: str, record: Mapping[str, Any]) -> None:
        """Make the folder, complete and planned, in one step.

        Args:
            record: What is known about the run before it starts.

        Raises:
            FileExistsError: The folder is there already; it is not touched.
            OSError: It could not be written; nothing is left behind.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A hidden sibling that is renamed when complete: nobody ever sees half a run.
        draft = RunFolder(self.path.with_name(f".{self.name}.{secrets.token_hex(4)}.tmp"))
        try:
            draft.path.mkdir()
            below = (draft.predictions_dir, draft.checkpoints_dir, draft.logs_dir)
            for folder in (*below, draft.figures_dir):
                folder.mkdir()
            write_spec(draft.spec_path, spec_yaml_text)
            replace_checked_json(draft.record_path, record)
            draft.write_state(RunStatus.PLANNED, attempt=1)
            # Renaming onto a folder that holds anything fails; onto an empty one it succeeds.
            draft.path.rename(self.path)
        except OSError as error:
            shutil.rmtree(draft.path, ignore_errors=True)
            if self.path.exists():
                raise FileExistsError(f"{self.path} exists already") from error
            raise
        except BaseException:
            shutil.rmtree(draft.path, ignore_errors=True)
            raise

    def read_spec(self) -> dict[str, Any]:
        """The resolved configuration, unchecked.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return read_spec(self.spec_path)

    def read_record(self) -> dict[str, Any]:
        """Read the record that was written when the run was created.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return read_checked_json(self.record_path).value

    def read_state(self) -> RunState:
        """Read the stored state; `effective_status` says whether it is still true.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return self.read_checked_state()[0]

    def read_checked_state(self) -> tuple[RunState, bool]:
        """Read the state, and whether the file has a checksum.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        read = read_checked_json(self.state_path, RunState)
        return read.value, read.verified

    def write_state(
        self, status: RunStatus | str, *, reason: str | None = None, attempt: int | None = None
    ) -> None:
        """Replace the state.

        Args:
            reason: Why, when the run failed or was cancelled.
            attempt: Which start this is; None keeps the number.
        """
        if attempt is None:
            attempt = self.read_state().attempt if self.state_path.exists() else 1
        state = RunState(
            status=RunStatus(status), attempt=attempt, reason=reason, updated=utc_now()
        )
        replace_checked_json(self.state_path, msgspec.structs.asdict(state))
        self._attempt = attempt

    def is_queued(self, attempt: int) -> bool:
        """Whether this attempt waits for its training process.

        Raises:
            AqrExpError: The state file is missing or damaged.
        """
        state = self.read_state()
        return state.status is RunStatus.QUEUED and state.attempt == attempt

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replace the progress; `updated` (ISO 8601, UTC) is added when absent."""
        replace_checked_json(self.progress_path, {"updated": utc_now(), **progress})

    def read_progress(self) -> dict[str, Any] | None:
        """Read the progress of the process; None before its first report.

        Raises:
            AqrExpError: The file is damaged.
        """
        if not self.progress_path.exists():
            return None
        return read_checked_json(self.progress_path).value

    def clear_progress(self) -> None:
        """Forget where an earlier attempt was."""
        self.progress_path.unlink(missing_ok=True)

    def append_history(self, entry: Mapping[str, Any]) -> None:
        """Add one line of scalars, and the attempt; NaN and infinities are written as null."""
        if self._attempt is None:
            self._attempt = self.read_state().attempt
        append_line(self.history_path, {ATTEMPT: self._attempt, **entry})

    def read_history(self) -> list[dict[str, Any]]:
        """Every whole line of the history, in order; a torn one is left out.

        Raises:
            AqrExpError: The file is damaged.
        """
        return read_lines(self.history_path)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of record; call it last, before the state becomes completed.

        What the history and the files of detections are at this moment is written down beside
        them: whatever changes in these later is damage.
        """
        write_metrics_file(self.metrics_path, metrics, measured(self))

    def read_metrics(self) -> dict[str, Any]:
        """The metrics of record.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return read_metrics_file(self.metrics_path).metrics

    def request_cancel(self, reason: str, status: RunStatus = RunStatus.CANCELLED) -> None:
        """Ask the process that trains the run to stop; the next attempt forgets it.

        Args:
            status: The state it is to end in: cancelled or pruned.
        """
        # The random part tells two requests of one second apart.
        requested = f"{utc_now()} {secrets.token_hex(4)}"
        request = CancelRequest(reason=reason, requested=requested, status=status)
        replace_json(self.cancel_path, msgspec.structs.asdict(request))

    def cancel_request(self) -> CancelRequest | None:
        """The last request to stop; None without one."""
        if not self.cancel_path.exists():
            return None
        try:
            return read_json(self.cancel_path, CancelRequest)
        except AqrExpError:
            return CancelRequest(reason="cancelled", requested="damaged")

    def write_stopped(self) -> None:
        """Replace the state by the one that was requested; without a request it was interrupted."""
        asked = self.cancel_request()
        if asked is None:
            self.write_state(RunStatus.CANCELLED, reason="interrupted")
        else:
            self.write_state(asked.status, reason=asked.reason)

    def forget_cancel(self) -> None:
        """Forget that an earlier attempt was to stop."""
        self.cancel_path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(
        self,
        *,
        on_beat: Callable[[], None] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> Iterator[Lease]:
        """Hold the run while training; the training process wraps its whole life in it.

        Args:
            on_beat: Called with every heartbeat, in a thread of its own.
            on_loss: Called once, in that thread, when somebody took the run away.

        Yields:
            The lease.

        Raises:
            LockHeldError: Another process holds it; names that process.
        """
        with hold(self.lease_path, on_beat=on_beat, on_loss=on_loss) as lease:
            yield lease

    @contextlib.contextmanager
    def launch_lock(self) -> Iterator[Lease]:
        """Hold the right to start the run; the launching process keeps it until the child ended.

        Yields:
            The lease.

        Raises:
            LockHeldError: Another process holds it; names that process.
        """
        with hold(self.launch_lease_path) as lease:
            yield lease

    def lease_info(self) -> LeaseInfo | None:
        """The lease of the process that trains or launches the run, alive or unknown; None without one."""
        looks = (look(path) for path in (self.lease_path, self.launch_lease_path))
        held = [
            found for found in looks if found is not None and found.liveness is not Liveness.DEAD
        ]
        # One that lives says more than one that may not.
        return min(held, key=lambda found: found.liveness is Liveness.UNKNOWN, default=None)

    def owner(self) -> str | None:
        """The process that trains or launches the run, such as `process 12 on host`; None without one."""
        standing = self.lease_info()
        return str(standing) if standing else None

    def clear_dead_leases(self) -> None:
        """Remove what processes that are certainly dead hold of the run."""
        for path in (self.lease_path, self.launch_lease_path):
            clear(path)

    def effective_status(self, *, ours: bool = False) -> RunStatus:
        """The state's status as far as a living process is behind it.

        Args:
            ours: This process holds both leases: nobody else works on the run.

        Returns:
            Instead of running or queued interrupted when certainly no process works on it, and
            unknown when that cannot be found out.

        Raises:
            AqrExpError: The state file is missing or damaged.
        """
        status = self.read_state().status
        if status not in IN_HAND:
            return status
        standing = None if ours else self.lease_info()
        if standing is not None:
            return RunStatus.UNKNOWN if standing.liveness is Liveness.UNKNOWN else status
        # It may have ended between the two looks.
        status = self.read_state().status
        return RunStatus.INTERRUPTED if status in IN_HAND else status
