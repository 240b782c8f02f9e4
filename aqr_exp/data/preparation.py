"""Preparation of raw nuScenes data: checks, then info files, then the GT database."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import identity_path, info_path, read_data_identity
from aqr_exp.data.checks.data_root import table_faults
from aqr_exp.data.checks.files import SensorFiles, missing_files, missing_maps
from aqr_exp.data.checks.tables import DataFault, RawTables
from aqr_exp.data.gt_database.build import build_database
from aqr_exp.data.infos import write_infos
from aqr_exp.data.nuscenes_tables import is_training, splits_of
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.progress import StagedProgress
from aqr_exp.files.suggest import did_you_mean

# `data check` lists the rest.
FAULTS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Result of a preparation.

    Attributes:
        counts: Rows of the tables and recordings by channel.
        splits: Samples by split.
        objects: Objects by class, by training split; empty if none were requested.
    """

    counts: dict[str, int]
    splits: dict[str, int]
    objects: dict[str, dict[str, int]]


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
    root: Path, version: str, *, workers: int, objects: bool, stage: StagedProgress
) -> Prepared:
    """Check the tables and files, write info files, build the GT databases of training splits.

    Finished parts are not done again; killed at any moment, the next call continues.

    Raises:
        RequestError: The root was prepared for another version, or something is missing or wrong
            in it; the first faults, a line each.
    """
    _refuse_other_version(root, version)
    try:
        splits = splits_of(root, version)
    except AqrExpError as error:
        raise RequestError(str(error)) from None
    counts = _complete(root, version)
    samples = _written(root, version, splits)
    if samples is None:
        with stage("scenes") as progress:
            samples = write_infos(root, version, splits, progress=progress)
    found: dict[str, dict[str, int]] = {}
    for split in filter(is_training, splits if objects else []):
        with stage(f"scenes of {split}: objects") as progress:
            found[split] = build_database(root, split, workers=workers, progress=progress)
    return Prepared(counts=counts, splits=samples, objects=found)


def _refuse_other_version(root: Path, version: str) -> None:
    if not identity_path(root).is_file():
        return
    other = read_data_identity(root)["version"]
    if other != version:
        raise RequestError(
            f"--root {root}: prepared for {other}: one folder serves one version; make another "
            f"folder with links to maps, samples, sweeps and {version}"
        )


def _complete(root: Path, version: str) -> dict[str, int]:
    """Counts of rows and recordings; refuses missing files."""
    tables = RawTables(root, version)
    faults = table_faults(tables)
    if not faults:
        files = SensorFiles(tables)
        faults = [*missing_files(files), *missing_maps(tables)]
    if faults:
        raise RequestError(first_faults(root, version, faults))
    return {**{name: len(rows) for name, rows in tables.rows.items()}, **files.counts}


def first_faults(root: Path, version: str, faults: list[DataFault]) -> str:
    """The first faults of a data set, one per line, and the command that lists the rest."""
    lines = [f"{root}/{fault}" for fault in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        more = len(faults) - FAULTS_SHOWN
        lines.append(f"and {more:,} more: `aqr-exp data check --version {version}` lists them")
    return "\n".join(lines)


def _written(root: Path, version: str, splits: list[str]) -> dict[str, int] | None:
    """Samples by split, if the info files are newer than the tables; else None."""
    marker = identity_path(root)
    paths = [info_path(root, split) for split in splits]
    if not marker.is_file() or not all(path.is_file() for path in paths):
        return None
    identity: dict[str, Any] = read_data_identity(root)
    newest = max(path.stat().st_mtime_ns for path in (root / version).glob("*.json"))
    if list(identity["splits"]) != splits or newest > marker.stat().st_mtime_ns:
        return None
    return dict(identity["splits"])
