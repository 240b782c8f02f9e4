"""The ground truth of a split, read from nuScenes' tables once and kept as arrays beside the info files.

Letters: S samples.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.annotations import annotated_boxes, ego_positions
from aqr_exp.evaluate.array_file import read_arrays, write_arrays
from aqr_exp.evaluate.boxes import Boxes, Racks, in_racks, in_range
from aqr_exp.evaluate.nuscenes_tables import TABLES, Sample, Scene, Tables
from aqr_exp.evaluate.protocol import PREDEFINED_SPLITS
from aqr_exp.evaluate.samples import Samples

_KIND = "nuScenes ground truth, form 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
    """What the benchmark compares detections with.

    Attributes:
        split: The split's name.
        samples: Its samples.
        ego_xy: Where the vehicle is in each, global frame, metres.
        boxes: Its boxes after the benchmark's filters (range, points, racks), by sample.
        racks: Its bicycle racks.
    """

    split: str
    samples: Samples
    ego_xy: Float[np.ndarray, "S 2"]
    boxes: Boxes
    racks: Racks

    @property
    def keeps_file_order(self) -> bool:
        """Whether equal scores are ranked by the result file's order of samples.

        The devkit does so for nuScenes' own splits, and goes by its own order for custom ones.
        """
        return self.split in PREDEFINED_SPLITS


def cache_path(root: Path, version: str, split: str) -> Path:
    """Where a split's ground truth is kept.

    Args:
        root: The data set's folder.
        version: Its version folder.
        split: The split's name.
    """
    return root / "aqr_infos" / f"{quote(version, safe='')}_{quote(split, safe='')}.truth.npz"


def load_ground_truth(root: Path, version: str, split: str) -> GroundTruth:
    """A split's ground truth, from the arrays kept beside the info files where they are up to date.

    They are made anew when they are missing or damaged, or when a table has another size or time of
    change than when they were made. Where the folder cannot be written to they are not kept.

    Args:
        root: The data set's folder.
        version: Its version folder.
        split: One of nuScenes' own splits or of the version's `splits.json`.

    Raises:
        RequestError: There is no such split, or nothing in it.
        AqrExpError: A table is missing or damaged; names it.
    """
    path = cache_path(root, version, split)
    tables = Tables(root, version)
    stamp = _stamp(tables)
    with contextlib.suppress(AqrExpError):
        arrays, header = read_arrays(path, _KIND)
        if header["tables"] == stamp:
            return _from_arrays(split, arrays)
    truth = read_ground_truth(tables, split)
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, _KIND, _to_arrays(truth), {"tables": stamp})
    return truth


def read_ground_truth(tables: Tables, split: str) -> GroundTruth:
    """A split's ground truth from the tables themselves.

    Args:
        tables: The version's tables.
        split: One of nuScenes' own splits or of the version's `splits.json`.

    Raises:
        RequestError: There is no such split, or nothing in it.
        AqrExpError: A table is missing or damaged; names it.
    """
    wanted = set(tables.split_scenes(split))
    scenes = [scene for scene in tables.rows("scene", Scene) if scene.name in wanted]
    scene_place = {scene.token: index for index, scene in enumerate(scenes)}
    every_sample = tables.rows("sample", Sample)
    rows = [row for row in every_sample if row.scene_token in scene_place]
    if not rows:
        raise RequestError(f"split {split} has no samples in {tables.folder}")
    samples = Samples(
        tokens=tuple(row.token for row in rows),
        scene=np.array([scene_place[row.scene_token] for row in rows]),
        scene_names=tuple(scene.name for scene in scenes),
        scene_descriptions=tuple(scene.description for scene in scenes),
    )
    ego_xy = ego_positions(tables, rows)
    boxes, points, racks = annotated_boxes(tables, rows, every_sample)
    counted = in_range(boxes, ego_xy) & (points != 0) & ~in_racks(boxes, racks)
    return GroundTruth(
        split=split, samples=samples, ego_xy=ego_xy, boxes=boxes.take(counted), racks=racks
    )


def _stamp(tables: Tables) -> dict[str, list[int]]:
    """Size and time of change of every table; what is not there has none."""
    stamp: dict[str, list[int]] = {}
    for table in (*TABLES, "splits"):
        with contextlib.suppress(OSError):
            status = tables.path(table).stat()
            stamp[table] = [status.st_size, status.st_mtime_ns]
    return stamp


def _to_arrays(truth: GroundTruth) -> dict[str, np.ndarray]:
    boxes = {f"box_{name}": value for name, value in vars(truth.boxes).items()}
    racks = {f"rack_{name}": value for name, value in vars(truth.racks).items()}
    return {**truth.samples.arrays(), "ego_xy": truth.ego_xy, **boxes, **racks}


def _from_arrays(split: str, arrays: dict[str, np.ndarray]) -> GroundTruth:
    def part(prefix: str) -> dict[str, np.ndarray]:
        return {
            name.removeprefix(prefix): value
            for name, value in arrays.items()
            if name.startswith(prefix)
        }

    return GroundTruth(
        split=split,
        samples=Samples.from_arrays(arrays),
        ego_xy=arrays["ego_xy"],
        boxes=Boxes(**part("box_")),
        racks=Racks(**part("rack_")),
    )
