"""Runs in one archive: written from a results folder, and read into another whole or not at all."""

import hashlib
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import msgspec

from aqr_exp.errors import AqrExpError, RequestError, shown
from aqr_exp.files.atomic import clear_litter, draft_of, replacing
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import file_sha256, open_regular
from aqr_exp.store.collect import intact_row
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND
from aqr_exp.store.store import Store

MANIFEST = "aqr-exp-runs.json"
_MOST_MANIFEST_BYTES = 64 << 20
_CHUNK, _LITTLE = 1 << 20, 4096
_NO_TIME = (1980, 1, 1, 0, 0, 0)
"""Equal runs give equal archives, whenever they are written."""
_SLOW_BYTES = 16 << 20
"""Larger files are packed less tightly, and ten times as fast."""
_NAME = r"^[A-Za-z0-9_][^/\\\x00-\x1f\x7f]*\Z"
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)

Name = Annotated[str, msgspec.Meta(pattern=_NAME, max_length=200)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of an archive.

    Attributes:
        runs: By run, the SHA-256 of each of its files by its path in the run's folder.
        sweeps: The SHA-256 of each sweep's plan.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    runs: dict[Name, dict[str, Digest]]
    sweeps: dict[Name, Digest] = {}

    def __post_init__(self) -> None:
        for files in self.runs.values():
            for name in files:
                _check_path(name)
                if within := {str(each) for each in PurePosixPath(name).parents} & files.keys():
                    raise ValueError(f"{within.pop()!r} is a file and a folder")


def _check_path(name: str) -> None:
    parts = PurePosixPath(name).parts
    hidden = any(part.startswith(".") for part in parts)
    odd = re.search(r"[\\\x00-\x1f\ud800-\udfff]", name)
    if hidden or odd or not parts or "/".join(parts) != name:
        raise ValueError(f"{name!r} is no path in a run's folder")


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of runs; False where it cannot be read."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as packed:
            return MANIFEST in packed.namelist()
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def write_archive(
    store: Store,
    runs: Sequence[str],
    sweeps: Sequence[str],
    path: Path,
    *,
    weights: bool = False,
    progress: Progress = no_progress,
) -> None:
    """Write runs and the plans of sweeps into one file, in one step.

    Args:
        weights: Whether checkpoints go with them.

    Raises:
        RequestError: A process works on a run.
        AqrExpError: A run is damaged; names it.
    """
    listed: dict[str, dict[str, str]] = {}
    with replacing(path) as file, zipfile.ZipFile(file, "w") as packed:
        for done, name in enumerate(runs, start=1):
            folder = store.folder(name)
            if intact_row(folder).status in IN_HAND:
                raise RequestError(
                    f"{name}: {folder.owner()} works on it: export it when it has ended"
                )
            listed[name] = {
                inside: _add(packed, f"runs/{name}/{inside}", folder.path / inside)
                for inside in _files(folder, weights=weights)
            }
            progress(done, len(runs))
        plans = {
            name: _add(packed, f"sweeps/{name}.json", store.sweep(name).plan_path)
            for name in sweeps
        }
        text = msgspec.json.encode(Manifest(runs=listed, sweeps=plans))
        packed.writestr(zipfile.ZipInfo(MANIFEST, _NO_TIME), text, zipfile.ZIP_LZMA)


def _files(folder: RunFolder, *, weights: bool) -> list[str]:
    """Paths of the files of a run, without leases and, unless asked for, without checkpoints."""
    found = []
    for path in sorted(folder.path.rglob("*")):
        inside = path.relative_to(folder.path)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.is_symlink() or not path.is_file():
            continue
        if weights or not path.is_relative_to(folder.checkpoints_dir):
            try:
                _check_path(inside.as_posix())
            except ValueError as error:
                raise RequestError(f"{folder.name}: {error}: rename or remove it") from None
            found.append(inside.as_posix())
    return found


def _add(packed: zipfile.ZipFile, name: str, path: Path) -> str:
    """Add a file; returns the SHA-256 of what was added."""
    about = zipfile.ZipInfo(name, _NO_TIME)
    # Weights do not get smaller.
    small = zipfile.ZIP_LZMA if path.stat().st_size <= _SLOW_BYTES else zipfile.ZIP_DEFLATED
    about.compress_type = zipfile.ZIP_STORED if path.suffix == ".pth" else small
    digest = hashlib.sha256()
    with (
        open_regular(path, follow=False) as file,
        packed.open(about, "w", force_zip64=True) as into,
    ):
        while part := file.read(_CHUNK):
            digest.update(part)
            into.write(part)
    return digest.hexdigest()


def read_archive(
    path: Path,
    store: Store,
    *,
    progress: Progress = no_progress,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, bool]:
    """Put the runs of an archive into a results folder, each whole; what is there stays.

    Args:
        say: Is told of each sweep that is there with another plan.

    Returns:
        By run, whether it is new.

    Raises:
        RequestError: It is no archive of runs, is damaged, or holds another run of a name that is there.
        OSError: A run could not be written; those before it are there, and nothing of it.
    """
    found: dict[str, bool] = {}
    with _opened(path) as packed:
        manifest = _manifest(packed, path)
        _check_room(packed, store, path)
        for name, files in manifest.runs.items():
            if store.folder(name).path.exists():
                _check_same(store.folder(name), files, path)
        for done, (name, files) in enumerate(manifest.runs.items(), start=1):
            folder = store.folder(name)
            found[name] = not folder.path.exists()
            if found[name]:
                _unpack(packed, folder, files, path)
            progress(done, len(manifest.runs))
        for name, digest in manifest.sweeps.items():
            plan = store.sweep(name).plan_path
            if plan.exists():
                if file_sha256(plan) != digest:
                    say(f"sweep {name} is there already, with another plan, which stays as it is")
            else:
                plan.parent.mkdir(parents=True, exist_ok=True)
                with replacing(plan) as file:
                    _copy(packed, f"sweeps/{name}.json", file, digest, path)
                try:
                    store.sweep(name).read_plan()
                except AqrExpError:
                    plan.unlink()
                    raise
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as packed:
            yield packed
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise RequestError(f"{path} is no archive of runs: {error}") from None


def _manifest(packed: zipfile.ZipFile, path: Path) -> Manifest:
    try:
        if packed.getinfo(MANIFEST).file_size > _MOST_MANIFEST_BYTES:
            raise RequestError(f"{path} is no archive of runs: its list is too long")
        return msgspec.json.decode(b"".join(_pieces(packed, MANIFEST)), type=Manifest)
    except KeyError:
        raise RequestError(f"{path} is no archive of runs: it has no {MANIFEST}") from None
    except (msgspec.MsgspecError, *_BROKEN) as error:
        raise RequestError(f"{path} is damaged: {MANIFEST}: {error}") from None


def _check_room(packed: zipfile.ZipFile, store: Store, path: Path) -> None:
    """Refuse what would fill the disk."""
    there = next(folder for folder in (store.root, *store.root.parents) if folder.is_dir())
    size, free = sum(about.file_size for about in packed.infolist()), shutil.disk_usage(there).free
    if size > free:
        raise RequestError(f"{path} holds {size >> 20} MB, and {free >> 20} MB are free at {there}")


def _check_same(folder: RunFolder, files: dict[str, str], path: Path) -> None:
    """Refuse another run than the one that is there."""
    for name, digest in files.items():
        mine = folder.path / name
        # Logs, progress and looks grow; what a run is does not change.
        if name in {folder.spec_path.name, folder.metrics_path.name, folder.records_path.name} and (
            not mine.is_file() or file_sha256(mine) != digest
        ):
            raise RequestError(f"{path}: {folder.name} is there already, with another {name}")


def _unpack(packed: zipfile.ZipFile, folder: RunFolder, files: dict[str, str], path: Path) -> None:
    """Make a run's folder, complete, in one step."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(folder.path.parent)
    hidden = draft_of(folder.path)
    draft = RunFolder(hidden / folder.name)
    try:
        for below in (
            draft.predictions_dir,
            draft.checkpoints_dir,
            draft.logs_dir,
            draft.figures_dir,
        ):
            below.mkdir(parents=True)
        for name, digest in files.items():
            target = draft.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                _copy(packed, f"runs/{folder.name}/{name}", file, digest, path)
        try:
            intact_row(draft)
        except AqrExpError as error:
            fault = str(error).replace(f"{draft.path}/", "")
            raise RequestError(f"{path}: {folder.name}: {fault}") from None
        draft.path.rename(folder.path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _pieces(packed: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    about = packed.getinfo(name)
    if about.compress_type == zipfile.ZIP_BZIP2:
        raise zipfile.BadZipFile("bzip2 is not used in archives of runs")
    with packed.open(about) as file:
        # What is read is unpacked at once, whatever its size: at most 60 MB come of so little.
        while part := file.read(_LITTLE):
            yield part


def _copy(packed: zipfile.ZipFile, name: str, into: BinaryIO, expected: str, path: Path) -> None:
    """Copy a member that is what the manifest says; one that grows beyond its size is cut off."""
    digest = hashlib.sha256()
    try:
        for part in _pieces(packed, name):
            digest.update(part)
            into.write(part)
    except KeyError:
        raise RequestError(f"{path} is damaged: {shown(name)} is missing") from None
    except _BROKEN as error:
        raise RequestError(f"{path} is damaged: {shown(name)}: {error}") from None
    if digest.hexdigest() != expected:
        raise RequestError(f"{path} is damaged: {shown(name)} is not what it was")
