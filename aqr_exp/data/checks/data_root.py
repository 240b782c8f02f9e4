"""All checks of a data set, ordered so that no fault hides behind another one's noise."""

import contextlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.data_files import content_fingerprint
from aqr_exp.config.inputs import (
    data_changes,
    identity_path,
    info_folder,
    info_path,
    read_data_identity,
    record_path,
)
from aqr_exp.data.checks.derived import info_faults, made_faults
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
from aqr_exp.data.info_files import WHOLE, prepared_part
from aqr_exp.data.infos import open_tables
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
    root: Path, version: str, count: int | None, stage: StagedProgress = _no_progress
) -> Report:
    """Check a data set, as far as it was prepared, and its info files.

    Args:
        version: An existing folder.
        count: Images of each camera, LiDAR files and samples of each split that are read; None is all.
    """
    tables = RawTables(root, version)
    faults = table_faults(tables)
    skipped: list[str] = []
    counts: dict[str, int] = {}
    if tables.faults or any(fault.kind == "dangling token" for fault in faults):
        skipped = ["sensor files", "info files"]
    else:
        clean = not faults
        with contextlib.suppress(AqrExpError):  # a fault of the identity, found below
            tables.narrow(prepared_part(root))
        if tables.part != WHOLE:
            skipped.append(f"what was not prepared ({tables.part})")
        files = SensorFiles(tables)
        counts = files.counts
        faults += sensor_faults(tables, files, count, stage, project=clean)
        if not clean or any(fault.kind == "calibration" for fault in faults):
            skipped.append("info files")
        elif not info_folder(root).is_dir():
            skipped.append("info files (there are none yet: `aqr-exp data prepare` makes them)")
        elif not any(fault.file.startswith("maps/") for fault in faults):  # the devkit needs them
            nusc = open_tables(root, version, tables.part)
            faults += derived_faults(tables, nusc, count, stage, hashed=not faults)
    counts = {name: len(rows) for name, rows in tables.rows.items()} | counts
    return Report(version=version, counts=counts, faults=sorted(set(faults)), skipped=skipped)


def sensor_faults(
    tables: RawTables,
    files: SensorFiles,
    count: int | None,
    stage: StagedProgress,
    *,
    project: bool,
) -> list[DataFault]:
    """Faults of the sensors' files, and of calibrations that only points show (`project`)."""
    faults = [*missing_files(files), *missing_maps(tables), *short_clouds(files)]
    with stage("images") as progress:
        faults += broken_images(files, count, progress)
    with stage("clouds") as progress:
        faults += odd_points(files, count, progress)
    # Broken links or poses move points everywhere: only sound ones are worth a projection.
    if project and not any(fault.kind == "damaged points" for fault in faults):
        faults += blind_cameras(tables, files)
    return faults


def derived_faults(
    tables: RawTables,
    nusc: Any,
    count: int | None,
    stage: StagedProgress = _no_progress,
    *,
    hashed: bool = True,
) -> list[DataFault]:
    """Faults of the files that were made from sound tables, which the devkit's `nusc` holds too.

    The data's hash is compared if `hashed`, and info files are as they should be.
    """
    root, version = tables.root, tables.version
    try:
        splits = splits_of(root, version)
        identity, part = read_data_identity(root), prepared_part(root)
    except AqrExpError as error:
        return [_identity_fault(root, str(error).removeprefix(f"{identity_path(root)} "))]
    if identity["version"] != version:
        return [_identity_fault(root, f"made from {identity['version']}, not from {version}")]
    if list(identity["splits"]) != splits or part != tables.part:
        return [_identity_fault(root, "made from other splits or another part of the version")]
    faults: list[DataFault] = []
    for split in splits:
        with stage(f"infos of {split}") as progress:
            faults += info_faults(nusc, root, split, count, progress)
    if hashed and not faults:
        changes = data_changes(root, identity) if record_path(root).exists() else []
        for name, _, cause in (change.partition(" ") for change in changes):
            faults.append(DataFault(file=name, kind="changed file", cause=cause))
        infos = [info_path(root, split) for split in splits]
        current = content_fingerprint(root, version, infos, tables.recorded)
        if not changes and current != identity["fingerprint"]:
            cause = f"made from other content: {identity['fingerprint']}, now it is {current}"
            faults.append(_identity_fault(root, f"{cause}: run `aqr-exp data prepare`"))
    return [*faults, *(fault for split in splits for fault in made_faults(root, split))]


def _identity_fault(root: Path, cause: str) -> DataFault:
    return DataFault(
        file=identity_path(root).relative_to(root).as_posix(), kind="identity", cause=cause
    )
