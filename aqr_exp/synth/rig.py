"""The sensor rig: where the LiDAR and the cameras sit on the vehicle, and the cameras' lenses.

Ego frame: x forward, y left, z up, origin on the ground below the rear axle. LiDAR frame: x right,
y forward, z up. Camera frame: x right, y down, z forward. Places and lenses are like the real ones.
"""

from dataclasses import dataclass

import numpy as np
from pyquaternion import Quaternion

from aqr_exp.data.geometry import pose_matrix
from aqr_exp.synth.sets import SETS
from aqr_exp.synth.settings import SynthSettings, generator

LIDAR_PLACE_M = (0.94, 0.0, 1.84)
BEAM_ELEVATIONS_DEG = np.linspace(-30.67, 10.67, 32)
"""Elevation of each beam; the index is the ring, 0 looks down the steepest."""

_REAL_WIDTH_PX = 1600.0


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One sensor on the vehicle.

    Attributes:
        name: nuScenes channel.
        place_m: Position in the ego frame.
        rotation: Sensor frame to ego frame.
        intrinsic: Camera matrix [3, 3] in pixels of the stored image; None for the LiDAR.
    """

    name: str
    place_m: tuple[float, float, float]
    rotation: Quaternion
    intrinsic: np.ndarray | None

    @property
    def sensor2ego(self) -> np.ndarray:
        """[4, 4], sensor frame to ego frame."""
        return pose_matrix(self.rotation.elements, self.place_m)


def camera_rotation(heading_deg: float, pitch_deg: float = 0.0) -> Quaternion:
    """Camera frame to ego frame; heading counter-clockwise from forward, positive pitch looks up."""
    # Columns: where the camera's right, down and forward point in the ego frame.
    level = Quaternion(matrix=np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))
    turn = Quaternion(axis=(0.0, 0.0, 1.0), degrees=heading_deg)
    return turn * Quaternion(axis=(0.0, 1.0, 0.0), degrees=-pitch_deg) * level


def build_rig(settings: SynthSettings, vehicle: int) -> dict[str, Mount]:
    """Mounts of one vehicle by channel, the LiDAR first, each a little off its nominal pose."""
    rng = generator(settings.seed, vehicle, "rig")
    scale = settings.image_width / _REAL_WIDTH_PX
    yaw = -90.0 + float(rng.normal(0.0, 0.15))
    chosen = SETS[settings.set]
    lidar = chosen.described.lidar
    mounts = {
        lidar: Mount(
            name=lidar,
            place_m=LIDAR_PLACE_M,
            rotation=Quaternion(axis=(0.0, 0.0, 1.0), degrees=yaw),
            intrinsic=None,
        )
    }
    for camera in chosen.cameras:
        shift = rng.normal(0.0, 0.01, 3)
        turn_deg, pitch_deg = rng.normal(0.0, 0.3, 2)
        centre_px = rng.normal(0.0, 2.0, 2)
        focal = camera.focal_px * (1.0 + float(rng.normal(0.0, 0.004))) * scale
        intrinsic = np.array(
            [
                [focal, 0.0, settings.image_width / 2 + centre_px[0] * scale],
                # The real principal point lies a little below the middle.
                [0.0, focal, settings.image_height * 0.545 + centre_px[1] * scale],
                [0.0, 0.0, 1.0],
            ]
        )
        x, y, z = (float(value) for value in np.asarray(camera.place_m) + shift)
        mounts[camera.channel] = Mount(
            name=camera.channel,
            place_m=(x, y, z),
            rotation=camera_rotation(camera.heading_deg + float(turn_deg), float(pitch_deg)),
            intrinsic=intrinsic,
        )
    return mounts
