"""A run's folder: every path in it, and the only code that reads and writes them."""

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.atomic import read_json, replace_json, replace_text
from aqr_exp.results.history import append_line, read_lines
from aqr_exp.results.lock import describe_holder, hold, is_held
from aqr_exp.results.state import RunState, RunStatus, state_from_json


def utc_now() -> str:
    """The time, ISO 8601 in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class RunFolder:
    """One run's folder. Nobody else joins paths below it.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        """The folder's path."""
        return f"RunFolder({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    @property
    def spec_path(self) -> Path:
        """The resolved configuration; never changed."""
        return self.path / "spec.yaml"

    @property
    def record_path(self) -> Path:
        """Identity, overrides, code revision, versions, hardware."""
        return self.path / "record.json"

    @property
    def state_path(self) -> Path:
        """Status, attempt and reason."""
        return self.path / "state.json"

    @property
    def progress_path(self) -> Path:
        """Where a running process is."""
        return self.path / "progress.json"

    @property
    def history_path(self) -> Path:
        """Scalars, one JSON object a line."""
        return self.path / "history.jsonl"

    @property
    def metrics_path(self) -> Path:
        """The metrics of record; written last, only by a completed run."""
        return self.path / "metrics.json"

    @property
    def predictions_dir(self) -> Path:
        """Detections in nuScenes' result format."""
        return self.path / "predictions"

    @property
    def checkpoints_dir(self) -> Path:
        """Weights and optimiser states."""
        return self.path / "checkpoints"

    @property
    def logs_dir(self) -> Path:
        """What the processes printed."""
        return self.path / "logs"

    @property
    def train_log_path(self) -> Path:
        """What the training process printed, all attempts."""
        return self.logs_dir / "train.log"

    @property
    def figures_dir(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def lock_path(self) -> Path:
        """Held by the training process for its lifetime."""
        return self.path / ".lock"

    @property
    def launch_lock_path(self) -> Path:
        """Held by the process that started the training process and waits for it."""
        return self.path / ".launch.lock"

    def create(self, spec_yaml_text: str, record: Mapping[str, Any]) -> None:
        """Make the folder, complete and planned, in one step.

        Args:
            spec_yaml_text: The resolved configuration.
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
            for folder in (
                draft.predictions_dir,
                draft.checkpoints_dir,
                draft.logs_dir,
                draft.figures_dir,
            ):
                folder.mkdir()
            replace_text(draft.spec_path, spec_yaml_text)
            replace_json(draft.record_path, record)
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
        import yaml

        try:
            value = yaml.safe_load(self.spec_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise AqrExpError(f"{self.spec_path} is missing") from None
        except OSError as error:
            raise AqrExpError(f"{self.spec_path} cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
            fault = " ".join(str(error).split())
            raise AqrExpError(f"{self.spec_path} is damaged: {fault}") from None
        if not isinstance(value, dict):
            kind = type(value).__name__
            raise AqrExpError(f"{self.spec_path} is damaged: holds a {kind}, not a mapping")
        return value

    def read_record(self) -> dict[str, Any]:
        """What was known when the run was made.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return read_json(self.record_path)

    def read_state(self) -> RunState:
        """What the run says it is doing (see `effective_status` for whether that is so).

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        value = read_json(self.state_path)
        try:
            return state_from_json(value)
        except ValueError as error:
            raise AqrExpError(f"{self.state_path} is damaged: {error}") from None

    def write_state(
        self, status: RunStatus | str, *, reason: str | None = None, attempt: int | None = None
    ) -> None:
        """Replace the state.

        Args:
            status: A `RunStatus` or its name.
            reason: Why, when the run failed or was cancelled.
            attempt: Which start this is; None keeps the number.
        """
        if attempt is None:
            attempt = self.read_state().attempt if self.state_path.exists() else 1
        state = RunState(
            status=RunStatus(status), attempt=attempt, reason=reason, updated=utc_now()
        )
        replace_json(self.state_path, state.as_json())

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replace the progress; `updated` (ISO 8601, UTC) is added when absent."""
        replace_json(self.progress_path, {"updated": utc_now(), **progress})

    def read_progress(self) -> dict[str, Any] | None:
        """Where the process is; None before it said so.

        Raises:
            AqrExpError: The file is damaged.
        """
        return read_json(self.progress_path) if self.progress_path.exists() else None

    def clear_progress(self) -> None:
        """Forget where an earlier attempt was."""
        self.progress_path.unlink(missing_ok=True)

    def append_history(self, entry: Mapping[str, Any]) -> None:
        """Add one line of scalars; NaN and infinities are written as null."""
        append_line(self.history_path, entry)

    def read_history(self) -> list[dict[str, Any]]:
        """Every whole line of the history, in order; a torn one is left out.

        Raises:
            AqrExpError: The file is damaged.
        """
        return read_lines(self.history_path)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics of record; call it last, before the state becomes completed."""
        replace_json(self.metrics_path, metrics)

    def read_metrics(self) -> dict[str, Any]:
        """The metrics of record.

        Raises:
            AqrExpError: The file is missing or damaged.
        """
        return read_json(self.metrics_path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run while training; the training process wraps its whole life in it.

        Raises:
            LockHeldError: Another process holds it; names that process.
        """
        with hold(self.lock_path):
            yield

    @contextlib.contextmanager
    def launch_lock(self) -> Iterator[None]:
        """Hold the right to start the run; the launching process keeps it until the child ended.

        Raises:
            LockHeldError: Another process holds it; names that process.
        """
        with hold(self.launch_lock_path):
            yield

    def holder(self) -> str | None:
        """Who trains or launches the run, such as `process 12 on host`; None when nobody does."""
        for path in (self.lock_path, self.launch_lock_path):
            if is_held(path):
                return describe_holder(path)
        return None

    def effective_status(self) -> str:
        """The state's status, or `interrupted` when it says running and nobody holds the lock.

        Raises:
            AqrExpError: The state file is missing or damaged.
        """
        status = self.read_state().status
        if status is not RunStatus.RUNNING or is_held(self.lock_path):
            return status.value
        # It may have ended between the two looks.
        status = self.read_state().status
        return "interrupted" if status is RunStatus.RUNNING else status.value
