"""All runs of a results folder: found by name, tolerant of whatever else lies there."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.cache import Stamp, cache_of, read_cache, settled, stamp, write_cache
from aqr_exp.files.reading import file_sha256, read_json
from aqr_exp.files.run_name import RunName
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.files.text import typed_path
from aqr_exp.store.run_files import IDENTIFYING
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.sweep_folder import SweepFolder


def results_root() -> Path:
    """The results folder: `$AQR_EXP_RESULTS`, or `results` below the current folder.

    Raises:
        RequestError: A file is in its place, or in that of a folder above it.
    """
    typed = os.environ.get("AQR_EXP_RESULTS") or "results"
    root = typed_path(typed, "AQR_EXP_RESULTS")
    there = next(path for path in (root, *root.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise RequestError(Fault("AQR_EXP_RESULTS", typed, f"{there} is not a folder"))
    return root


def _folder_names(folder: Path, *, links: bool) -> list[str]:
    """The names of the folders in a folder, sorted; whatever else lies there is passed over."""
    try:
        with os.scandir(folder) as entries:
            return sorted(
                item.name
                for item in entries
                if item.name[0] != "."
                and (item.is_dir(follow_symlinks=False) or (links and item.is_symlink()))
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


class Store:
    """The runs below one results folder. The folders are the truth; what is cached may be deleted.

    Attributes:
        root: The results folder; it need not exist.
        runs_dir: Holds one folder a run.
        sweeps_dir: Holds one folder a sweep.
        same_code_dir: Answers of `aqr-exp same`, one file for each pair of arms and their code.
        slots_dir: The folder in which launchers claim the GPUs and cores of each machine.
        cache_dir: Holds what can be computed from the runs again, among this user's own files; it may be
            deleted at any moment.
        index_path: Caches what the runs' small files hold.
        hashes_path: Caches the SHA-256 of the runs' files.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.runs_dir, self.sweeps_dir = self.root / "runs", self.root / "sweeps"
        self.same_code_dir = self.root / "same"
        self.slots_dir, self.cache_dir = self.root / ".slots", cache_of(self.root)
        self.index_path = self.cache_dir / "runs.msgpack"
        self.hashes_path = self.cache_dir / "hashes.msgpack"

    def same_code(self) -> set[str]:
        """The pairs of code that gave the same bits, as `code_pair` names them."""
        found = set()
        for path in self.same_code_dir.glob("*.json"):
            with contextlib.suppress(AqrExpError):
                if read_json(path, follow=False).get("same") is True:
                    found.add(path.stem)
        return found

    def sweep(self, name: str) -> SweepFolder:
        """The folder a sweep of this name has or would have."""
        return SweepFolder(self.sweeps_dir / name)

    def sweep_names(self) -> list[str]:
        """The sweeps that were ever started, sorted."""
        names = _folder_names(self.sweeps_dir, links=False)
        return [name for name in names if os.path.lexists(self.sweep(name).plan_path)]

    def folder(self, name: str) -> RunFolder:
        """The folder a run of this name has or would have."""
        return RunFolder(self.runs_dir / name)

    def names(self) -> list[str]:
        """The runs' names, sorted. A folder is a run when it holds one of a run's files."""
        return [name for name in self.folder_names() if self._holds_run(f"{self.runs_dir}/{name}")]

    def _holds_run(self, folder: str) -> bool:
        found = any(os.path.lexists(f"{folder}/{file}") for file in IDENTIFYING)
        return found or os.path.islink(folder) or not os.access(folder, os.X_OK)  # noqa: PTH114

    def folder_names(self) -> list[str]:
        """The names of all folders among the runs, and of links, which are none; drafts are left out."""
        return _folder_names(self.runs_dir, links=True)

    def __iter__(self) -> Iterator[RunFolder]:
        """The runs in the order of their names."""
        return (self.folder(name) for name in self.names())

    def find(self, name: str) -> RunFolder:
        """A run by its name or by the beginning of it, when only one begins so.

        Raises:
            RequestError: No run, or several, begin so; names the nearest.
        """
        names = self.names()
        found = self._begun(name, names)
        if found is not None:
            return found
        if not names:
            raise RequestError(f"unknown run '{name}': there are no runs in {self.runs_dir}")
        raise RequestError(f"unknown run '{name}'{did_you_mean(name, names)} (see `aqr-exp list`)")

    def find_run_or_sweep(self, name: str) -> RunFolder | SweepFolder:
        """A sweep by its name, or a run; refuses as `find` does."""
        sweeps, names = self.sweep_names(), self.names()
        if name in sweeps:
            return self.sweep(name)
        found = self._begun(name, names)
        if found is not None:
            return found
        hint = f"{did_you_mean(name, [*sweeps, *names])} (see `aqr-exp list` and `aqr-exp watch`)"
        if not names and not sweeps:
            hint = f": nothing was started in {self.root} yet"
        raise RequestError(f"unknown run or sweep '{name}'{hint}")

    def _begun(self, name: str, names: list[str]) -> RunFolder | None:
        """The run of this name, or the only one that begins so."""
        if name in names:
            return self.folder(name)
        matches = [candidate for candidate in names if name and candidate.startswith(name)]
        if len(matches) == 1:
            return self.folder(matches[0])
        if matches:
            several = ", ".join(matches[:5]) + (", ..." if len(matches) > 5 else "")
            raise RequestError(f"'{name}' begins the names of {len(matches)} runs: {several}")
        return None

    def reruns(self, name: str) -> list[RunFolder]:
        """The run of this name and its reruns (`-a2`, `-a3`, ...), by number."""
        names = (RunName.parse(candidate) for candidate in self.names())
        return [self.folder(str(one)) for one in sorted(n for n in names if n and n.first == name)]

    def next_rerun(self, name: str) -> str:
        """The name of the next rerun beside those that are there."""
        last = RunName.parse(([name] + [folder.name for folder in self.reruns(name)])[-1])
        if last is None:
            raise ValueError(f"{name!r} is not the name of a run")
        return str(replace(last, rerun=last.rerun + 1))


Known = dict[str, tuple[Stamp, str]]


@contextlib.contextmanager
def file_hashes(store: Store) -> Iterator[Callable[[Path], str]]:
    """Hash files; what was computed is kept in the store's cache when the `with` block ends.

    Yields:
        The SHA-256 of a file of the store, in hex; fails as `file_sha256` does.
    """
    known: Known = read_cache(store.hashes_path, Known) or {}
    computed: Known = {}

    def sha256_of(path: Path) -> str:
        name = path.relative_to(store.root).as_posix()
        # Taken before the file is read: what changes meanwhile is read again the next time.
        found = stamp(str(path))
        if name in known and known[name][0] == found:
            return known[name][1]
        sha256 = file_sha256(path)
        if settled([found]):
            known[name] = computed[name] = (found, sha256)
        return sha256

    try:
        yield sha256_of
    finally:
        if computed:  # files that are gone are forgotten
            there = {name: it for name, it in known.items() if (store.root / name).exists()}
            write_cache(store.hashes_path, there)
