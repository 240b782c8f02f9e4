"""Build the GT database of a split: crop every annotated object, scenes in parallel.

Each scene is kept as soon as it is done: a build that was killed continues with the missing ones.
"""

import copy
import io
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aqr_exp.config.data_files import record_files
from aqr_exp.config.description import read_description
from aqr_exp.config.inputs import derived_changes, derived_record, info_path, objects_folder
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.data.geometry import (
    NEAREST_M,
    corners_m,
    depths_m,
    inside_boxes,
    lidar_to_image,
    merged_sweeps,
    project,
    read_image,
)
from aqr_exp.data.gt_database.store import (
    FORM,
    POINT_COLUMNS,
    VIEWS,
    GtDatabase,
    arrays_of,
    pack_name,
)
from aqr_exp.data.info_files import MAX_SWEEPS, fresh_parts, read_info_file, remove
from aqr_exp.data.workers import run_in_workers
from aqr_exp.errors import AqrExpError
from aqr_exp.files.arrays import unpack_arrays
from aqr_exp.files.atomic import replace_bytes, replace_text
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import file_sha256, read_content

JPEG_QUALITY = 95
# A smaller patch shows nothing.
SMALLEST_PX = 2

# View, left and top edge in pixels, JPEG.
_Picture = tuple[int, int, int, bytes]


def with_paths(
    root: Path, info: dict[str, Any], lidar_name: str = NUSCENES.lidar
) -> dict[str, Any]:
    """An info file's entry with whole paths to its points and images."""
    info = copy.deepcopy(info)
    lidar = info["lidar_points"]
    lidar["lidar_path"] = str(root / "samples" / lidar_name / lidar["lidar_path"])
    for sweep in info["lidar_sweeps"]:
        sweep["lidar_points"]["lidar_path"] = str(root / sweep["lidar_points"]["lidar_path"])
    for name, camera in info["images"].items():
        camera["img_path"] = str(root / "samples" / name / camera["img_path"])
    return info


def view_matrices(info: dict[str, Any], cameras: Sequence[str] = NUSCENES.cameras) -> np.ndarray:
    """[V, 4, 4] from the LiDAR frame to the pixels of each stored image."""
    return np.stack([lidar_to_image(info["images"][name]) for name in cameras])


def box_bounds_px(
    box_m: np.ndarray, lidar2img: np.ndarray, size_px: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """Pixels (left, top, right, bottom) of an image that hold a box [7 or more], ends exclusive.

    `lidar2img` is [4, 4], `size_px` (height, width). None where the image does not show the box, or
    where a part of it is not in front of the camera.
    """
    corners = project(corners_m(box_m[None, :7])[0], lidar2img)
    if not np.isfinite(corners).all():
        return None
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)), size_px[::-1]).astype(int)
    if (high - low < SMALLEST_PX).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def crop_sample(
    root: Path,
    info: dict[str, Any],
    categories: dict[str, int],
    description: DataDescription = NUSCENES,
) -> Iterator[tuple[int, np.ndarray, np.ndarray, list[_Picture]]]:
    """Crop a sample's objects of the classes that have a LiDAR point and are not astride a camera.

    `info` is an entry of an info file under `root`, and `categories` the file's label of each class.

    Yields:
        An object's place among the classes, box [9], points float32 [n, 6] by sweep, and pictures.

    Raises:
        ValueError: An image cannot be decoded.
    """
    sample, classes = with_paths(root, info, description.lidar), description.names
    names = {label: name for name, label in categories.items()}
    kept = [item for item in sample["instances"] if names.get(item["bbox_label_3d"]) in classes]
    if not kept:
        return
    boxes = np.array([[*item["bbox_3d"], *item["velocity"]] for item in kept], dtype=np.float64)
    points, numbers = merged_sweeps(sample, MAX_SWEEPS)
    inside = inside_boxes(points[:, :3], boxes[:, :7])
    matrices = view_matrices(sample, description.cameras)
    images = [read_image(sample["images"][name]["img_path"]) for name in description.cameras]
    for item, box, mine in zip(kept, boxes, inside, strict=True):
        if mine.any() and not _is_astride(box, matrices, images):
            columns = np.column_stack([points[mine], numbers[mine].astype(np.float32)])
            label = classes.index(names[item["bbox_label_3d"]])
            yield label, box, columns.astype(np.float32), _pictures(box, matrices, images)


def _is_astride(box: np.ndarray, matrices: np.ndarray, images: list[np.ndarray]) -> bool:
    """True if a camera shows a part of a box while another part is beside or behind the camera."""
    corners = corners_m(box[None, :7])[0]
    for matrix, image in zip(matrices, images, strict=True):
        ahead = depths_m(corners, matrix) > NEAREST_M
        if ahead.any() and not ahead.all():
            pixels = project(corners[ahead], matrix)
            height, width = image.shape[:2]
            if ((pixels >= 0) & (pixels < [width, height])).all(axis=1).any():
                return True
    return False


def _pictures(box: np.ndarray, matrices: np.ndarray, images: list[np.ndarray]) -> list[_Picture]:
    pictures = []
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    for view, (matrix, image) in enumerate(zip(matrices, images, strict=True)):
        bounds = box_bounds_px(box, matrix, image.shape[:2])
        if bounds is not None:
            left, top, right, bottom = bounds
            _, content = cv2.imencode(".jpg", image[top:bottom, left:right], quality)
            pictures.append((view, left, top, content.tobytes()))
    return pictures


def info_digest(root: Path, split: str) -> str:
    """SHA-256 of a split's info file, from which the database is built."""
    return file_sha256(info_path(root, split))


def database_is_ready(root: Path, split: str) -> bool:
    """True if a split's database is complete, unchanged, and built from its present info file."""
    return not database_faults(root, split)


def database_faults(root: Path, split: str) -> list[tuple[str, str]]:
    """Files of a split's database, relative to its folder, and what is wrong with them."""
    folder = objects_folder(root, split)
    found = list(_database_faults(root, split, folder))
    changes = () if found else derived_changes(folder)
    return [*found, *((name, cause) for name, _, cause in (one.partition(" ") for one in changes))]


def _database_faults(root: Path, split: str, folder: Path) -> Iterator[tuple[str, str]]:
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


def build_database(
    root: Path, split: str, *, workers: int, progress: Progress = no_progress
) -> dict[str, int]:
    """Crop every object of a split unless that is done, and return the number of objects by class.

    Killed at any moment, it continues with the missing scenes; the result does not depend on `workers`.
    `progress` is called with (scenes done, all scenes).

    Raises:
        AqrExpError: A cloud or an image cannot be read; names it.
    """
    final = objects_folder(root, split)
    if not database_is_ready(root, split):
        parts = final.with_name(f".{final.name}.parts")
        digest = info_digest(root, split)
        fresh_parts(parts, {"form": FORM, "infos_sha256": digest})
        content = read_info_file(info_path(root, split))
        scenes = _by_scene(content["data_list"])
        categories = content["metainfo"]["categories"]
        _crop_scenes(root, parts, scenes, categories, workers, progress)
        _finish(parts, len(scenes), digest, read_description(root) or NUSCENES)
        swap(parts, final)
    classes: dict[str, int] = GtDatabase(final).index["classes"]
    return classes


def _by_scene(data_list: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    scenes: dict[str, list[dict[str, Any]]] = {}
    for info in data_list:
        scenes.setdefault(info["scene_token"], []).append(info)
    return list(scenes.values())


def _crop_scenes(
    root: Path,
    parts: Path,
    scenes: list[list[dict[str, Any]]],
    categories: dict[str, int],
    workers: int,
    progress: Progress,
) -> None:
    description = read_description(root) or NUSCENES
    views = len(description.cameras)
    missing = [place for place in range(len(scenes)) if not _part(parts, place, views)]
    done = itertools.count(len(scenes) - len(missing))
    progress(next(done), len(scenes))
    calls = [
        partial(crop_scene, root, parts, place, scenes[place], categories, description)
        for place in missing
    ]
    run_in_workers(calls, workers, lambda _: progress(next(done), len(scenes)))


def _arrays_path(parts: Path, place: int) -> Path:
    return parts / f"{place:05d}.npz"


def _part(parts: Path, place: int, views: int) -> dict[str, np.ndarray]:
    """The arrays of a finished scene; empty where there are none that are whole."""
    try:
        arrays = unpack_arrays(read_content(_arrays_path(parts, place)))
    except (AqrExpError, ValueError):
        return {}
    return (
        arrays if {name: array.dtype for name, array in arrays.items()} == arrays_of(views) else {}
    )


def crop_scene(
    root: Path,
    parts: Path,
    place: int,
    infos: list[dict[str, Any]],
    categories: dict[str, int],
    description: DataDescription = NUSCENES,
) -> None:
    """Write one scene's pack, then its records; offsets and rows count from the scene's start."""
    pack = bytearray()
    kinds = arrays_of(len(description.cameras))
    records: dict[str, list[tuple[Any, ...]]] = {name: [] for name in kinds}
    for frame, info in enumerate(infos):
        records["frames"].append((view_matrices(info, description.cameras),))
        try:
            objects = list(crop_sample(root, info, categories, description))
        except ValueError as error:
            raise AqrExpError(str(error)) from None
        for label, box, points, pictures in objects:
            by_sweep = np.bincount(points[:, 5].astype(int), minlength=MAX_SWEEPS + 1)
            first = len(records["patches"])
            records["objects"].append(
                (label, frame, place, box, by_sweep, len(pack), first, len(pictures))
            )
            pack += points.tobytes()
            for view, left, top, content in pictures:
                records["patches"].append((view, left, top, len(pack), len(content)))
                pack += content
    arrays = {name: np.array(rows, dtype=kinds[name]) for name, rows in records.items()}
    replace_bytes(parts / pack_name(place), bytes(pack))
    file = io.BytesIO()
    np.savez(file, **arrays)
    replace_bytes(_arrays_path(parts, place), file.getvalue())


def _finish(parts: Path, scenes: int, digest: str, description: DataDescription) -> None:
    """Join the scenes' records to the three arrays, then write the index and the files' record."""
    views = len(description.cameras)
    joined = {name: [np.empty(0, kind)] for name, kind in arrays_of(views).items()}
    counts = dict.fromkeys(joined, 0)
    for place in range(scenes):
        arrays = _part(parts, place, views)
        arrays["objects"]["frame"] += counts["frames"]
        arrays["objects"]["first_patch"] += counts["patches"]
        for name, array in arrays.items():
            joined[name].append(array)
            counts[name] += len(array)
    arrays = {name: np.concatenate(rows) for name, rows in joined.items()}
    for name, array in arrays.items():
        content = io.BytesIO()
        np.save(content, array, allow_pickle=False)
        replace_bytes(parts / f"{name}.npy", content.getvalue())
    found = np.bincount(arrays["objects"]["label"], minlength=len(description.classes))
    index = {
        "form": FORM,
        "infos_sha256": digest,
        **counts,
        "classes": dict(zip(description.names, map(int, found), strict=True)),
    }
    if views != VIEWS:
        index["views"] = views
    replace_text(parts / "index.json", json.dumps(index, indent=1) + "\n")
    files = sorted(path for kind in ("json", "npy", "pack") for path in parts.glob(f"*.{kind}"))
    kept = [path for path in files if path.name != "stamp.json"]
    record_files(derived_record(parts), parts, kept)


def swap(parts: Path, final: Path) -> None:
    """Replace the final folder, or what lies in its place, by the complete one."""
    old = final.with_name(f".{final.name}.old")
    remove(old)
    if os.path.lexists(final):
        final.rename(old)
    parts.rename(final)
    remove(old, *final.glob("*.npz"), *final.glob(".*.tmp"), final / "stamp.json")
