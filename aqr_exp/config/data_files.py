"""Files of a data set: the fingerprint of their content, and a record that shows which have changed."""

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from aqr_exp.files.atomic import replace_text
from aqr_exp.files.cache import settled
from aqr_exp.files.reading import feed_file, file_sha256, read_json

FileState = tuple[int, int, int, str]
"""Size, time of writing and of change (ns), SHA-256. A change is known by any of them where the file was
hashed; of one that was not the last two are 0 and empty, and size and time of writing decide."""

Record = dict[str, dict[str, FileState]]
"""States by folder, relative to the root, and name."""

DESCRIPTION = "dataset.yaml"
"""Name of the file that describes data that are not nuScenes; it counts like a table."""

HASH_WHOLE_BYTES = 4 << 30
"""Data up to this size are hashed byte for byte; larger ones by names and sizes."""
# Radars, and cameras between keyframes: no run reads them, and they are most of the files.
_UNREAD = ("samples/RADAR", "sweeps/RADAR", "sweeps/CAM")
_SENSOR_DATA = ("samples/", "sweeps/")


def content_fingerprint(
    root: Path, version: str, infos: Iterable[Path], names: Iterable[str] | None = None
) -> str:
    """16 hex digits of the tables, info files, images and points.

    Tables and info files always count byte for byte. So do images and points of a data set up to 4 GiB;
    a larger one (the real nuScenes) counts by their names and sizes, since reading it takes hours.
    `names` are the images and points that count where they are there; all by default.
    """
    files = _files(root, version, infos, names)
    whole = _is_small(files)
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{path.stat().st_size}\0".encode())
        if whole or not name.startswith(_SENSOR_DATA):
            feed_file(digest, path)
    return digest.hexdigest()[:16]


def record_data(
    record: Path,
    root: Path,
    version: str,
    infos: Iterable[Path],
    names: Iterable[str] | None = None,
) -> None:
    """Record the files of a data set that runs read, as `record_files` does.

    Images and points of a data set above 4 GiB are known by size and time of writing alone. `names` as in
    `content_fingerprint`.
    """
    files = _files(root, version, infos, names)
    found = [path.relative_to(root).as_posix() for path in files]
    read = [root / name for name in found if not name.startswith(_UNREAD)]
    record_files(record, root, read, whole=_is_small(files))


def _files(
    root: Path, version: str, infos: Iterable[Path], names: Iterable[str] | None
) -> list[Path]:
    folders = (version,) if names is not None else ("samples", "sweeps", version)
    found = [path for name in folders for path in (root / name).rglob("[!.]*")]
    found += [root / name for name in (DESCRIPTION, *(names or ()))]
    return sorted(path for path in [*found, *infos] if path.is_file())


def _is_small(files: Iterable[Path]) -> bool:
    return sum(path.stat().st_size for path in files) <= HASH_WHOLE_BYTES


def record_files(record: Path, root: Path, files: Iterable[Path], *, whole: bool = True) -> None:
    """Write the states of files below `root`, as `changed_files` compares them.

    Raises:
        OSError: A file cannot be read, or the record not be written.
    """
    states: Record = {}
    for path in files:
        folder, _, name = path.relative_to(root).as_posix().rpartition("/")
        hashed = whole or not f"{folder}/".startswith(_SENSOR_DATA)
        found = path.stat()  # what changes while it is read is hashed again
        states.setdefault(folder, {})[name] = _state(found, file_sha256(path) if hashed else "")
    _write(record, states)


def _write(record: Path, states: Record) -> None:
    # A line a folder: half a million files have no place for indents.
    lines = (f"{json.dumps(folder)}: {json.dumps(files)}" for folder, files in states.items())
    replace_text(record, "{\n" + ",\n".join(lines) + "\n}\n")


def _state(found: os.stat_result, sha256: str) -> FileState:
    """The state of a file; one that may change again without showing it is to be hashed again."""
    known = sha256 and settled([(0, 0, 0, found.st_ctime_ns)])
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns if known else 0, sha256


def changed_files(record: Path, root: Path) -> list[str]:
    """The files that are no longer as they were recorded, each with what is wrong with it.

    Each folder is listed once. Files with other times are hashed, where their hash is known, and recorded
    anew when their content is the same: a copied data set is read once.

    Raises:
        AqrExpError: The record is missing or damaged.
    """
    recorded = read_json(record, Record)
    faults, renewed = [], False
    for folder, files in recorded.items():
        there = dict(_listed(root / folder))
        for name, known in files.items():
            now = there.get(name)
            if now is None:
                fault: str | None = "is missing"
            elif known[:2] == (now.st_size, now.st_mtime_ns) and (
                known[2] == (now.st_ctime_ns if known[3] else 0)
            ):
                continue
            else:
                fault = _difference(root / folder / name, known, now)
                files[name], renewed = _state(now, known[3]), True
            if fault:
                faults.append(f"{folder}/{name} {fault}".lstrip("/"))
    if renewed and not faults:
        with contextlib.suppress(OSError):  # a folder that is read only is hashed again
            _write(record, recorded)
    return faults


def _listed(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every entry of a folder that can be looked at; none of a folder that cannot."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield entry.name, entry.stat()


def _difference(path: Path, known: FileState, now: os.stat_result) -> str | None:
    """What is wrong with a file whose times differ; None of one with the recorded content."""
    if not stat.S_ISREG(now.st_mode):
        return "is no regular file"
    if now.st_size != known[0]:
        return f"has {now.st_size} bytes, {known[0]} when prepared"
    try:
        same = known[3] and file_sha256(path) == known[3]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if same else "was replaced since it was prepared"
