"""What nuScenes' tables say about a split's samples, as arrays.

Letters: S samples of the split, G ground truths, K bicycle racks.
"""

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.boxes import Boxes, Racks, rotation_matrices
from aqr_exp.evaluate.nuscenes_tables import (
    Annotation,
    Calibration,
    Instance,
    Named,
    Pose,
    Sample,
    SampleData,
    Sensor,
    Tables,
)
from aqr_exp.evaluate.protocol import ATTRIBUTE_NAMES, CLASS_OF_CATEGORY, RACK_CATEGORY

LIDAR_CHANNEL = "LIDAR_TOP"
MAX_VELOCITY_GAP_S = 1.5
"""A velocity is the difference between neighbouring annotations at most this far apart on either side."""


def ego_positions(tables: Tables, samples: list[Sample]) -> Float[np.ndarray, "S 2"]:
    """Where the vehicle is at each sample's LiDAR keyframe: (x, y), global frame, metres.

    Args:
        tables: The tables.
        samples: The samples that are wanted.

    Raises:
        AqrExpError: A sample has no LiDAR keyframe, or a table is damaged.
    """
    wanted = {sample.token for sample in samples}
    sensors = {row.token for row in tables.rows("sensor", Sensor) if row.channel == LIDAR_CHANNEL}
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
        for row in tables.rows("ego_pose", Pose)
        if row.token in poses
    }
    ego = np.zeros((len(samples), 2))
    for index, sample in enumerate(samples):
        if sample.token not in pose_of:
            raise AqrExpError(
                f"{tables.path('sample_data')}: sample {sample.token} has no {LIDAR_CHANNEL} keyframe"
            )
        ego[index] = tables.lookup("ego_pose", place, pose_of[sample.token])
    return ego


class _Tracks:
    """Annotations by token, and when they were made."""

    def __init__(self, tables: Tables, samples: list[Sample]) -> None:
        self.tables = tables
        rows = tables.rows("sample_annotation", Annotation)
        self.annotations = {row.token: row for row in rows}
        self.time_s = {sample.token: 1e-6 * sample.timestamp for sample in samples}

    def velocity(self, current: Annotation) -> Float[np.ndarray, " 2"]:
        """(x, y) in m/s from the neighbours on the track; NaN where there are none near enough."""
        first, last = self._neighbour(current, current.prev), self._neighbour(current, current.next)
        sides = bool(current.prev) + bool(current.next)
        seconds = self._seconds(last) - self._seconds(first)
        if sides == 0 or seconds > MAX_VELOCITY_GAP_S * sides:
            return np.full(2, np.nan)
        moved = np.array(last.translation[:2]) - np.array(first.translation[:2])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(moved / np.float64(seconds))

    def _neighbour(self, current: Annotation, token: str) -> Annotation:
        if not token:
            return current
        return self.tables.lookup("sample_annotation", self.annotations, token)

    def _seconds(self, annotation: Annotation) -> float:
        return self.tables.lookup("sample", self.time_s, annotation.sample_token)


def _attribute(tables: Tables, names: dict[str, str], annotation: Annotation) -> int:
    """Label of an annotation's attribute, -1 for none."""
    tokens = annotation.attribute_tokens
    if not tokens:
        return -1
    where = f"{tables.path('sample_annotation')}: annotation {annotation.token}"
    if len(tokens) > 1:
        raise AqrExpError(f"{where} has {len(tokens)} attributes (at most one is defined)")
    name = tables.lookup("attribute", names, tokens[0])
    if name not in ATTRIBUTE_NAMES:
        raise AqrExpError(f"{where} has the unknown attribute {name}")
    return ATTRIBUTE_NAMES.index(name)


def _rack_arrays(rows: list[tuple[int, Annotation]]) -> Racks:
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
    tables: Tables, samples: list[Sample], every_sample: list[Sample]
) -> tuple[Boxes, Int[np.ndarray, " G"], Racks]:
    """What is annotated in some samples, before the benchmark's filters.

    Args:
        tables: The tables.
        samples: The samples that are wanted.
        every_sample: All samples of the version: tracks are followed through them.

    Returns:
        Boxes of the ten classes, by sample and in the table's order within it; how many points
        (LiDAR and radar) lie in each; the bicycle racks.

    Raises:
        AqrExpError: A table is damaged; names it and the token.
    """
    place = {sample.token: index for index, sample in enumerate(samples)}
    category = {row.token: row.name for row in tables.rows("category", Named)}
    instances = {row.token: row.category_token for row in tables.rows("instance", Instance)}
    attributes = {row.token: row.name for row in tables.rows("attribute", Named)}
    tracks = _Tracks(tables, every_sample)
    boxes: list[tuple[int, int, Annotation]] = []
    racks: list[tuple[int, Annotation]] = []
    for row in tracks.annotations.values():
        if row.sample_token not in place:
            continue
        token = tables.lookup("instance", instances, row.instance_token)
        name = tables.lookup("category", category, token)
        if name == RACK_CATEGORY:
            racks.append((place[row.sample_token], row))
        elif name in CLASS_OF_CATEGORY:
            label = CLASS_NAMES.index(CLASS_OF_CATEGORY[name])
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
        attribute=np.array([_attribute(tables, attributes, row) for row in rows], dtype=np.int64),
    )
    points = np.array([row.num_lidar_pts + row.num_radar_pts for row in rows], dtype=np.int64)
    return arrays, points, _rack_arrays(racks)
