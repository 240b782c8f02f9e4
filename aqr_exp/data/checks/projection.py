"""Whether LiDAR points land in the images when they go through the tables' calibrations and poses."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from aqr_exp.data.checks.fault import Fault
from aqr_exp.data.checks.files import LIDAR_NAME, SEEN_SHARE, SensorFiles, chosen
from aqr_exp.data.checks.raw_tables import RawTables
from aqr_exp.data.checks.rows import SampleData
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.point_clouds import read_points

NEAREST_M = 1.0
# Some recordings of each calibration: in one alone a lorry may stand before the lens.
KEYFRAMES_PER_CAMERA = 3


def _matrix(row: Any) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Quaternion(row.rotation).rotation_matrix
    matrix[:3, 3] = row.translation
    return matrix


def _to_global(tables: RawTables, row: SampleData) -> np.ndarray:
    pose = _matrix(tables.rows["ego_pose"][row.ego_pose_token])
    return pose @ _matrix(tables.rows["calibrated_sensor"][row.calibrated_sensor_token])


def seen_share(tables: RawTables, camera: SampleData, lidar: SampleData, xyz: np.ndarray) -> float:
    """The share of a keyframe's points [N, 3] (LiDAR frame, m) that land in a camera's image."""
    lidar2cam = np.linalg.inv(_to_global(tables, camera)) @ _to_global(tables, lidar)
    in_camera = xyz @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]
    in_camera = in_camera[in_camera[:, 2] > NEAREST_M]
    intrinsic = tables.rows["calibrated_sensor"][camera.calibrated_sensor_token].camera_intrinsic
    pixels = in_camera @ np.asarray(intrinsic).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1)
    return float(inside.sum() / max(1, len(xyz)))


def blind_cameras(tables: RawTables, files: SensorFiles) -> Iterator[Fault]:
    """Calibrations of cameras that see next to none of the points of their keyframes."""
    keyframes = tables.keyframes()
    for channel in CAMERA_NAMES:
        by_calibration: dict[str, list[SampleData]] = {}
        for row in files.rows[channel]:
            by_calibration.setdefault(row.calibrated_sensor_token, []).append(row)
        for token, rows in by_calibration.items():
            shares = []
            for row in chosen(rows, KEYFRAMES_PER_CAMERA):
                lidar = keyframes[row.sample_token][LIDAR_NAME]
                if lidar.filename in files.size_bytes and isinstance(row.width, int):
                    xyz = read_points(files.root / lidar.filename)[:, :3].astype(float)
                    shares.append(seen_share(tables, row, lidar, xyz))
            if shares and max(shares) < SEEN_SHARE:
                cause = (
                    f"{channel} {token}: {max(shares):.2%} of the LiDAR points land in its image"
                )
                yield tables.fault("calibrated_sensor", "calibration", cause)
