"""SHA-256 of the files of runs, computed anew only when a file changed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from aqr_exp.files.cache import Stamp, read_cache, settled, stamp, write_cache
from aqr_exp.store.collect import RunRow
from aqr_exp.store.run_files import sources
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

Known = dict[str, tuple[Stamp, str]]


class FileHashes:
    """Hashes of files, kept in the store's cache when the `with` block ends."""

    def __init__(self, store: Store) -> None:
        self._root = store.root
        self._path = store.hashes_path
        self._known: Known = read_cache(self._path, Known) or {}
        self._changed = False

    def __enter__(self) -> "FileHashes":
        """Nothing else than the object itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Keep what was computed; files that are gone are forgotten."""
        if self._changed:
            there = {name: hashed for name, hashed in self._known.items() if self._is_there(name)}
            write_cache(self._path, there)

    def _is_there(self, name: str) -> bool:
        return (self._root / name).exists()

    def of(self, path: Path) -> str:
        """The SHA-256 of a file of the store, in hex.

        Raises:
            OSError: It cannot be read.
        """
        from aqr_exp.files.atomic import file_sha256

        name = path.relative_to(self._root).as_posix()
        # Taken before the file is read: what changes meanwhile is read again the next time.
        found = stamp(str(path))
        known = self._known.get(name)
        if known is not None and known[0] == found:
            return known[1]
        sha256 = file_sha256(path)
        if settled([found]):
            self._known[name] = (found, sha256)
            self._changed = True
        return sha256


@dataclass(frozen=True, kw_only=True)
class TracedFile:
    """A file of a run.

    Attributes:
        path: Below the run's folder.
        size_bytes: Its size.
        sha256: In hex; None when the file cannot be read.
    """

    path: str
    size_bytes: int
    sha256: str | None


@dataclass(frozen=True, kw_only=True)
class RunTrace:
    """What one run gave to a table.

    Attributes:
        name: The run.
        folder: Its folder.
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
    """Trace the runs behind a table; files that did not change since they were last hashed are not read.

    Args:
        metrics: Names of the metrics that are shown.

    Returns:
        One for each row, in their order.
    """
    with FileHashes(store) as hashes:
        return [_trace(row, store.folder(row.name), metrics, hashes) for row in rows]


def _trace(row: RunRow, folder: RunFolder, metrics: Sequence[str], hashes: FileHashes) -> RunTrace:
    code = row.record.get("code")
    code = code if isinstance(code, dict) else {}
    revision = code.get("revision")
    small = (folder.spec_path, folder.record_path, folder.state_path, folder.metrics_path)
    return RunTrace(
        name=row.name,
        folder=str(folder.path),
        attempt=row.attempt,
        commit=revision if isinstance(revision, str) else None,
        modified=code.get("dirty") is True,
        files=tuple(
            _traced(folder, path, hashes) for path in (*small, *sources(folder)) if path.is_file()
        ),
        metrics=tuple(name for name in metrics if name in row.metrics),
    )


def _traced(folder: RunFolder, path: Path, hashes: FileHashes) -> TracedFile:
    try:
        sha256 = hashes.of(path)
        size_bytes = path.stat().st_size
    except OSError:
        sha256, size_bytes = None, 0
    name = path.relative_to(folder.path).as_posix()
    return TracedFile(path=name, size_bytes=size_bytes, sha256=sha256)
