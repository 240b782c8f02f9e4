"""A run's folder: the only code that reads and writes its files."""

import hashlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.config import SOURCES
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import clear_litter, draft_of, replace_bytes, replace_json, replace_text
from aqr_exp.files.checksum import (
    Checked,
    Covers,
    elsewhere,
    replace_checked_json,
    with_checksum_line,
)
from aqr_exp.files.reading import read_content, read_json
from aqr_exp.store.history import ATTEMPT, append_line, lines_in, read_lines
from aqr_exp.store.lease import Lease, LeaseInfo, clear, hold, standing
from aqr_exp.store.looks import LOOKS, looks_at
from aqr_exp.store.process_identity import Liveness
from aqr_exp.store.run_files import (
    MOST_SOURCE_BYTES,
    RunPaths,
    check_no_link,
    files_in,
    read_metrics_file,
    read_spec_text,
    sources,
    write_metrics_file,
)
from aqr_exp.store.status import IN_HAND, CancelRequest, RunState, RunStatus


def utc_now() -> str:
    """The time, ISO 8601 in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunFolder(RunPaths):
    """One run's folder. Readers raise an `AqrExpError` for a file that is missing or damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._attempt: int | None = None

    def create(
        self,
        spec_yaml_text: str,
        record: Mapping[str, Any],
        sources: Mapping[str, bytes] | None = None,
    ) -> None:
        """Make the folder, complete and planned, in one step.

        Args:
            record: What is known about the run before it starts.
            sources: The files of its idea, by path below `sources`.

        Raises:
            FileExistsError: The folder is there already; it is not touched.
            OSError: It could not be written; nothing is left behind.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A hidden sibling that is renamed when complete: nobody ever sees half a run.
        clear_litter(self.path.parent)
        draft = RunFolder(draft_of(self.path))
        try:
            draft.path.mkdir()
            below = (draft.predictions_dir, draft.checkpoints_dir, draft.logs_dir)
            for folder in (*below, draft.figures_dir):
                folder.mkdir()
            for name, content in (sources or {}).items():
                path = draft.sources_dir / name
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_bytes(path, content)
            text = with_checksum_line(spec_yaml_text, self.place(self.spec_path))
            replace_text(draft.spec_path, text)
            replace_checked_json(draft.record_path, record, self.place(self.record_path))
            state = RunState(status=RunStatus.PLANNED, attempt=1, updated=utc_now())
            plain = msgspec.structs.asdict(state)
            replace_checked_json(draft.state_path, plain, self.place(self.state_path))
            # Renaming onto a folder that holds anything fails; onto an empty one it succeeds.
            draft.path.rename(self.path)
        except BaseException as error:
            shutil.rmtree(draft.path, ignore_errors=True)
            if isinstance(error, OSError) and self.path.exists():
                raise FileExistsError(f"{self.path} exists already") from error
            raise

    def read_spec(self) -> dict[str, Any]:
        """The resolved configuration, unchecked."""
        import yaml

        try:
            value = yaml.safe_load(read_spec_text(self).value.decode("utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            fault = " ".join(str(error).split())
            raise AqrExpError(f"{self.spec_path} is damaged: {fault}") from None
        if not isinstance(value, dict):
            fault = f"holds a {type(value).__name__}, not a mapping"
            raise AqrExpError(f"{self.spec_path} is damaged: {fault}")
        return value

    def read_record(self) -> dict[str, Any]:
        """The record that was written when the run was created."""
        return self.read_checked_record().value

    def read_checked_record(self) -> Checked[dict[str, Any]]:
        """The record, and what its checksum covers; an older one is known by the name it says."""
        read = self.read_json(self.record_path)
        name = read.value.get("name", self.name)
        if not read.verified and name != self.name:
            raise elsewhere(self.record_path, f"{name}/{self.record_path.name}")
        return read

    def read_sources(self) -> dict[str, bytes]:
        """The files of the run's idea by path, as they were when it was made; none of a shipped variant.

        Raises:
            AqrExpError: One is damaged or missing; names it.
        """
        listed = self.read_record().get(SOURCES)
        hashes = listed.get("files") if isinstance(listed, dict) else {}
        found: dict[str, bytes] = {}
        for name, digest in hashes.items() if isinstance(hashes, dict) else ():
            path = self.sources_dir / name
            if ".." in path.parts or not path.is_relative_to(self.sources_dir):
                raise AqrExpError(
                    f"{self.record_path} is damaged: {SOURCES} lie outside the folder"
                )
            for folder in (self.path / part for part in path.relative_to(self.path).parents):
                check_no_link(folder)
            found[name] = read_content(path, at_most=MOST_SOURCE_BYTES, follow=False)
            if hashlib.sha256(found[name]).hexdigest() != digest:
                raise AqrExpError(f"{path} is damaged: it is not what the run was made of")
        return found

    def read_state(self) -> RunState:
        """The stored state; `effective_status` says whether it is still true."""
        return self.read_checked_state().value

    def read_checked_state(self) -> Checked[RunState]:
        """The state, and what its checksum covers."""
        check_no_link(self.path)
        return self.read_json(self.state_path, RunState)

    def write_state(
        self, status: RunStatus | str, *, reason: str | None = None, attempt: int | None = None
    ) -> None:
        """Replace the state.

        Args:
            reason: Why, when the run failed or was cancelled.
            attempt: Which start this is; None keeps the number.
        """
        before = self._state_before(damaged_too=attempt is not None)
        if attempt is None:
            attempt = 1 if before is None else before.attempt
        status, failures = RunStatus(status), 0 if before is None else before.failures
        if status is RunStatus.FAILED:  # which is written again where more is known of it
            again = before is not None and (before.status, before.attempt) == (status, attempt)
            failures += not again
        state = RunState(
            status=status, attempt=attempt, reason=reason, updated=utc_now(), failures=failures
        )
        try:
            self.write_json(self.state_path, msgspec.structs.asdict(state))
        except OSError:
            # Where a run is matters less than how it ended: on a full disk it makes room for that.
            self.progress_path.unlink(missing_ok=True)
            self.write_json(self.state_path, msgspec.structs.asdict(state))
        self._attempt = attempt

    def _state_before(self, *, damaged_too: bool) -> RunState | None:
        """The state that is replaced; None without one, or where it cannot be read and need not be."""
        try:
            return self.read_state() if self.state_path.exists() else None
        except AqrExpError:
            if damaged_too:
                return None
            raise

    def is_queued(self, attempt: int) -> bool:
        """Whether this attempt waits for its training process."""
        state = self.read_state()
        return state.status is RunStatus.QUEUED and state.attempt == attempt

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replace the progress; `updated` (ISO 8601, UTC) is added when absent."""
        self.write_json(self.progress_path, {"updated": utc_now(), **progress})

    def read_progress(self) -> dict[str, Any] | None:
        """The progress of the process; None before its first report."""
        if not self.progress_path.exists():
            return None
        progress: dict[str, Any] = self.read_json(self.progress_path).value
        return progress

    def append_history(self, entry: Mapping[str, Any]) -> None:
        """Add one line of scalars, and the attempt; NaN and infinities are written as null."""
        if self._attempt is None:
            self._attempt = self.read_state().attempt
        append_line(self.history_path, {ATTEMPT: self._attempt, **entry}, self._history_place())

    def read_history(self) -> list[dict[str, Any]]:
        """Every whole line of the history, in order; a torn one is left out."""
        return read_lines(self.history_path, self._history_place())

    def _history_place(self) -> str | None:
        bound = self.covers() is Covers.PLACE
        return self.place(self.history_path) if bound else None

    def history_lines(self) -> Iterator[dict[str, Any]]:
        """The lines of `read_history`, one in memory at a time: a long training's history is large."""
        return lines_in(self.history_path, self._history_place())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of record; call it last, before the state becomes completed.

        What the history and the files of detections are at this moment is written down beside
        them: whatever changes in these later is damage. So are looks at the arm before this moment.
        """
        looks = looks_at(self.path.parent.parent, self.name)
        metrics = {**metrics, LOOKS: looks} if looks else metrics
        write_metrics_file(self, metrics, (*sources(self), *files_in(self.checkpoints_dir)))

    def read_metrics(self) -> dict[str, Any]:
        """The metrics of record."""
        return read_metrics_file(self).metrics

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
            return read_json(self.cancel_path, CancelRequest, follow=False)
        except AqrExpError:
            return CancelRequest(reason="cancelled", requested="damaged")

    def write_stopped(self, *, out_of_time: bool = False) -> RunStatus:
        """Replace the state by the one that was requested; returns it.

        Args:
            out_of_time: Its time was up: without a request it is interrupted, and not cancelled.
        """
        status, reason = RunStatus.CANCELLED, "interrupted"
        if asked := self.cancel_request():
            status, reason = asked.status, asked.reason
        elif out_of_time:
            status, reason = RunStatus.INTERRUPTED, "its time was up"
        self.write_state(status, reason=reason)
        return status

    def forget_attempt(self) -> None:
        """Forget where an earlier attempt was, and that it was to stop."""
        self.progress_path.unlink(missing_ok=True)
        self.cancel_path.unlink(missing_ok=True)

    def check_folders(self) -> None:
        """Refuse folders of the run that are none: through a link it would write, and delete, elsewhere.

        Raises:
            AqrExpError: Names the first.
        """
        below = (self.predictions_dir, self.checkpoints_dir, self.logs_dir, self.figures_dir)
        for folder in (self.path, *below, self.failures_dir):
            check_no_link(folder)

    def lock(
        self,
        *,
        on_beat: Callable[[], None] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> AbstractContextManager[Lease]:
        """Hold the run, as `hold` does; the training process wraps its whole life in it."""
        return hold(self.lease_path, on_beat=on_beat, on_loss=on_loss)

    def launch_lock(self) -> AbstractContextManager[Lease]:
        """Hold the right to start the run; the launching process keeps it until the child ended."""
        return hold(self.launch_lease_path)

    def lease_info(self) -> LeaseInfo | None:
        """The lease of the process that trains or launches the run, alive or unknown; None without one."""
        held = standing((self.lease_path, self.launch_lease_path))
        # One that lives says more than one that may not.
        return min(held, key=lambda found: found.liveness is Liveness.UNKNOWN, default=None)

    def owner(self) -> str | None:
        """The process that trains or launches the run, such as `process 12 on host`; None without one."""
        info = self.lease_info()
        return str(info) if info else None

    def clear_dead_leases(self) -> None:
        """Remove what processes that are certainly dead hold of the run."""
        for path in (self.lease_path, self.launch_lease_path, self.failures_lease_path):
            clear(path)

    def effective_status(self, *, ours: bool = False) -> RunStatus:
        """The state's status as far as a living process is behind it.

        Args:
            ours: This process holds both leases: nobody else works on the run.

        Returns:
            Instead of running or queued interrupted when certainly no process works on it, and
            unknown when that cannot be found out.
        """
        status = self.read_state().status
        if status not in IN_HAND:
            return status
        info = None if ours else self.lease_info()
        if info is not None:
            return RunStatus.UNKNOWN if info.liveness is Liveness.UNKNOWN else status
        # It may have ended between the two looks.
        status = self.read_state().status
        return RunStatus.INTERRUPTED if status in IN_HAND else status
