"""Points of one sample from files: sweeps merged with ego-motion compensation, projection matrices.

Frames: a sweep's points are stored in the LiDAR frame of its own moment (x right, y forward, z up,
metres); merged, all are in the keyframe's LiDAR frame.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

POINT_FEATURES = 5
"""Numbers a stored point has: x, y, z, intensity, ring."""


def read_points(path: str | Path) -> np.ndarray:
    """A nuScenes `.pcd.bin` as float32 [N, 5] (x, y, z, intensity, ring).

    Raises:
        ValueError: The file's size is no multiple of a point's.
    """
    values = np.fromfile(path, dtype=np.float32)
    if values.size % POINT_FEATURES:
        raise ValueError(f"{path}: {values.size} numbers are no multiple of {POINT_FEATURES}")
    return values.reshape(-1, POINT_FEATURES)


def without_ego(points: np.ndarray, half_side_m: float = 1.0) -> np.ndarray:
    """Points outside the square around the sensor in which the ego vehicle itself is seen."""
    near = (np.abs(points[:, 0]) < half_side_m) & (np.abs(points[:, 1]) < half_side_m)
    return points[~near]


def of_rings(points: np.ndarray, rings: Sequence[int] | None) -> np.ndarray:
    """The points of some of the LiDAR's rings.

    Args:
        points: [N, 5] as stored, the ring in the last column.
        rings: Which, counted from 0; None gives all.
    """
    return points if rings is None else points[np.isin(points[:, 4], rings)]


def to_keyframe(points: np.ndarray, lidar2sensor: np.ndarray) -> np.ndarray:
    """Move a sweep's points into the keyframe's LiDAR frame.

    Args:
        points: [N, 5] in the sweep's frame.
        lidar2sensor: [4, 4], keyframe LiDAR frame to the sweep's frame, as info files store it.

    Returns:
        A new array [N, 5].
    """
    sensor2lidar = np.linalg.inv(lidar2sensor)
    moved = points.copy()
    moved[:, :3] = points[:, :3] @ sensor2lidar[:3, :3].T + sensor2lidar[:3, 3]
    return moved


def merged_sweeps(
    sample: Mapping[str, Any], sweeps: int, rings: Sequence[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The points of a keyframe and its newest earlier sweeps in the keyframe's LiDAR frame.

    Args:
        sample: `timestamp`, `lidar_points` and `lidar_sweeps` as in an info file, with whole paths.
        sweeps: How many earlier sweeps, newest first; fewer where a scene begins.
        rings: The rings whose points are kept; None keeps all.

    Returns:
        Points [N, 5] (x, y, z in metres, intensity, seconds before the keyframe) and the sweep [N]
        each is of (0 the keyframe).
    """
    keyframe = of_rings(read_points(sample["lidar_points"]["lidar_path"]), rings).copy()
    keyframe[:, 4] = 0.0
    clouds = [keyframe]
    for sweep in sample.get("lidar_sweeps", [])[:sweeps]:
        points = of_rings(read_points(sweep["lidar_points"]["lidar_path"]), rings)
        points = without_ego(points)
        points = to_keyframe(points, np.asarray(sweep["lidar_points"]["lidar2sensor"], float))
        points[:, 4] = sample["timestamp"] - sweep["timestamp"]
        clouds.append(points)
    numbers = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    return np.concatenate(clouds), numbers


def lidar_to_image(camera: Mapping[str, Any]) -> np.ndarray:
    """[4, 4] from the LiDAR frame to pixels of a stored image (u d, v d, d, 1).

    Args:
        camera: `cam2img` and `lidar2cam` as in an info file.
    """
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = np.asarray(camera["cam2img"])[:3, :3]
    return intrinsics @ np.asarray(camera["lidar2cam"], dtype=np.float64)
