"""Checks of info files and GT databases against the tables they were made from."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.inputs import info_path, objects_folder
from aqr_exp.data.checks.tables import DataFault
from aqr_exp.data.gt_database.build import info_digest
from aqr_exp.data.gt_database.store import POINT_COLUMNS, GtDatabase, pack_name
from aqr_exp.data.info_files import read_info_file
from aqr_exp.data.infos import build_metainfo, sample_info, scene_samples, split_scenes
from aqr_exp.errors import AqrExpError
from aqr_exp.files.progress import Progress, no_progress


def difference(stored: Any, wanted: Any, where: str = "") -> str | None:
    """The first place at which two plain values differ, in words; NaN equals NaN."""
    if isinstance(wanted, dict) and isinstance(stored, dict):
        for key in [*wanted, *(key for key in stored if key not in wanted)]:
            if key not in stored or key not in wanted:
                return f"{where}{key} is {'missing' if key not in stored else 'unknown'}"
            found = difference(stored[key], wanted[key], f"{where}{key}.")
            if found:
                return found
        return None
    if isinstance(wanted, list) and isinstance(stored, list):
        name = where.rstrip(".")
        if len(wanted) != len(stored):
            return f"{name} has {len(stored)} entries, the tables give {len(wanted)}"
        pairs = enumerate(zip(stored, wanted, strict=True))
        return next(filter(None, (difference(s, w, f"{name}[{i}].") for i, (s, w) in pairs)), None)
    if _same(stored, wanted):
        return None
    return f"{where.rstrip('.')} is {_short(stored)}, the tables give {_short(wanted)}"


def _same(stored: Any, wanted: Any) -> bool:
    if isinstance(stored, float) and isinstance(wanted, float):
        both_nan = math.isnan(stored) and math.isnan(wanted)
        return both_nan or math.isclose(stored, wanted, rel_tol=1e-9, abs_tol=1e-9)
    return bool(stored == wanted)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def info_faults(
    nusc: Any, root: Path, split: str, count: int | None, progress: Progress = no_progress
) -> Iterator[DataFault]:
    """Faults of a split's info file against the devkit's tables: at most one per file.

    `count` samples, spread over the split, are compared whole; None compares all.
    """
    path = info_path(root, split)
    cause = _info_fault(nusc, path, split, count, progress)
    if cause:
        name = path.relative_to(root).as_posix()
        yield DataFault(file=name, kind="info file", cause=cause)


def _info_fault(
    nusc: Any, path: Path, split: str, count: int | None, progress: Progress
) -> str | None:
    try:
        content = read_info_file(path)
    except FileNotFoundError:
        return "missing: `aqr-exp data prepare` makes it"
    except ValueError as error:
        return str(error)
    cause = difference(content["metainfo"], build_metainfo(nusc), "metainfo.")
    rows = [row for scene in split_scenes(nusc, split) for row in scene_samples(nusc, scene)]
    tokens = [row["token"] for row in rows]
    stored = [info.get("token") for info in content["data_list"]]
    if cause is None and sorted(map(str, stored)) != sorted(tokens):
        lacking = set(tokens) - set(stored)
        what = f"lacks the sample {min(lacking)}" if lacking else "holds samples of no such token"
        cause = f"{len(stored)} samples, the tables have {len(tokens)} in {split}: it {what}"
    if cause is None and stored != tokens:
        cause = "the samples are not in the tables' order"
    step = 1 if count is None else max(1, len(rows) // max(1, count))
    for index in range(0, 0 if cause else len(rows), step):
        wanted = sample_info(nusc, rows[index], index)
        cause = difference(content["data_list"][index], wanted, f"data_list[{index}].")
        progress(index + 1, len(rows))
        if cause:
            break
    return cause


def object_faults(root: Path, split: str) -> Iterator[DataFault]:
    """Faults of a split's GT database; none where it was not built."""
    folder = objects_folder(root, split)
    for name, cause in _object_faults(root, split, folder) if folder.is_dir() else ():
        file = (folder / name).relative_to(root).as_posix()
        yield DataFault(file=file, kind="objects", cause=f"{cause}: run `aqr-exp data prepare`")


def _object_faults(root: Path, split: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Files of a GT database, relative to its folder, and what is wrong with them."""
    if not (folder / "index.json").exists():
        yield "index.json", "missing: the objects were not cut out to the end"
        return
    try:
        store = GtDatabase(folder)
    except AqrExpError as error:
        yield "", str(error).replace(f"{folder}/", "")
        return
    digest = store.index.get("infos_sha256")
    if info_path(root, split).is_file() and digest != info_digest(root, split):
        yield "index.json", f"cut out of other data than {split}.pkl names"
        return
    ends = store.objects["first_patch"].astype(np.int64) + store.objects["patches"]
    if ends.max(initial=0) > len(store.patches) or store.objects["first_patch"].min(initial=0) < 0:
        yield "objects.npy", "names patches that there are not"
        return
    for scene, wanted in enumerate(_pack_bytes(store)):
        path = folder / pack_name(scene)
        if not path.exists():
            if wanted:
                yield path.name, "missing"
        elif (found := path.stat().st_size) < wanted:
            yield path.name, f"has {found} bytes, its objects need {wanted}"


def _pack_bytes(store: GtDatabase) -> np.ndarray:
    """[scenes] least length of each scene's pack, in bytes."""
    objects, patches = store.objects, store.patches
    needed = np.zeros(int(objects["scene"].max(initial=-1)) + 1, dtype=np.int64)
    points = objects["points"].sum(axis=1, dtype=np.int64) * POINT_COLUMNS * 4
    np.maximum.at(needed, objects["scene"], objects["offset"] + points)
    # The patches of an object lie one after the other; which object each is of:
    owner = np.repeat(np.arange(len(objects)), objects["patches"])
    place = np.arange(len(owner)) - np.repeat(
        np.cumsum(objects["patches"], dtype=np.int64) - objects["patches"], objects["patches"]
    )
    named = patches[objects["first_patch"][owner] + place]
    np.maximum.at(needed, objects["scene"][owner], named["offset"] + named["size"])
    return needed
