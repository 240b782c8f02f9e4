"""nuScenes' classes and channels, and the kinds of sensors."""

from enum import Enum

from aqr_exp.config.schema.description import NUSCENES

CLASS_NAMES = NUSCENES.names
"""The ten detection classes: label `i` is `CLASS_NAMES[i]`. Other data have a description."""

CAMERA_NAMES = NUSCENES.cameras
"""Its views, in their order."""

LIDAR_NAME = NUSCENES.lidar


class Modality(str, Enum):
    """A kind of sensor that can be taken away or be late."""

    CAMERA = "camera"
    LIDAR = "lidar"
