"""Preparation of raw nuScenes data: checks, then info files, then the GT database."""

import shlex
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from os.path import lexists
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.config.data_files import HASH_WHOLE_BYTES
from aqr_exp.config.inputs import (
    data_changes,
    info_folder,
    objects_folder,
    read_data_identity,
    sweeps_folder,
)
from aqr_exp.data.checks.data_root import derived_faults, sensor_faults, table_faults
from aqr_exp.data.checks.files import SensorFiles
from aqr_exp.data.checks.tables import DataFault, RawTables
from aqr_exp.data.foreign_infos import Instances, read_annotations
from aqr_exp.data.gt_database.build import build_database, database_is_ready
from aqr_exp.data.gt_database.store import GtDatabase
from aqr_exp.data.info_files import Part, remove
from aqr_exp.data.infos import open_tables, split_scenes, write_infos
from aqr_exp.data.merged_sweeps import merge_split, merged_faults
from aqr_exp.data.nuscenes_tables import NO_USE, is_training, splits_of
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.files.progress import StagedProgress
from aqr_exp.files.suggest import did_you_mean

# `data check` lists the rest.
FAULTS_SHOWN = 10
SAMPLED = 100
"""Images of a camera, clouds and samples that are read of data too large to be read whole."""

Alone = Callable[[Path], AbstractContextManager[object]]
"""Keeps every other process out that takes the lease at the same path."""


@dataclass(kw_only=True)
class Prepared:
    """Result of a preparation.

    Attributes:
        part: What is prepared of the version.
        counts: Rows of the tables and recordings by channel, of that part.
        left_out: By name of each scene that is not whole, its first fault.
        splits: Samples by split.
        objects: Objects by class, by training split; empty if none were requested.
        notes: One line on each info file of others.
    """

    part: Part
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, DataFault] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    objects: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_version(root: Path, version: str | None) -> str:
    """The version to work on: `version`, or the only one there.

    Raises:
        RequestError: There is no such version, or none or several to choose from.
    """
    if not root.is_dir():
        raise RequestError(f"--root {root}: there is no such folder")
    there = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    listed = f" (there: {', '.join(there)})" if there else " (there are no nuScenes tables)"
    if version is None:
        if len(there) != 1:
            raise RequestError(f"--root {root}: say which version with --version{listed}")
        return there[0]
    if not version or any(mark in version for mark in "/\\\0") or not (root / version).is_dir():
        guess = did_you_mean(version, there)
        raise RequestError(f"--version {version}: {root} holds no such version{guess}{listed}")
    return version


def prepare(
    root: Path,
    version: str,
    *,
    workers: int,
    objects: bool,
    stage: StagedProgress,
    sweeps: bool = False,
    infos: Sequence[Path] = (),
    keyframes_only: bool = False,
    partial: bool = False,
    alone: Alone = nullcontext,
) -> Prepared:
    """Check what `data check` checks, write info files, build the GT databases of training splits.

    Finished parts are not done again; killed at any moment, the next call continues. A root that is
    ready is only read.

    Args:
        sweeps: Merge the LiDAR sweeps of every keyframe, too; those that are merged stay so.
        infos: Info files of others, whose annotations replace the tables'.
        keyframes_only: Leave out the LiDAR sweeps between keyframes, which need not be there.
        partial: Use the scenes whose files are all there and sound.
        alone: Entered around all writing, with the path of a lease.

    Raises:
        RequestError: The root was prepared for another version, or something is missing or wrong
            in it; the first faults, a line each.
    """
    other = version
    with suppress(AqrExpError):  # a damaged one is made anew
        other = read_data_identity(root)["version"]
    if other != version:
        raise RequestError(
            f"--root {root}: prepared for {other}: one folder serves one version; make another "
            f"folder with links to maps, samples, sweeps and {version}"
        )
    done = Prepared(part=Part(keyframes_only=keyframes_only))
    try:
        splits = splits_of(root, version)
        tables = _sound_tables(root, version, stage, done, partial=partial)
        nusc = open_tables(root, version, done.part)
        for split in splits:
            if not split_scenes(nusc, split):
                whole = " is whole" if done.left_out else ""
                raise RequestError(f"no scene of split {split} in {root}/{version}{whole}")
        trained = [split for split in splits if is_training(split)] if objects else []
        folder = info_folder(root)
        merged = [split for split in splits if sweeps or lexists(sweeps_folder(root, split))]

        def are_infos_sound() -> bool:
            faults = derived_faults(tables, nusc, SAMPLED)
            sound = {fault.kind for fault in faults} <= {"objects", "merged sweeps"}
            # Also records the files of data that an older version prepared.
            return sound and not data_changes(root, read_data_identity(root))

        ready = all(database_is_ready(root, split) for split in trained)
        ready = ready and not any(merged_faults(root, split) for split in merged)
        if infos or not ready or _leftovers(folder) or not are_infos_sound():
            with alone(folder / ".lease"):
                if infos or not are_infos_sound():
                    # Of clouds that may have changed, and of as many bytes as before.
                    remove(*(sweeps_folder(root, split) for split in merged))
                    _write_infos(tables, nusc, splits, infos, stage, done)
                for split in trained:
                    with stage(f"scenes of {split}: objects") as progress:
                        build_database(root, split, workers=workers, progress=progress)
                for split in merged:
                    with stage(f"keyframes of {split}: sweeps") as progress:
                        merge_split(root, split, workers=workers, progress=progress)
                remove(*_leftovers(folder))
        done.splits = read_data_identity(root)["splits"]
        for split in trained:
            done.objects[split] = GtDatabase(objects_folder(root, split)).index["classes"]
    except RequestError:
        raise
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    return done


def _write_infos(
    tables: RawTables,
    nusc: Any,
    splits: list[str],
    infos: Sequence[Path],
    stage: StagedProgress,
    done: Prepared,
) -> None:
    """Write the info files of all splits, with the annotations of others where there are any."""
    annotations: Instances = {}
    for path in infos:
        found, note = read_annotations(path, nusc, splits)
        annotations |= found
        done.notes.append(note)
    with stage("scenes") as progress:
        write_infos(
            tables.root,
            tables.version,
            splits,
            part=done.part,
            names=tables.recorded,
            nusc=nusc,
            annotations=annotations,
            progress=progress,
        )


def _sound_tables(
    root: Path, version: str, stage: StagedProgress, done: Prepared, *, partial: bool
) -> RawTables:
    """The tables of what has no fault: all, or the scenes that have none."""
    tables = RawTables(root, version)
    faults = table_faults(tables)
    if not faults and not tables.rows["sample_annotation"]:
        file = tables.file("sample_annotation")
        raise RequestError(Fault(where=file, rule=f"no annotations: {NO_USE}"))
    while not faults:
        tables.narrow(done.part)
        files = SensorFiles(tables)
        done.counts = {name: len(rows) for name, rows in tables.rows.items()} | files.counts
        # What is hashed byte for byte is read anyhow.
        small = sum(files.size_bytes.values()) <= HASH_WHOLE_BYTES
        faults = sensor_faults(tables, files, None if small else SAMPLED, stage, project=True)
        left_out = _not_whole(tables, files, faults) if partial else {}
        if not faults:
            return tables
        if left_out:
            done.left_out |= left_out
            names = [row.name for row in tables.rows["scene"].values() if row.name not in left_out]
            done.part = msgspec.structs.replace(done.part, scenes=tuple(names))
            faults = []
    raise first_faults(root, version, faults)


def _leftovers(folder: Path) -> list[Path]:
    """What preparations that were killed left."""
    names = ".parts-* .*.pkl.*.tmp .f*.json.*.tmp .*.objects.parts .*.objects.old"
    names += " .*.sweeps.parts .*.sweeps.old"
    within = "*.objects/*.npz *.objects/.*.tmp *.objects/stamp.json *.sweeps/stamp.json"
    return [path for pattern in f"{names} {within}".split() for path in folder.glob(pattern)]


def _not_whole(
    tables: RawTables, files: SensorFiles, faults: list[DataFault]
) -> dict[str, DataFault]:
    """By name of each scene that has one, the first fault of its files."""
    samples, scenes = tables.rows["sample"], tables.rows["scene"]
    by_file = {fault.file: fault for fault in reversed(faults)}
    return {
        scenes[samples[row.sample_token].scene_token].name: by_file[row.filename]
        for rows in files.rows.values()
        for row in rows
        if row.filename in by_file
    }


def first_faults(root: Path, version: str, faults: list[DataFault]) -> RequestError:
    """The refusal of a data set: its first faults, and the command that lists the rest."""
    # Below the root, which was said before: whole paths would be too long to be shown.
    lines = [Fault(where=fault.file, rule=fault.cause) for fault in faults[:FAULTS_SHOWN]]
    if (more := len(faults) - FAULTS_SHOWN) > 0:
        command = f"aqr-exp data check --root {shlex.quote(str(root))} --version {version}"
        lines.append(Fault(rule=f"and {more:,} more: `{command}` lists them"))
        if all(fault.file.startswith("sweeps/") for fault in faults):
            lines.append(Fault(rule="--keyframes-only does without LiDAR sweeps"))
        elif any(fault.kind == "missing file" for fault in faults):
            lines.append(Fault(rule="--partial uses the scenes that are whole"))
    return RequestError(*lines)
