"""Verification of a run: integrity of its files, recomputed metrics, and the trace of a number."""

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.files.reading import file_sha256
from aqr_exp.store.collect import UNVERIFIED, RunRow
from aqr_exp.store.history import stability_metrics
from aqr_exp.store.run_files import (
    METRICS,
    Artifact,
    EvaluationPaths,
    check_sizes,
    files_in,
    read_metrics_file,
    read_spec_text,
    sources,
)
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, file_hashes

Hash = Callable[[Path], str]
"""The SHA-256 of a file, in hex."""


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """Findings of a check of a run's files.

    Attributes:
        faults: One line for each damaged file, which names it.
        unverified: Files of an older version, which do not say of which run they are.
        missing: Files that were there when the run completed.
    """

    faults: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In one line, the worst first."""
        if self.faults:
            return "; ".join(self.faults)
        words = [f"{name} is missing" for name in self.missing]
        if self.unverified:
            names = ", ".join(self.unverified)
            words.append(f"{UNVERIFIED}: {names} (of an older version: they name no run)")
        return "; ".join(words) or "every file fits its checksum"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"intact": not self.faults}


def check_run(
    folder: RunFolder, sha256_of: Hash, history: Iterable[object] | None = None
) -> Integrity:
    """Check the checksum of every file of a run that its numbers come from, and the checkpoints' sizes.

    Args:
        history: The lines of its history, for a caller who looks at them on the way: it is read once.
    """
    small: dict[Path, Callable[[], bool]] = {
        folder.spec_path: lambda: read_spec_text(folder).verified,
        folder.record_path: lambda: folder.read_checked_record().verified,
        folder.state_path: lambda: folder.read_checked_state().verified,
    }
    if folder.cost_path.exists():
        small[folder.cost_path] = lambda: folder.read_json(folder.cost_path).verified
    files: dict[Path, Artifact] = {}
    for paths in (*([folder] if _is_completed(folder) else []), *_failures(folder)):
        small[paths.metrics_path] = lambda paths=paths: read_metrics_file(paths).verified  # type: ignore[misc]
        with contextlib.suppress(AqrExpError):
            found = read_metrics_file(paths).files
            files |= {paths.path / name: file for name, file in found.items()}
    faults, unverified = [], []
    for path, verified in small.items():
        try:
            if not verified():
                unverified.append(path.relative_to(folder.path).as_posix())
        except AqrExpError as error:
            faults.append(str(error))
    try:
        deque(folder.history_lines() if history is None else history, maxlen=0)
    except AqrExpError as error:
        faults.append(str(error))
    try:
        folder.read_sources()
    except AqrExpError as error:
        faults.append(str(error))
    faults += [fault for path in files for fault in _faults(folder, path, files[path], sha256_of)]
    missing = [path.relative_to(folder.path).as_posix() for path in files if not path.exists()]
    return Integrity(
        faults=tuple(dict.fromkeys(faults)), unverified=tuple(unverified), missing=tuple(missing)
    )


def _failures(folder: RunFolder) -> list[EvaluationPaths]:
    """The evaluations under sensor failures that are there."""
    found = sorted(folder.failures_dir.glob(f"*/{METRICS}"))
    return [folder.failure_paths(path.parent.name) for path in found]


def _is_completed(folder: RunFolder) -> bool:
    try:
        return folder.read_state().status is RunStatus.COMPLETED
    except AqrExpError:
        return folder.metrics_path.exists()


CHANGED = "is damaged: it is not what it was when the run completed"


def _faults(folder: RunFolder, path: Path, file: Artifact, sha256_of: Hash) -> Iterator[str]:
    try:
        check_sizes(str(path.parent), {path.name: file.size_bytes})
        grown = path == folder.history_path and path.stat().st_size > file.size_bytes
        checked_by_size = grown or path.parent == folder.checkpoints_dir
        if not checked_by_size and sha256_of(path) != file.sha256:
            yield f"{path} {CHANGED}"
    except AqrExpError as error:
        yield str(error)
    except FileNotFoundError:
        return  # said to be missing
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror}"


TOLERANCE = 1e-9
"""Both evaluators agree to so much."""


@dataclass(frozen=True, kw_only=True)
class RunProblem:
    """Something that does not hold in a completed run: a file, or a metric that is not what it was.

    Attributes:
        text: The problem in one line.
        metric: The metric it is about; None where it is about all of them.
    """

    text: str
    metric: str | None = None

    def __str__(self) -> str:
        return self.text


def verify_run(folder: RunFolder, *, data_root: Path | None = None) -> list[RunProblem]:
    """Recompute a completed run's metrics and compare them with `metrics.json`.

    From the match records without the data set, from the detections with its tables, and stability
    from the history; the hashes that `metrics.json` holds, of checkpoints too, are compared.

    Args:
        data_root: Where its data set is; None takes the place where the run found it.

    Returns:
        The problems, a missing data set among them; empty when everything agrees.
    """
    try:
        read = read_metrics_file(folder)
        data = _part(folder.read_record(), "data")
        folder.read_spec()
        folder.read_state()
    except AqrExpError as error:
        return [RunProblem(text=str(error))]
    problems: list[RunProblem] = []
    for part in (
        _changed_sources(folder),
        _changed_checkpoints(folder, read.files),
        _from_records(folder, read.metrics),
        _from_predictions(folder, read.metrics, data, data_root),
        _from_history(folder, read.metrics),
    ):
        try:
            problems += (
                each if isinstance(each, RunProblem) else RunProblem(text=each) for each in part
            )
        except (AqrExpError, OSError) as error:
            problems.append(RunProblem(text=str(error)))
    return problems


def _part(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = record.get(name)
    return part if isinstance(part, dict) else {}


Metrics = Mapping[str, Any]
Problems = Iterator[str | RunProblem]
"""The problems of a source; an exception of its reader ends them and is one too."""


def _from_records(folder: RunFolder, metrics: Metrics) -> Problems:
    from aqr_exp.evaluate.conditions import RunScorer
    from aqr_exp.evaluate.records import read_records

    path = folder.records_path
    if not path.exists() and "records_sha256" not in metrics:
        return  # of a version that kept none
    fault = _hash_fault(metrics, path, "records_sha256")
    if fault:
        yield fault
    else:
        found = RunScorer(read_records(path)).scores().metrics()
        yield from _differences(folder, metrics, found, path.name)


def scored_place(
    folder: RunFolder, metrics: Metrics, data: Mapping[str, Any], data_root: Path | None = None
) -> tuple[Path, Path, str, str]:
    """The result file that a run was scored on, and the root, version and split of its data.

    Raises:
        AqrExpError: They are not what they were.
    """
    name, version, split = folder.name, data.get("version"), metrics.get("split")
    root = data_root or data.get("root")
    if not (isinstance(split, str) and isinstance(version, str) and root):
        raise AqrExpError(f"{name}: it does not say which data set and split it was scored on")
    path = folder.predictions_path(split)
    missing = _data_fault(Path(root), data)
    faults = [
        _hash_fault(metrics, path, "predictions_sha256"),
        missing and f"{name}: {missing}: not recomputed from its predictions",
    ]
    if any(faults):
        raise AqrExpError("; ".join(filter(None, faults)))
    return path, Path(root), version, split


def _from_predictions(
    folder: RunFolder, metrics: Metrics, data: Mapping[str, Any], data_root: Path | None
) -> Problems:
    from aqr_exp.evaluate.evaluation import score_results

    place = scored_place(folder, metrics, data, data_root)
    yield from _differences(folder, metrics, score_results(*place), f"predictions/{place[0].name}")


def _from_history(folder: RunFolder, metrics: Metrics) -> Problems:
    found = stability_metrics(folder.read_history())
    # An older version did not have them.
    known = {name: value for name, value in found.items() if name in metrics}
    yield from _differences(folder, metrics, known, folder.history_path.name)


def _changed_checkpoints(folder: RunFolder, files: Mapping[str, Artifact]) -> Problems:
    """Checkpoints that are there and not what they were when the run completed."""
    for name, file in files.items():
        path = folder.path / name
        if path.parent != folder.checkpoints_dir or not path.exists():
            continue
        if file_sha256(path) != file.sha256:
            yield f"{path} {CHANGED}"


def _changed_sources(folder: RunFolder) -> Problems:
    folder.read_sources()
    yield from ()


def _hash_fault(metrics: Metrics, path: Path, key: str) -> str | None:
    """The difference from a file the metrics were computed from; None when no hash is known."""
    expected = metrics.get(key)
    try:
        found = file_sha256(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    if expected is None or found == expected:
        return None
    return f"{path} is damaged: its SHA-256 is not {key} of metrics.json"


def _data_fault(root: Path, data: Mapping[str, Any]) -> str | None:
    """The difference from the data set a run was scored on; None when there is none."""
    from aqr_exp.config.inputs import data_changes, identity_path, read_data_identity

    unprepared = data.get("fingerprint") == ""  # an imported run on raw tables
    needed = root / str(data.get("version")) if unprepared else identity_path(root)
    if not needed.exists():
        return f"the data set {root} is missing"
    if unprepared:
        return None
    try:
        identity = read_data_identity(root)
    except AqrExpError as error:
        return str(error)
    if identity["fingerprint"] != data.get("fingerprint"):
        return f"the data set {root} is {identity['fingerprint']}, not {data.get('fingerprint')}"
    changes = data_changes(root, identity)
    return f"the data set {root} changed: {changes[0]}" if changes else None


def _differences(
    folder: RunFolder, metrics: Metrics, found: Metrics, source: str
) -> Iterator[RunProblem]:
    """The metrics that are not what was recomputed."""
    for name, value in found.items():
        said = metrics.get(name)
        if not _equal(said, value):
            text = f"{name} is {said} in metrics.json, {value} from {source}"
            yield RunProblem(text=f"{folder.name}: {text}", metric=name)


def _equal(said: Any, found: Any) -> bool:
    if found is None or (isinstance(found, float) and not math.isfinite(found)):
        return said is None
    number = isinstance(said, (int, float)) and not isinstance(said, bool)
    return number and abs(said - float(found)) <= TOLERANCE


@dataclass(frozen=True, kw_only=True)
class TracedFile:
    """A file below a run's folder; its SHA-256 is None when it cannot be read."""

    path: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RunTrace:
    """One run's part in a table.

    Attributes:
        attempt: How often it was started.
        commit: The revision of the code; None for an installed package.
        modified: Whether the code differed from that revision.
        files: All files its numbers come from: what was asked for, what came out, what was kept.
        metrics: Names of its metrics that are shown.
    """

    name: str
    folder: str
    attempt: int
    commit: str | None
    modified: bool
    files: tuple[TracedFile, ...]
    metrics: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def trace_rows(rows: Sequence[RunRow], store: Store, metrics: Sequence[str] = ()) -> list[RunTrace]:
    """Trace the runs behind a table, one for each row; files are hashed again only when changed.

    Args:
        metrics: Names of the metrics that are shown.
    """
    with file_hashes(store) as sha256_of:
        return [_trace(row, store.folder(row.name), metrics, sha256_of) for row in rows]


def _trace(row: RunRow, folder: RunFolder, metrics: Sequence[str], sha256_of: Hash) -> RunTrace:
    code = _part(row.record, "code")
    revision = code.get("revision")
    small = (folder.spec_path, folder.record_path, folder.state_path, folder.metrics_path)
    return RunTrace(
        name=row.name,
        folder=str(folder.path),
        attempt=row.attempt,
        commit=revision if isinstance(revision, str) else None,
        modified=code.get("dirty") is True,
        files=tuple(
            _traced(folder, path, sha256_of)
            for path in (*small, *sources(folder), *files_in(folder.own_metrics_dir))
            if path.is_file()
        ),
        metrics=tuple(name for name in metrics if name in row.metrics),
    )


def _traced(folder: RunFolder, path: Path, sha256_of: Hash) -> TracedFile:
    try:
        sha256 = sha256_of(path)
        size_bytes = path.stat().st_size
    except OSError:
        sha256, size_bytes = None, 0
    name = path.relative_to(folder.path).as_posix()
    return TracedFile(path=name, size_bytes=size_bytes, sha256=sha256)
