"""Everything that can be checked of one run's files without computing anything anew."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from aqr_exp.errors import AqrExpError
from aqr_exp.results.artifacts import Artifact, check_sizes
from aqr_exp.results.checksum import read_checked_json
from aqr_exp.results.file_hashes import FileHashes
from aqr_exp.results.metrics_file import read_metrics_file
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.results.run_paths import HISTORY, METRICS, RECORD, SPEC, STATE
from aqr_exp.results.spec_file import check_spec
from aqr_exp.results.state import RunStatus


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """What a check of a run's files found.

    Attributes:
        faults: One line for each damaged file, which names it.
        unverified: Files without a checksum, which an older version wrote.
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
            words.append(f"no checksum of {', '.join(self.unverified)} (of an older version)")
        return "; ".join(words) or "every file fits its checksum"

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self) | {"intact": not self.faults}


def check_run(folder: RunFolder, hashes: FileHashes) -> Integrity:
    """Check the checksum of every file of a run that its numbers come from, and the checkpoints' sizes.

    Args:
        folder: The run's folder.
        hashes: Of the store it belongs to.
    """
    small: dict[str, Callable[[], bool]] = {
        SPEC: lambda: check_spec(folder.spec_path),
        RECORD: lambda: read_checked_json(folder.record_path).verified,
        STATE: lambda: folder.read_checked_state()[1],
    }
    completed = _is_completed(folder)
    if completed:
        small[METRICS] = lambda: read_metrics_file(folder.metrics_path).verified
    faults, unverified = [], []
    for name, verified in small.items():
        try:
            if not verified():
                unverified.append(name)
        except AqrExpError as error:
            faults.append(str(error))
    try:
        folder.read_history()
    except AqrExpError as error:
        faults.append(str(error))
    files = _files(folder) if completed else {}
    faults += [fault for name in files for fault in _faults(folder, name, files[name], hashes)]
    missing = [name for name in files if not (folder.path / name).exists()]
    return Integrity(
        faults=tuple(dict.fromkeys(faults)), unverified=tuple(unverified), missing=tuple(missing)
    )


def _is_completed(folder: RunFolder) -> bool:
    try:
        return folder.read_state().status is RunStatus.COMPLETED
    except AqrExpError:
        return folder.metrics_path.exists()


def _files(folder: RunFolder) -> dict[str, Artifact]:
    """What `metrics.json` says of the larger files; nothing when it is absent or damaged."""
    try:
        return read_metrics_file(folder.metrics_path).files
    except AqrExpError:
        return {}


def _faults(folder: RunFolder, name: str, file: Artifact, hashes: FileHashes) -> Iterator[str]:
    path = folder.path / name
    try:
        check_sizes(str(folder.path), {name: file.size_bytes})
        grown = name == HISTORY and path.stat().st_size > file.size_bytes
        checked_by_size = grown or path.parent == folder.checkpoints_dir
        if not checked_by_size and hashes.of(path) != file.sha256:
            yield f"{path} is damaged: it is not what it was when the run completed"
    except AqrExpError as error:
        yield str(error)
    except FileNotFoundError:
        return  # said to be missing
    except OSError as error:
        yield f"{path} cannot be read: {error.strerror}"
