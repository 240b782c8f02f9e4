"""Places of sensors, poses and boxes that cannot be: rotations, intrinsics, directions, sizes.

Frames: ego x forward, y left, z up; camera x right, y down, z ahead.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from aqr_exp.data.checks.fault import Fault
from aqr_exp.data.checks.raw_tables import RawTables
from aqr_exp.data.classes import CAMERA_NAMES

NORM_TOLERANCE = 1e-3
# Further from the middle of the rear axle no sensor of a car is mounted.
MOUNTED_WITHIN_M = 10.0
# Where each nuScenes camera looks, counter-clockwise from forward.
AZIMUTH_DEG = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_LEFT": 55.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_RIGHT": -110.0,
    "CAM_FRONT_RIGHT": -55.0,
}
DIRECTION_WITHIN_DEG = 30.0


def bad_rotation(numbers: Sequence[float]) -> str | None:
    """What is wrong with a unit quaternion (w, x, y, z)."""
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return f"rotation {list(numbers)} is no quaternion of four finite numbers"
    norm = math.sqrt(sum(number * number for number in numbers))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        return f"rotation has norm {norm:.4g}, not 1"
    return None


def bad_translation(numbers: Sequence[float], *, within_m: float = math.inf) -> str | None:
    """What is wrong with a place in metres."""
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        return f"translation {list(numbers)} is not three finite numbers"
    if math.hypot(*numbers) > within_m:
        return f"translation is {math.hypot(*numbers):.4g} m long (at most {within_m:g} m)"
    return None


def bad_intrinsic(matrix: Sequence[Sequence[float]], size_px: tuple[int, int] | None) -> str | None:
    """What is wrong with a camera matrix.

    Args:
        matrix: 3 x 3, pixels.
        size_px: (width, height) of the camera's images, where any are known.
    """
    if [len(row) for row in matrix] != [3, 3, 3] or not np.isfinite(matrix).all():
        return f"camera_intrinsic {list(matrix)} is not 3 x 3 finite numbers"
    if matrix[0][0] <= 0 or matrix[1][1] <= 0:
        return f"camera_intrinsic has focal lengths {matrix[0][0]:g} and {matrix[1][1]:g} px"
    if list(matrix[2]) != [0, 0, 1] or matrix[1][0] != 0:
        return "camera_intrinsic is no upper triangle that ends in 0, 0, 1"
    at = (matrix[0][2], matrix[1][2])
    if size_px and not all(0 < place < size for place, size in zip(at, size_px, strict=True)):
        width, height = size_px
        return f"principal point ({at[0]:g}, {at[1]:g}) lies outside the {width} x {height} image"
    return None


def bad_direction(channel: str, rotation: Sequence[float]) -> str | None:
    """That a camera does not look where its name says."""
    from pyquaternion import Quaternion

    ahead = Quaternion(list(rotation)).rotation_matrix[:, 2]
    azimuth = math.degrees(math.atan2(ahead[1], ahead[0]))
    away = abs((azimuth - AZIMUTH_DEG[channel] + 180.0) % 360.0 - 180.0)
    rise = abs(math.degrees(math.asin(max(-1.0, min(1.0, float(ahead[2]))))))
    if away > DIRECTION_WITHIN_DEG or rise > DIRECTION_WITHIN_DEG:
        nominal = f"{AZIMUTH_DEG[channel]:g} deg"
        return f"{channel} looks to {azimuth:.0f} deg (up {rise:.0f} deg), its name says {nominal}"
    return None


def image_sizes(tables: RawTables) -> dict[str, tuple[int, int]]:
    """(width, height) of the images of each camera's calibration; needs sound references."""
    return {
        row.calibrated_sensor_token: (row.width, row.height)
        for row in tables.rows["sample_data"].values()
        if isinstance(row.width, int) and isinstance(row.height, int) and row.width and row.height
    }


def calibration_faults(tables: RawTables) -> Iterator[Fault]:
    """At most one fault a row of `calibrated_sensor`, `ego_pose`."""
    sizes = image_sizes(tables)
    for token, row in tables.rows["calibrated_sensor"].items():
        sensor = tables.rows["sensor"][row.sensor_token]
        cause = bad_rotation(row.rotation)
        cause = cause or bad_translation(row.translation, within_m=MOUNTED_WITHIN_M)
        if sensor.modality == "camera":
            cause = cause or bad_intrinsic(row.camera_intrinsic, sizes.get(token))
        if sensor.channel in CAMERA_NAMES:
            cause = cause or bad_direction(sensor.channel, row.rotation)
        if cause:
            cause = f"{sensor.channel} {token}: {cause}"
            yield tables.fault("calibrated_sensor", "calibration", cause)
    for token, row in tables.rows["ego_pose"].items():
        cause = bad_rotation(row.rotation) or bad_translation(row.translation)
        if cause:
            yield tables.fault("ego_pose", "pose", f"{token}: {cause}")


def annotation_faults(tables: RawTables) -> Iterator[Fault]:
    """At most one fault a row of `sample_annotation`."""
    for token, row in tables.rows["sample_annotation"].items():
        cause = _bad_box(row)
        if cause:
            yield tables.fault("sample_annotation", "annotation", f"{token}: {cause}")


def _bad_box(row: Any) -> str | None:
    if len(row.size) != 3 or not all(math.isfinite(size) and size > 0 for size in row.size):
        return f"size {row.size} is not three lengths above 0"
    if row.num_lidar_pts < 0 or row.num_radar_pts < 0:
        return f"{row.num_lidar_pts} LiDAR and {row.num_radar_pts} radar points"
    return bad_rotation(row.rotation) or bad_translation(row.translation)
