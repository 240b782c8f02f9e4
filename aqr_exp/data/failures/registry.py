"""Every sensor failure by name: its severities, its sensor and its definition in one sentence.

Keyframe, sweep, view and azimuth are nuScenes' terms; p is a probability.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Sensor(str, Enum):
    """What a failure acts on."""

    LIDAR = "lidar"
    CAMERA = "camera"
    BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sensor failure.

    Attributes:
        name: As it is typed.
        severities: From mild to heavy where there is an order.
        sensor: What it acts on.
        definition: One sentence, in which `s` is the severity.
    """

    name: str
    severities: tuple[str, ...]
    sensor: Sensor
    definition: str


_THREE = ("1", "2", "3")
_RATES = ("0.2", "0.4", "0.6")
_LIST = (
    Failure(
        name="lidar_drop",
        severities=("origin", "empty"),
        sensor=Sensor.LIDAR,
        definition="origin: x, y and z of all points become 0; empty: the cloud has no points.",
    ),
    Failure(
        name="camera_drop",
        severities=("all",),
        sensor=Sensor.CAMERA,
        definition="All images become 0 before normalisation.",
    ),
    Failure(
        name="view_drop",
        severities=_RATES,
        sensor=Sensor.CAMERA,
        definition=(
            "Each view becomes 0 before normalisation with p = s; or s names the views that do, "
            "such as front+back_left."
        ),
    ),
    Failure(
        name="beams",
        severities=("16", "8", "4"),
        sensor=Sensor.LIDAR,
        definition=(
            "Of the keyframe and of each sweep, before they are merged, s of 32 rings stay: "
            "16 = {1, 3, .., 31}, 8 = {1, 5, .., 29}, 4 = {1, 9, 17, 25}."
        ),
    ),
    Failure(
        name="points_drop",
        severities=("0.7", "0.8", "0.9"),
        sensor=Sensor.LIDAR,
        definition=(
            "Of the N merged points, those with the round(s N) smallest of N uniform draws go."
        ),
    ),
    Failure(
        name="limited_fov",
        severities=("90", "60"),
        sensor=Sensor.LIDAR,
        definition="After merging, points with |atan2(x, y)| <= s degrees stay; +y is forward.",
    ),
    Failure(
        name="object_failure",
        severities=("0.5",),
        sensor=Sensor.LIDAR,
        definition=(
            "With p = s for the frame, all merged points inside all annotated boxes go, "
            "borders included."
        ),
    ),
    Failure(
        name="occlusion",
        severities=_THREE,
        sensor=Sensor.CAMERA,
        definition=(
            "Each view gets 10, 20 or 40 opaque discs of dirt (blue 20, green 30, red 40), centres "
            "uniform in the image, radii uniform in 2 to 10 % of its height."
        ),
    ),
    Failure(
        name="dark",
        severities=_THREE,
        sensor=Sensor.CAMERA,
        definition="Each value v becomes round(g v), g = 0.4, 0.2, 0.1.",
    ),
    Failure(
        name="fog",
        severities=_THREE,
        sensor=Sensor.CAMERA,
        definition="Each value v becomes round(t v + (1 - t) 200), t = 0.6, 0.4, 0.2.",
    ),
    Failure(
        name="blur",
        severities=_THREE,
        sensor=Sensor.CAMERA,
        definition=(
            "A Gaussian filter, sigma = 2, 4, 8 pixels of an image 900 pixels high and in "
            "proportion for others."
        ),
    ),
    Failure(
        name="noise",
        severities=_THREE,
        sensor=Sensor.CAMERA,
        definition=(
            "Each value v becomes round(v + n) within 0 to 255, n normal with sd = 20, 40, 80, "
            "drawn for every pixel and channel."
        ),
    ),
    Failure(
        name="spatial_misalignment",
        severities=_THREE,
        sensor=Sensor.LIDAR,
        definition=(
            "With p = 0.2, 0.4, 0.6 for the frame, the merged points turn by 1, 2, 3 degrees about "
            "x, then y, then z, each to a drawn side, and move 2 m to a drawn azimuth; the "
            "calibration is not told."
        ),
    ),
    Failure(
        name="temporal_misalignment",
        severities=_RATES,
        sensor=Sensor.BOTH,
        definition=(
            "With p = s for the frame, either the LiDAR (keyframe and sweeps) or all images, drawn "
            "evenly, are those of the previous keyframe; the calibration is not told."
        ),
    ),
    Failure(
        name="stuck_lidar",
        severities=("2", "4", "8"),
        sensor=Sensor.LIDAR,
        definition=(
            "Only every s-th keyframe of a scene, from its first, brings new LiDAR data; the others "
            "repeat the last; the calibration is not told."
        ),
    ),
    Failure(
        name="stuck_cameras",
        severities=("2", "4", "8"),
        sensor=Sensor.CAMERA,
        definition=(
            "Only every s-th keyframe of a scene, from its first, brings new images; the others "
            "repeat the last; the calibration is not told."
        ),
    ),
)

FAILURES: Mapping[str, Failure] = MappingProxyType({item.name: item for item in _LIST})
