"""The ten nuScenes detection classes in label order, and the channels of the sensors."""

from enum import Enum

CLASS_NAMES: tuple[str, ...] = (
    "car",
    "truck",
    "construction_vehicle",
    "bus",
    "trailer",
    "barrier",
    "motorcycle",
    "bicycle",
    "pedestrian",
    "traffic_cone",
)
"""Label `i` is `CLASS_NAMES[i]`, the order the published CMT checkpoints use."""

CAMERA_NAMES: tuple[str, ...] = (
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_FRONT_LEFT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_BACK_RIGHT",
)
"""Views in the order the published models were trained with."""

LIDAR_NAME = "LIDAR_TOP"


class Modality(str, Enum):
    """A kind of sensor that can be taken away or be late."""

    CAMERA = "camera"
    LIDAR = "lidar"
