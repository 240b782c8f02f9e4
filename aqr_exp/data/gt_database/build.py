"""Make a split's object store: scenes in parallel, each kept as soon as it is done."""

import io
import multiprocessing
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.inputs import info_path, objects_folder
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.data.gt_database.crop import EncodedObject, crop_sample, view_matrices
from aqr_exp.data.gt_database.store import (
    ARRAYS,
    FORM,
    GtDatabase,
    index_text,
    pack_name,
)
from aqr_exp.data.info_files import MAX_SWEEPS, fresh_parts
from aqr_exp.data.workers import prepare_worker
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import file_sha256, replace_bytes, replace_text
from aqr_exp.files.progress import Progress, no_progress


def info_digest(root: Path, split: str) -> str:
    """SHA-256 of a split's info file: the objects are cut from what it names."""
    return file_sha256(info_path(root, split))


def database_is_ready(root: Path, split: str) -> bool:
    """Whether a split's objects are there, complete and cut from its present info file."""
    try:
        store = GtDatabase(objects_folder(root, split))
    except AqrExpError:
        return False
    return bool(store.index.get("infos_sha256") == info_digest(root, split))


def build_database(
    root: Path, split: str, *, workers: int, progress: Progress = no_progress
) -> dict[str, int]:
    """EncodedObject out every object of a split, unless that is done.

    Killed at any moment, it goes on with the scenes that are missing; the result is the same, whatever
    the number of workers.

    Args:
        root: The data set's folder, with the split's info file.
        split: The split.
        workers: Processes.
        progress: Called with (scenes done, all scenes).

    Returns:
        Objects by class.
    """
    final = objects_folder(root, split)
    if not database_is_ready(root, split):
        parts = final.with_name(f".{final.name}.parts")
        digest = info_digest(root, split)
        fresh_parts(parts, {"form": FORM, "infos_sha256": digest})
        content = pickle.loads(info_path(root, split).read_bytes())  # noqa: S301 - our own file
        scenes = _by_scene(content["data_list"])
        categories = content["metainfo"]["categories"]
        _cut_scenes(root, parts, scenes, categories, workers, progress)
        _finish(parts, len(scenes), digest)
        _swap(parts, final)
    classes: dict[str, int] = GtDatabase(final).index["classes"]
    return classes


def _by_scene(data_list: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    scenes: dict[str, list[dict[str, Any]]] = {}
    for info in data_list:
        scenes.setdefault(info["scene_token"], []).append(info)
    return list(scenes.values())


def _cut_scenes(
    root: Path,
    parts: Path,
    scenes: list[list[dict[str, Any]]],
    categories: dict[str, int],
    workers: int,
    progress: Progress,
) -> None:
    missing = [place for place in range(len(scenes)) if not _arrays_path(parts, place).is_file()]
    done = len(scenes) - len(missing)
    progress(done, len(scenes))
    # Workers start from a clean process: nothing of the caller's threads or locks is inherited.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker) as pool:
        tasks = [
            pool.submit(crop_scene, root, parts, place, scenes[place], categories)
            for place in missing
        ]
        try:
            for task in as_completed(tasks):
                task.result()
                done += 1
                progress(done, len(scenes))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _arrays_path(parts: Path, place: int) -> Path:
    return parts / f"{place:05d}.npz"


def crop_scene(
    root: Path,
    parts: Path,
    place: int,
    infos: list[dict[str, Any]],
    categories: dict[str, int],
) -> None:
    """Write one scene's pack, then its records; offsets and rows count from the scene's start.

    Args:
        root: The data set's folder.
        parts: Where they go.
        place: Which scene.
        infos: Its samples.
        categories: The info file's label of each class.
    """
    pack = bytearray()
    records: dict[str, list[tuple[Any, ...]]] = {name: [] for name in ARRAYS}
    for frame, info in enumerate(infos):
        records["frames"].append((view_matrices(info),))
        for cut in crop_sample(root, info, categories):
            _append(cut, frame, place, pack, records)
    arrays = {name: np.array(rows, dtype=ARRAYS[name]) for name, rows in records.items()}
    replace_bytes(parts / pack_name(place), bytes(pack))
    content = io.BytesIO()
    np.savez(content, **arrays)
    replace_bytes(_arrays_path(parts, place), content.getvalue())


def _append(
    cut: EncodedObject,
    frame: int,
    place: int,
    pack: bytearray,
    records: dict[str, list[tuple[Any, ...]]],
) -> None:
    offset, first = len(pack), len(records["patches"])
    pack += cut.points.tobytes()
    for patch in cut.patches:
        size = len(patch.content)
        records["patches"].append((patch.view, patch.left, patch.top, len(pack), size))
        pack += patch.content
    by_sweep = np.bincount(cut.points[:, 5].astype(int), minlength=MAX_SWEEPS + 1)
    records["objects"].append(
        (cut.label, frame, place, cut.box, by_sweep, offset, first, len(cut.patches))
    )


def _finish(parts: Path, scenes: int, digest: str) -> None:
    """Join the scenes' records to the three arrays, then write the index."""
    joined = {name: [np.empty(0, kind)] for name, kind in ARRAYS.items()}
    counts = dict.fromkeys(ARRAYS, 0)
    for place in range(scenes):
        with np.load(_arrays_path(parts, place), allow_pickle=False) as part:
            arrays = {name: part[name] for name in ARRAYS}
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
    found = np.bincount(arrays["objects"]["label"], minlength=len(CLASS_NAMES))
    index = {
        "form": FORM,
        "infos_sha256": digest,
        **counts,
        "classes": dict(zip(CLASS_NAMES, map(int, found), strict=True)),
    }
    replace_text(parts / "index.json", index_text(index))


def _swap(parts: Path, final: Path) -> None:
    """Put the complete folder in its place; what was there goes first."""
    if final.exists():
        old = final.with_name(f".{final.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        shutil.rmtree(old)
    parts.rename(final)
    for path in [*final.glob("*.npz"), final / "stamp.json"]:
        path.unlink()
