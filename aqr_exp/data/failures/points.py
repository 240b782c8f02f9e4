"""Failures of the LiDAR, on the merged cloud.

Points are [N, 5] float32: x, y, z (metres, LiDAR frame, +y forward), intensity, seconds before the
keyframe. Boxes are [G, 7] as in `aqr_exp.data.box_geometry`. No function changes its arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aqr_exp.data.box_geometry import inside_boxes
from aqr_exp.data.failures.case import FailureCase

RINGS: dict[str, tuple[int, ...]] = {
    "16": tuple(range(1, 32, 2)),
    "8": tuple(range(1, 32, 4)),
    "4": tuple(range(1, 32, 8)),
}
"""Which of the 32 rings, counted from 0, stay."""

MISALIGNED = {"1": (0.2, 1.0), "2": (0.4, 2.0), "3": (0.6, 3.0)}
"""Probability for a frame, and degrees about each axis."""
SHIFT_M = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """What a failure of the LiDAR may need.

    Attributes:
        points: [N, 5], merged.
        boxes_m: [G, 7] of all annotated objects.
    """

    points: np.ndarray
    boxes_m: np.ndarray


Corrupt = Callable[[Cloud, FailureCase, np.random.Generator], np.ndarray]


def drop(cloud: Cloud, case: FailureCase, rng: np.random.Generator) -> np.ndarray:
    """All points to the origin, or none at all."""
    del rng
    if case.severity == "empty":
        return cloud.points[:0]
    moved = cloud.points.copy()
    moved[:, :3] = 0.0
    return moved


def drop_points(cloud: Cloud, case: FailureCase, rng: np.random.Generator) -> np.ndarray:
    """An exact share of the points, drawn evenly; the others keep their order."""
    total = len(cloud.points)
    order = np.argsort(rng.random(total), kind="stable")
    gone = round(float(case.severity) * total)
    return cloud.points[np.sort(order[gone:])]


def limit_view(cloud: Cloud, case: FailureCase, rng: np.random.Generator) -> np.ndarray:
    """Points within an angle of the forward direction."""
    del rng
    x, y = cloud.points[:, 0].astype(np.float64), cloud.points[:, 1].astype(np.float64)
    return cloud.points[np.abs(np.degrees(np.arctan2(x, y))) <= float(case.severity)]


def drop_objects(cloud: Cloud, case: FailureCase, rng: np.random.Generator) -> np.ndarray:
    """The points in all boxes of a drawn frame."""
    if rng.random() >= float(case.severity):
        return cloud.points
    return cloud.points[~inside_boxes(cloud.points[:, :3], cloud.boxes_m).any(axis=0)]


def misalign(cloud: Cloud, case: FailureCase, rng: np.random.Generator) -> np.ndarray:
    """A drawn frame's points, turned about the three axes and moved."""
    rate, degrees = MISALIGNED[case.severity]
    drawn = rng.random(5)
    if drawn[0] >= rate:
        return cloud.points
    turn = rotation(np.radians(np.where(drawn[1:4] < 0.5, -degrees, degrees)))
    azimuth = 2 * np.pi * drawn[4]
    shift = SHIFT_M * np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    moved = cloud.points.copy()
    moved[:, :3] = cloud.points[:, :3].astype(np.float64) @ turn.T + shift
    return moved


def rotation(angles: np.ndarray) -> np.ndarray:
    """[3, 3], about x, then y, then z.

    Args:
        angles: [3] in radians, about x, y and z.
    """
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[[one, other], [one, other]] = np.cos(angle)
        about[one, other], about[other, one] = -np.sin(angle), np.sin(angle)
        turn = about @ turn
    return turn


POINT_FAILURES: dict[str, Corrupt] = {
    "lidar_drop": drop,
    "points_drop": drop_points,
    "limited_fov": limit_view,
    "object_failure": drop_objects,
    "spatial_misalignment": misalign,
}
