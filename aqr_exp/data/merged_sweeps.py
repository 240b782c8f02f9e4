"""Points of keyframes with their sweeps, merged once by `data prepare` instead of in every epoch.

A folder `<split>.sweeps` holds a file a keyframe and `index.json`, written last: with it the folder is
complete. A file holds `_HEAD`, the points, and a byte a point: whether it is the vehicle's own.
"""

import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.data_files import HASH_WHOLE_BYTES, record_files
from aqr_exp.config.description import read_description
from aqr_exp.config.inputs import derived_changes, derived_record, info_path, sweeps_folder
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.geometry import POINT_FEATURES, is_ego, merged_sweeps
from aqr_exp.data.gt_database.build import info_digest, swap, with_paths
from aqr_exp.data.info_files import MAX_SWEEPS, fresh_parts, read_info_file
from aqr_exp.data.workers import run_in_workers
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_bytes, replace_json
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import open_regular, read_json

_FORM = 1
_HEAD = np.dtype([("without_ego", np.int64), ("points", np.int64, MAX_SWEEPS + 1)])
"""Whether the points without the vehicle's own have the bits that they have when those were left out first,
and the points of the keyframe and of each sweep, newest first."""
_POINT_BYTES = 4 * POINT_FEATURES


def file_name(sample: int) -> str:
    """Name within the folder of a keyframe's file, by its place in the info file."""
    return f"sweeps/{sample:06d}.bin"


def merge_sample(sample: dict[str, Any]) -> bytes:
    """The content of a keyframe's file; `sample` has whole paths."""
    masks: list[np.ndarray] = []

    def noted(points: np.ndarray, _path: str) -> np.ndarray:
        masks.append(is_ego(points) & bool(masks))  # all of the keyframe's stay
        return points

    points, numbers = merged_sweeps(sample, MAX_SWEEPS, noted, ego_points=True)
    own = np.concatenate(masks)
    # A product's last digits may depend on how many rows it has.
    apart, _ = merged_sweeps(sample, MAX_SWEEPS)
    head = np.zeros((), _HEAD)
    head["without_ego"] = np.array_equal(points[~own].view(np.int32), apart.view(np.int32))
    head["points"] = np.bincount(numbers, minlength=MAX_SWEEPS + 1)
    return head.tobytes() + points.astype(np.float32, copy=False).tobytes() + own.tobytes()


def read_merged(folder: Path, sample: int, sweeps: int, *, ego_points: bool) -> np.ndarray | None:
    """What `merged_sweeps` gives of a keyframe, [N, 5]; None where only the files themselves do.

    Raises:
        AqrExpError: The file is missing or damaged.
    """
    path = folder / file_name(sample)
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = np.frombuffer(file.read(_HEAD.itemsize), _HEAD)
            counts = head["points"].ravel()
            total = int(counts.sum())
            length = _HEAD.itemsize + total * (_POINT_BYTES + 1)
            if not len(head) or counts.min() < 0 or size != length:
                raise AqrExpError(f"{path} is damaged: its length is not that of its points")
            if not ego_points and not head["without_ego"][0]:
                return None
            points = np.empty((int(counts[: sweeps + 1].sum()), POINT_FEATURES), np.float32)
            file.readinto(points)  # type: ignore[attr-defined]
            if not ego_points:
                file.seek(_HEAD.itemsize + total * _POINT_BYTES)
                points = points[~np.frombuffer(file.read(len(points)), bool)]
    except (OSError, ValueError) as error:
        raise AqrExpError(f"{path} cannot be read: {error}") from None
    return points


def merged_faults(root: Path, split: str) -> list[tuple[str, str]]:
    """Files of a split's merged sweeps, relative to their folder, and what is wrong with them."""
    folder = sweeps_folder(root, split)
    try:
        index = read_json(folder / "index.json")
    except AqrExpError:
        return [("index.json", "is missing or damaged: the sweeps were not merged to the end")]
    if index.get("form") != _FORM or index.get("infos_sha256") != info_digest(root, split):
        return [("index.json", f"merged from other data than {split}.pkl names")]
    changes = (change.partition(" ") for change in derived_changes(folder))
    return [(name, cause) for name, _, cause in changes]


def merge_split(root: Path, split: str, *, workers: int, progress: Progress = no_progress) -> None:
    """Merge the sweeps of a split's keyframes unless that is done.

    Killed at any moment, it continues with the missing ones.

    Raises:
        AqrExpError: A cloud cannot be read; names it.
    """
    if not merged_faults(root, split):
        return
    final = sweeps_folder(root, split)
    parts = final.with_name(f".{final.name}.parts")
    made = {"form": _FORM, "infos_sha256": info_digest(root, split)}
    fresh_parts(parts, made)
    (parts / "sweeps").mkdir(exist_ok=True)
    infos = read_info_file(info_path(root, split))["data_list"]
    lidar = (read_description(root) or NUSCENES).lidar
    files = [parts / file_name(at) for at in range(len(infos))]
    pairs = zip(files, infos, strict=True)
    calls = [partial(_merge, root, path, info, lidar) for path, info in pairs if not path.exists()]
    done = itertools.count(1)
    run_in_workers(calls, workers, lambda _: progress(next(done), len(calls)))
    replace_json(parts / "index.json", made)
    whole = sum(path.stat().st_size for path in files) <= HASH_WHOLE_BYTES
    record_files(derived_record(parts), parts, [parts / "index.json", *files], whole=whole)
    swap(parts, final)


def _merge(root: Path, path: Path, info: dict[str, Any], lidar: str) -> None:
    try:
        replace_bytes(path, merge_sample(with_paths(root, info, lidar)))
    except ValueError as error:
        raise AqrExpError(str(error)) from None
