"""All checks of a data set, ordered so that no fault hides behind another one's noise."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import identity_path, info_folder, read_data_identity
from aqr_exp.data.checks.derived import info_faults, object_faults
from aqr_exp.data.checks.files import (
    SensorFiles,
    blind_cameras,
    broken_images,
    missing_files,
    missing_maps,
    odd_points,
    short_clouds,
)
from aqr_exp.data.checks.tables import (
    DataFault,
    RawTables,
    annotation_faults,
    broken_chains,
    calibration_faults,
    dangling_tokens,
    incomplete_samples,
    scene_ends,
    unmapped_logs,
)
from aqr_exp.data.info_files import content_fingerprint
from aqr_exp.data.nuscenes_tables import splits_of
from aqr_exp.errors import AqrExpError
from aqr_exp.files.progress import Progress, StagedProgress, no_progress


@dataclass(frozen=True, kw_only=True)
class Report:
    """Result of a check of one version.

    Attributes:
        counts: Rows, recordings and what was read, by name.
        faults: Everything that is wrong, sorted by file.
        skipped: Checks that made no sense on what is wrong already.
    """

    version: str
    counts: dict[str, int]
    faults: list[DataFault]
    skipped: list[str]


@dataclass(frozen=True, kw_only=True)
class Depth:
    """Images of each camera, LiDAR files and samples of each split that a check reads; None is all."""

    images: int | None
    clouds: int | None
    infos: int | None


def _no_progress(_: str) -> AbstractContextManager[Progress]:
    return nullcontext(no_progress)


def table_faults(tables: RawTables) -> list[DataFault]:
    """Faults of the tables alone."""
    faults = [*tables.faults, *dangling_tokens(tables), *unmapped_logs(tables)]
    if faults:
        return faults
    faults = [*broken_chains(tables), *scene_ends(tables)]
    if not faults:
        faults = list(incomplete_samples(tables))
    return [*faults, *calibration_faults(tables), *annotation_faults(tables)]


def check_root(
    root: Path, version: str, depth: Depth, stage: StagedProgress = _no_progress
) -> Report:
    """Check a data set and its info files; `version` is an existing folder."""
    tables = RawTables(root, version)
    faults = table_faults(tables)
    counts = {name: len(rows) for name, rows in tables.rows.items()}
    skipped: list[str] = []
    if tables.faults or any(fault.kind == "dangling token" for fault in faults):
        skipped = ["sensor files", "info files"]
    else:
        files = SensorFiles(tables)
        counts.update(files.counts)
        clean = not faults
        faults += _file_faults(tables, files, depth, stage)
        # Broken links or poses move points everywhere: only sound ones are worth a projection.
        if clean and not any(fault.kind == "damaged points" for fault in faults):
            faults += blind_cameras(tables, files)
        if not clean or any(fault.kind == "calibration" for fault in faults):
            skipped = ["info files"]
        elif not info_folder(root).is_dir():
            skipped = ["info files (there are none yet: `aqr-exp data prepare` makes them)"]
        else:
            faults += _derived_faults(root, version, depth, stage, faults)
    return Report(version=version, counts=counts, faults=sorted(set(faults)), skipped=skipped)


def _file_faults(
    tables: RawTables, files: SensorFiles, depth: Depth, stage: StagedProgress
) -> Iterator[DataFault]:
    yield from missing_files(files)
    yield from missing_maps(tables)
    yield from short_clouds(files)
    with stage("images") as progress:
        yield from broken_images(files, depth.images, progress)
    with stage("clouds") as progress:
        yield from odd_points(files, depth.clouds, progress)


def _derived_faults(
    root: Path, version: str, depth: Depth, stage: StagedProgress, found: list[DataFault]
) -> list[DataFault]:
    """Faults of the files that were made from the tables."""
    try:
        identity = read_data_identity(root)
        splits = splits_of(root, version)
    except AqrExpError as error:
        cause = str(error).removeprefix(f"{identity_path(root)} ")
        return [_identity_fault(root, cause)]
    if identity["version"] != version:
        return [_identity_fault(root, f"made from {identity['version']}, not from {version}")]
    if any(fault.kind == "missing file" and fault.file.startswith("maps/") for fault in found):
        return []  # the devkit refuses such tables
    from nuscenes import NuScenes

    nusc: Any = NuScenes(version=version, dataroot=str(root), verbose=False)
    faults: list[DataFault] = []
    for split in splits:
        with stage(f"infos of {split}") as progress:
            faults += info_faults(nusc, root, split, depth.infos, progress)
        faults += object_faults(root, split)
    if not found and not faults:
        current = content_fingerprint(root, version, list(identity["splits"]))
        if current != identity["fingerprint"]:
            cause = f"made from other content: {identity['fingerprint']}, now it is {current}"
            faults.append(_identity_fault(root, f"{cause}: run `aqr-exp data prepare`"))
    return faults


def _identity_fault(root: Path, cause: str) -> DataFault:
    return DataFault(
        file=identity_path(root).relative_to(root).as_posix(), kind="identity", cause=cause
    )
