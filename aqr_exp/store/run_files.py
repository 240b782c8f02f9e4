"""Every path in a run's folder, and its specification, metrics and artifacts as files."""

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.errors import AqrExpError
from aqr_exp.files.checksum import (
    Checked,
    Covers,
    check_checksum_line,
    claimed_cover,
    read_checked_json,
    replace_checked_json,
)
from aqr_exp.files.reading import file_sha256, kind_of, read_content

STATE, RECORD, SPEC, METRICS = "state.json", "record.json", "spec.yaml", "metrics.json"
MOST_SOURCE_BYTES = 1 << 20
HISTORY, RECORDS = "history.jsonl", "records.npz"
LOG_BEGINS = "=== attempt"
"""The beginning of the line with which each attempt begins in a log."""
# A folder is a run's when it holds one of these.
IDENTIFYING = (STATE, RECORD, SPEC)


class Below:
    """A path below a folder, as an attribute of the class that describes the folder."""

    def __init__(self, *parts: str) -> None:
        self._parts = parts

    def __get__(self, owner: Any, kind: type) -> Path:
        """The path."""
        return Path(owner.path, *self._parts)


class EvaluationPaths:
    """Paths of the files of an evaluation of a run, below its folder, and their checksums.

    Args:
        run_path: The run's folder; None where it is the evaluation's own.
    """

    def __init__(self, path: Path, run_path: Path | None = None) -> None:
        self.path = Path(path)
        self.run_path = self.path if run_path is None else run_path
        self._covers: Covers | None = None

    def place(self, path: Path) -> str:
        """The names that a file's checksum binds it to: `<run>/<path in its folder>`."""
        return f"{self.run_path.name}/{path.relative_to(self.run_path).as_posix()}"

    def covers(self) -> Covers:
        """What the run's checksums cover, as its first files have it: a run keeps its form to the end."""
        if self._covers is None:
            found = []
            for name in (SPEC, RECORD):
                with contextlib.suppress(AqrExpError):  # said by whoever needs the file
                    found.append(claimed_cover(read_content(self.run_path / name, follow=False)))
            if not found:
                return Covers.PLACE
            self._covers = max(found)
        return self._covers

    def check_covers(self, path: Path, found: Covers) -> None:
        """Refuse a file whose checksum covers less than those of its run, or more."""
        wanted = self.covers()
        if found < wanted:
            what = "it lacks the checksum that the run's other files have"
            raise AqrExpError(f"{path} is damaged: {what}")
        if found is Covers.PLACE is not wanted:
            what = f"it has a checksum that {SPEC} and {RECORD} lack"
            raise AqrExpError(f"{path} is damaged: {what}")

    def write_json(self, path: Path, value: Mapping[str, Any]) -> None:
        """Replace a file, with a checksum of the run's form."""
        bound = self.covers() is Covers.PLACE
        replace_checked_json(path, value, self.place(path) if bound else None)

    def read_json(self, path: Path, kind: Any = dict[str, Any]) -> Checked[Any]:
        """Read what `write_json` wrote; refuse what is damaged or belongs to another run."""
        read = read_checked_json(path, self.place(path), kind)
        self.check_covers(path, read.covers)
        return read

    metrics_path = Below(METRICS)
    """The metrics; written last, and only when all else is there."""
    records_path = Below(RECORDS)
    """Matches of the detections, by sample: what any metric on any part of the data needs."""
    own_metrics_dir = Below("own_metrics")
    """Values of own metrics, one file each."""

    def predictions_path(self, split: str) -> Path:
        """The detections."""
        return self.path / f"{split}.json"


class RunPaths(EvaluationPaths):
    """Paths of the files of one run: its evaluation of record, and everything else."""

    def __repr__(self) -> str:
        """The folder's path."""
        return f"{type(self).__name__}({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The run's name."""
        return self.path.name

    spec_path = Below(SPEC)
    """The resolved configuration; never changed."""
    record_path = Below(RECORD)
    """Identity, overrides, code revision, versions, hardware."""
    state_path = Below(STATE)
    """Status, attempt and reason."""
    progress_path = Below("progress.json")
    """Where a running process is."""
    history_path = Below(HISTORY)
    """Scalars, one JSON object a line."""
    cost_path = Below("cost.json")
    """What a forward pass of its detector costs; there once `aqr-exp cost` has measured it."""
    predictions_dir = Below("predictions")
    """Detections in nuScenes' result format."""

    def predictions_path(self, split: str) -> Path:
        """The final weights' detections."""
        return self.predictions_dir / f"{split}.json"

    failures_dir = Below("failures")
    """Evaluations under sensor failures, one folder a case."""

    def failure_paths(self, case: str) -> EvaluationPaths:
        """The evaluation under one sensor failure, such as `beams@4`."""
        return EvaluationPaths(self.failures_dir / case, self.path)

    failures_lease_path = Below(".failures")
    """Held by the process that evaluates the run under sensor failures."""
    failures_log_path = Below("logs", "failures.log")
    """What the processes that evaluated under sensor failures printed."""
    sources_dir = Below("sources")
    """The files of its idea, as they were when the run was made; never imported from here."""
    checkpoints_dir = Below("checkpoints")
    """Weights and optimiser states."""
    logs_dir = Below("logs")
    """What the processes printed."""
    train_log_path = Below("logs", "train.log")
    """What the training process printed, all attempts."""
    figures_dir = Below("figures")
    """Pictures."""
    lease_path = Below(".lease")
    """Held by the training process for its lifetime."""
    launch_lease_path = Below(".launch")
    """Held by the process that started the training process and waits for it."""
    cancel_path = Below(".cancel.json")
    """There while somebody wants the run to stop."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True, rename={"size_bytes": "bytes"}):
    """A larger file of a run when it completed: its size, and the SHA-256 of its content in hex."""

    size_bytes: int
    sha256: str


def sources(folder: RunPaths) -> list[Path]:
    """The larger files that a run's numbers come from, those of them that there are."""
    single = [path for path in (folder.history_path, folder.records_path) if path.is_file()]
    return [*single, *files_in(folder.predictions_dir)]


def files_in(folder: Path) -> list[Path]:
    """Files of a folder, sorted, without those being written."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    found = (path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    return sorted(path for path in found if path.name[0] != ".")


def check_no_link(folder: Path) -> None:
    """Refuse what lies in the place of a folder of the store: a symbolic link above all.

    Raises:
        AqrExpError: It is no folder; names it and says what it is.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = folder.lstat().st_mode
        if not stat.S_ISDIR(mode):
            raise AqrExpError(f"{folder} is damaged: it is {kind_of(mode)}, not a folder")


def check_sizes(folder: str, sizes: Mapping[str, int]) -> None:
    """Refuse files that are not as long as they were.

    Args:
        sizes: Bytes by path in it; a file that was removed is no damage, nor are lines added to
            the history.

    Raises:
        AqrExpError: Names the first that differs, and both sizes.
    """
    for name, expected in sizes.items():
        try:
            found = os.stat(f"{folder}/{name}").st_size  # noqa: PTH116 - thirty thousand of these
        except OSError:
            continue
        grown = name == HISTORY and found > expected
        if found != expected and not grown:
            raise AqrExpError(
                f"{folder}/{name} is damaged: {found} bytes, {expected} when the run completed"
            )


FILES = "files"
"""The key beside the metrics: by path in the run's folder, `bytes` and `sha256`."""


@dataclass(frozen=True, kw_only=True)
class MetricsFile:
    """The content of `metrics.json`.

    Attributes:
        metrics: The metrics of record.
        files: The larger files by path in the run's folder; empty in a file of an older version.
        verified: Whether it is certainly of this run.
    """

    metrics: dict[str, Any]
    files: dict[str, Artifact]
    verified: bool

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of the larger files."""
        return {name: file.size_bytes for name, file in self.files.items()}


def write_metrics_file(
    folder: EvaluationPaths, metrics: Mapping[str, Any], files: Iterable[Path]
) -> None:
    """Replace an evaluation's metrics in one step, with what the larger files are at this moment.

    Raises:
        OSError: A file cannot be read, or writing failed; the old metrics are untouched.
    """
    listed = {
        path.relative_to(folder.path).as_posix(): Artifact(
            size_bytes=path.stat().st_size, sha256=file_sha256(path)
        )
        for path in files
    }
    folder.write_json(folder.metrics_path, {**metrics, FILES: msgspec.to_builtins(listed)})


def read_metrics_file(folder: EvaluationPaths) -> MetricsFile:
    """Read what `write_metrics_file` wrote.

    Raises:
        AqrExpError: It is missing, damaged, or belongs to another run.
    """
    path = folder.metrics_path
    read = folder.read_json(path)
    try:
        files = msgspec.convert(read.value.pop(FILES, {}), dict[str, Artifact])
    except msgspec.ValidationError:
        raise AqrExpError(f"{path} is damaged: {FILES} does not describe files") from None
    return MetricsFile(metrics=read.value, files=files, verified=read.verified)


def read_spec_text(folder: RunPaths) -> Checked[bytes]:
    """A specification as text: YAML, which is a hundred times as slow to read.

    Raises:
        AqrExpError: It is missing, empty, damaged, or belongs to another run.
    """
    path = folder.spec_path
    content = read_content(path, follow=False)
    covers = check_checksum_line(path, folder.place(path), content)
    folder.check_covers(path, covers)
    if covers is Covers.NOTHING and not content.strip():
        raise AqrExpError(f"{path} is damaged: it is empty")
    return Checked(value=content, covers=covers)
