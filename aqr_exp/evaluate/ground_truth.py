"""Ground truth of a split as arrays, read from nuScenes' tables.

Letters: S samples of the split, G ground truths, K bicycle racks.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.description import read_description
from aqr_exp.config.identity import as_dict
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.data.info_files import WHOLE, Part, prepared_part
from aqr_exp.data.nuscenes_tables import (
    EVALUATED_TABLES,
    PREDEFINED_SPLITS,
    Calibration,
    ExactAnnotation,
    ExactPose,
    Instance,
    Named,
    Sample,
    SampleData,
    Scene,
    Sensor,
    Tables,
    unknown_names,
)
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.boxes import Boxes, Racks, in_racks, in_range, rotation_matrices
from aqr_exp.evaluate.records import SplitSamples, part
from aqr_exp.files.arrays import read_arrays, write_arrays
from aqr_exp.files.cache import cache_of

MAX_VELOCITY_GAP_S = 1.5
"""A velocity is the difference between neighbouring annotations at most this far apart on either side."""


def ego_positions(
    tables: Tables, samples: list[Sample], lidar: str = NUSCENES.lidar
) -> Float[np.ndarray, "S 2"]:
    """(x, y) of the vehicle at each sample's LiDAR keyframe, global frame, metres.

    Raises:
        AqrExpError: A sample has no LiDAR keyframe, or a table is damaged.
    """
    wanted = {sample.token for sample in samples}
    sensors = {row.token for row in tables.rows("sensor", Sensor) if row.channel == lidar}
    calibrations = {
        row.token
        for row in tables.rows("calibrated_sensor", Calibration)
        if row.sensor_token in sensors
    }
    pose_of = {
        row.sample_token: row.ego_pose_token
        for row in tables.rows("sample_data", SampleData)
        if row.is_key_frame
        and row.calibrated_sensor_token in calibrations
        and row.sample_token in wanted
    }
    poses = set(pose_of.values())
    place = {
        row.token: row.translation[:2]
        for row in tables.rows("ego_pose", ExactPose)
        if row.token in poses
    }
    ego = np.zeros((len(samples), 2))
    for index, sample in enumerate(samples):
        if sample.token not in pose_of:
            raise AqrExpError(
                f"{tables.path('sample_data')}: sample {sample.token} has no {lidar} keyframe"
            )
        ego[index] = tables.lookup("ego_pose", place, pose_of[sample.token])
    return ego


class _Tracks:
    """Annotations by token, and their times."""

    def __init__(self, tables: Tables, samples: list[Sample]) -> None:
        self.tables = tables
        rows = tables.rows("sample_annotation", ExactAnnotation)
        self.annotations = {row.token: row for row in rows}
        self.time_s = {sample.token: 1e-6 * sample.timestamp for sample in samples}

    def velocity(self, current: ExactAnnotation) -> Float[np.ndarray, " 2"]:
        """(x, y) in m/s from the neighbours on the track; NaN where there are none near enough."""
        first, last = (
            self.tables.lookup("sample_annotation", self.annotations, token) if token else current
            for token in (current.prev, current.next)
        )
        begin, end = (
            self.tables.lookup("sample", self.time_s, row.sample_token) for row in (first, last)
        )
        sides, seconds = bool(current.prev) + bool(current.next), end - begin
        if sides == 0 or seconds > MAX_VELOCITY_GAP_S * sides:
            return np.full(2, np.nan)
        moved = np.array(last.translation[:2]) - np.array(first.translation[:2])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(moved / np.float64(seconds))


def _attribute(
    tables: Tables, names: dict[str, str], annotation: ExactAnnotation, known: Sequence[str]
) -> int:
    """Label of an annotation's attribute, its place among the known ones; -1 for none."""
    tokens = annotation.attribute_tokens
    if not tokens:
        return -1
    where = f"{tables.path('sample_annotation')}: annotation {annotation.token}"
    if len(tokens) > 1:
        raise AqrExpError(f"{where} has {len(tokens)} attributes (at most one is defined)")
    name = tables.lookup("attribute", names, tokens[0])
    if name not in known:
        raise AqrExpError(f"{where} has the unknown attribute {name}")
    return known.index(name)


def _rack_arrays(rows: list[tuple[int, ExactAnnotation]]) -> Racks:
    centre = np.array([row.translation for _, row in rows]).reshape(-1, 3)
    half = np.array([row.size for _, row in rows]).reshape(-1, 3)[:, [1, 0, 2]] / 2
    turn = rotation_matrices(np.array([row.rotation for _, row in rows]).reshape(-1, 4))
    # The corner at the front left top, and its three neighbours behind, to the right and below.
    signs = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    corners = np.einsum("kij,kcj->kci", turn, half[:, None] * signs) + centre[:, None]
    return Racks(
        sample=np.array([sample for sample, _ in rows], dtype=np.int64),
        corner=corners[:, 0],
        edges=corners[:, 1:] - corners[:, :1],
    )


def annotated_boxes(
    tables: Tables,
    samples: list[Sample],
    every_sample: list[Sample],
    description: DataDescription = NUSCENES,
) -> tuple[Boxes, Int[np.ndarray, " G"], Racks]:
    """Annotations of some samples, before the benchmark's filters; tracks pass through every sample.

    Returns:
        Boxes of the classes, by sample and in the table's order within it; how many points
        (LiDAR and radar) lie in each; the bicycle racks.

    Raises:
        AqrExpError: A table is damaged; names it and the token.
    """
    place = {sample.token: index for index, sample in enumerate(samples)}
    category = {row.token: row.name for row in tables.rows("category", Named)}
    instances = {row.token: row.category_token for row in tables.rows("instance", Instance)}
    attributes = {row.token: row.name for row in tables.rows("attribute", Named)}
    tracks = _Tracks(tables, every_sample)
    boxes: list[tuple[int, int, ExactAnnotation]] = []
    racks: list[tuple[int, ExactAnnotation]] = []
    for row in tracks.annotations.values():
        if row.sample_token not in place:
            continue
        token = tables.lookup("instance", instances, row.instance_token)
        name = tables.lookup("category", category, token)
        if name == description.racks:
            racks.append((place[row.sample_token], row))
        elif name in description.class_of:
            label = description.names.index(description.class_of[name])
            boxes.append((place[row.sample_token], label, row))
    boxes.sort(key=lambda box: box[0])
    rows = [row for _, _, row in boxes]
    arrays = Boxes(
        sample=np.array([sample for sample, _, _ in boxes], dtype=np.int64),
        label=np.array([label for _, label, _ in boxes], dtype=np.int64),
        centre=np.array([row.translation for row in rows]).reshape(-1, 3),
        size=np.array([row.size for row in rows]).reshape(-1, 3),
        rotation=np.array([row.rotation for row in rows]).reshape(-1, 4),
        velocity=np.array([tracks.velocity(row) for row in rows]).reshape(-1, 2),
        attribute=np.array(
            [_attribute(tables, attributes, row, description.attributes) for row in rows],
            dtype=np.int64,
        ),
    )
    points = np.array([row.num_lidar_pts + row.num_radar_pts for row in rows], dtype=np.int64)
    return arrays, points, _rack_arrays(racks)


_KIND = "nuScenes ground truth, form 1"


@dataclass(frozen=True, kw_only=True, eq=False)
class GroundTruth:
    """Ground truth of a split: boxes by sample, after the benchmark's filters (range, points, racks).

    The vehicle's place at each sample, `ego_xy`, is in the global frame, metres.
    """

    split: str
    samples: SplitSamples
    ego_xy: Float[np.ndarray, "S 2"]
    boxes: Boxes
    racks: Racks
    description: DataDescription = NUSCENES

    @property
    def keeps_file_order(self) -> bool:
        """True if equal scores are ranked by the result file's order of samples.

        The devkit does so for nuScenes' own splits, and goes by its own order for custom ones.
        """
        return self.split in PREDEFINED_SPLITS


def cache_path(root: Path, version: str, split: str) -> Path:
    """File in which a split's ground truth is cached."""
    return cache_of(root) / f"{quote(version, safe='')}_{quote(split, safe='')}.truth.npz"


def load_ground_truth(root: Path, version: str, split: str) -> GroundTruth:
    """A split's ground truth, from this user's cache if that is current.

    They are read anew when they are missing or damaged, or when a table's size or time of change
    differs. Where the folder cannot be written to, nothing is cached.

    Raises:
        RequestError: There is no such split, or nothing in it.
        AqrExpError: A table is missing or damaged; names it.
    """
    path = cache_path(root, version, split)
    tables = Tables(root, version)
    part = prepared_part(root)
    description = read_description(root)
    known = {
        "tables": _stamp(tables),
        "scenes": part.scenes and list(part.scenes),
        "description": description and as_dict(description),
    }
    with contextlib.suppress(AqrExpError):
        arrays, header = read_arrays(path, _KIND)
        if all(header.get(name) == value for name, value in known.items()):
            return _from_arrays(split, arrays, description or NUSCENES)
    truth = read_ground_truth(tables, split, part, description or NUSCENES)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, _KIND, _to_arrays(truth), known)
    return truth


def read_ground_truth(
    tables: Tables, split: str, part: Part = WHOLE, description: DataDescription = NUSCENES
) -> GroundTruth:
    """A split's ground truth from the tables themselves, of the scenes that are prepared.

    Raises:
        RequestError: There is no such split, or nothing in it.
        AqrExpError: A table is missing or damaged; names it.
    """
    wanted = {name for name in tables.split_scenes(split) if part.has(name)}
    scenes = [scene for scene in tables.rows("scene", Scene) if scene.name in wanted]
    scene_place = {scene.token: index for index, scene in enumerate(scenes)}
    every_sample = tables.rows("sample", Sample)
    rows = [row for row in every_sample if row.scene_token in scene_place]
    if not rows:
        raise RequestError(f"split {split} has no samples in {tables.folder}")
    samples = SplitSamples(
        tokens=tuple(row.token for row in rows),
        scene=np.array([scene_place[row.scene_token] for row in rows]),
        scene_names=tuple(scene.name for scene in scenes),
        scene_descriptions=tuple(scene.description for scene in scenes),
    )
    if description != NUSCENES:
        vocabulary = {
            table: [row.name for row in tables.rows(table, Named)]
            for table in ("category", "attribute")
        }
        vocabulary["sensor"] = [row.channel for row in tables.rows("sensor", Sensor)]
        if faults := list(unknown_names(description, vocabulary)):
            raise RequestError(*faults)
    ego_xy = ego_positions(tables, rows, description.lidar)
    boxes, points, racks = annotated_boxes(tables, rows, every_sample, description)
    counted = in_range(boxes, ego_xy, description) & (points != 0)
    counted &= ~in_racks(boxes, racks, description)
    return GroundTruth(
        split=split,
        samples=samples,
        ego_xy=ego_xy,
        boxes=boxes.take(counted),
        racks=racks,
        description=description,
    )


def _stamp(tables: Tables) -> dict[str, list[int]]:
    """Size and time of change of every table that exists."""
    stamp: dict[str, list[int]] = {}
    for table in (*EVALUATED_TABLES, "splits"):
        with contextlib.suppress(OSError):
            status = tables.path(table).stat()
            stamp[table] = [status.st_size, status.st_mtime_ns]
    return stamp


def _to_arrays(truth: GroundTruth) -> dict[str, np.ndarray]:
    boxes = {f"box_{name}": value for name, value in vars(truth.boxes).items()}
    racks = {f"rack_{name}": value for name, value in vars(truth.racks).items()}
    return {**truth.samples.arrays(), "ego_xy": truth.ego_xy, **boxes, **racks}


def _from_arrays(
    split: str, arrays: dict[str, np.ndarray], description: DataDescription
) -> GroundTruth:
    return GroundTruth(
        split=split,
        samples=SplitSamples.from_arrays(arrays),
        ego_xy=arrays["ego_xy"],
        boxes=Boxes(**part(arrays, "box_")),
        racks=Racks(**part(arrays, "rack_")),
        description=description,
    )
