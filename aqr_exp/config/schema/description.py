"""The description of a data set: its classes, cameras, LiDAR and volume.

`dataset.yaml` beside the data holds one; without it they are nuScenes.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, Range

Heading = Literal["full", "half", "none"]
"""What a class's heading is: an angle, an angle whose front and back count as equal, or not measured."""

MOVING_SPEED_MPS = 0.2
"""An object faster than this counts as moving (m/s), as in the published evaluations."""


def view_name(channel: str) -> str:
    """A camera as it is typed, such as `front_left`."""
    return channel.removeprefix("CAM_").lower()


@dataclass(frozen=True, kw_only=True)
class DetectionClass:
    """A class that is detected and scored; its label is its place among the classes.

    Attributes:
        categories: Names in `category.json` of the annotations that are of it.
        range_m: Boxes count while their centre is nearer to the vehicle than this, seen from above.
        attributes: Names in `attribute.json` that its boxes may have. Detections get the first where
            they move and the second, where there is one, where they rest.
        velocity: Its velocity is measured.
        small: It is of the condition `small`; others are of `large`.
        outside_racks: Its boxes do not count within a box of the category `racks`.
    """

    name: str
    categories: tuple[str, ...]
    range_m: Annotated[float, Range(1.0, 1000.0)]
    attributes: Annotated[tuple[str, ...], DefaultBefore(())] = ()
    heading: Annotated[Heading, DefaultBefore("full")] = "full"
    velocity: Annotated[bool, DefaultBefore(True)] = True
    small: Annotated[bool, DefaultBefore(False)] = False
    outside_racks: Annotated[bool, DefaultBefore(False)] = False

    def attribute(self, speed_mps: float) -> str:
        """The attribute of a detection with a speed in the ground plane; empty without attributes."""
        if not self.attributes:
            return ""
        return self.attributes[0 if speed_mps > MOVING_SPEED_MPS else len(self.attributes[:2]) - 1]


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """The classes and sensors of a data set in nuScenes' schema.

    Attributes:
        classes: In the order of the labels.
        cameras: Channels in `sensor.json`, in the order of the views.
        lidar: Its channel.
        point_range_m: (x, y, z, x, y, z) in the LiDAR frame; points outside are not read.
        racks: Category of boxes in which classes with `outside_racks` do not count; empty for none.
    """

    classes: tuple[DetectionClass, ...]
    cameras: tuple[str, ...]
    lidar: Annotated[str, DefaultBefore("LIDAR_TOP")] = "LIDAR_TOP"
    point_range_m: Annotated[tuple[float, ...] | None, Range(-1000.0, 1000.0)] = None
    racks: Annotated[str, DefaultBefore("")] = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes' names by label."""
        return tuple(each.name for each in self.classes)

    @cached_property
    def class_of(self) -> dict[str, str]:
        """The class of each category; annotations of other categories are not ground truth."""
        return {name: each.name for each in self.classes for name in each.categories}

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """All attributes; an attribute's label is its place here, -1 is none."""
        return tuple(dict.fromkeys(name for each in self.classes for name in each.attributes))

    @property
    def sensors(self) -> tuple[str, ...]:
        """All channels that are read, the LiDAR first."""
        return self.lidar, *self.cameras

    @property
    def views(self) -> tuple[str, ...]:
        """The cameras as they are typed, in their order."""
        return tuple(map(view_name, self.cameras))


_VEHICLE = ("vehicle.moving", "vehicle.parked", "vehicle.stopped")
_BUS = ("vehicle.moving", "vehicle.stopped", "vehicle.parked")
_CYCLE = ("cycle.with_rider", "cycle.without_rider")
_PERSON = ("pedestrian.moving", "pedestrian.standing", "pedestrian.sitting_lying_down")
_BUSES = ("vehicle.bus.bendy", "vehicle.bus.rigid")
_PEOPLE = tuple(
    f"human.pedestrian.{kind}"
    for kind in ("adult", "child", "construction_worker", "police_officer")
)
# Class, categories, range, attributes.
_LARGE = (
    ("car", ("vehicle.car",), 50.0, _VEHICLE),
    ("truck", ("vehicle.truck",), 50.0, _VEHICLE),
    ("construction_vehicle", ("vehicle.construction",), 50.0, _VEHICLE),
    ("bus", _BUSES, 50.0, _BUS),
    ("trailer", ("vehicle.trailer",), 50.0, _VEHICLE),
)
_CYCLES = (
    ("motorcycle", ("vehicle.motorcycle",), 40.0, _CYCLE),
    ("bicycle", ("vehicle.bicycle",), 40.0, _CYCLE),
)

NUSCENES = DataDescription(
    classes=(
        *(
            DetectionClass(name=name, categories=categories, range_m=range_m, attributes=attributes)
            for name, categories, range_m, attributes in _LARGE
        ),
        DetectionClass(
            name="barrier",
            categories=("movable_object.barrier",),
            range_m=30.0,
            heading="half",
            velocity=False,
            small=True,
        ),
        *(
            DetectionClass(
                name=name,
                categories=categories,
                range_m=range_m,
                attributes=attributes,
                small=True,
                outside_racks=True,
            )
            for name, categories, range_m, attributes in _CYCLES
        ),
        DetectionClass(
            name="pedestrian", categories=_PEOPLE, range_m=40.0, attributes=_PERSON, small=True
        ),
        DetectionClass(
            name="traffic_cone",
            categories=("movable_object.trafficcone",),
            range_m=30.0,
            heading="none",
            velocity=False,
            small=True,
        ),
    ),
    cameras=(
        "CAM_FRONT",
        "CAM_FRONT_RIGHT",
        "CAM_FRONT_LEFT",
        "CAM_BACK",
        "CAM_BACK_LEFT",
        "CAM_BACK_RIGHT",
    ),
    racks="static_object.bicycle_rack",
)
"""nuScenes: classes and views in the order that the published CMT checkpoints use."""
