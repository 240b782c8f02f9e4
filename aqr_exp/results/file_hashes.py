"""SHA-256 of the files of runs, computed anew only when a file changed."""

from pathlib import Path
from types import TracebackType

from aqr_exp.results.cache_file import read_cache, write_cache
from aqr_exp.results.stamp import Stamp, settled, stamp
from aqr_exp.results.store import Store

Known = dict[str, tuple[Stamp, str]]


class FileHashes:
    """Hashes of files, kept in the store's cache when the `with` block ends.

    Args:
        store: Whose files they are.
    """

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
        from aqr_exp.config.checkpoint_identity import file_sha256

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
