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


_MOVING = ("vehicle.moving", "vehicle.parked", "vehicle.stopped")
_BUS = ("vehicle.moving", "vehicle.stopped", "vehicle.parked")
_CYCLE = ("cycle.with_rider", "cycle.without_rider")
_PERSON = ("pedestrian.moving", "pedestrian.standing", "pedestrian.sitting_lying_down")
_PEOPLE = " ".join(
    f"human.pedestrian.{kind}"
    for kind in ("adult", "child", "construction_worker", "police_officer")
)
# Class, range, categories, attributes.
_CLASSES: tuple[tuple[str, float, str, tuple[str, ...]], ...] = (
    ("car", 50.0, "vehicle.car", _MOVING),
    ("truck", 50.0, "vehicle.truck", _MOVING),
    ("construction_vehicle", 50.0, "vehicle.construction", _MOVING),
    ("bus", 50.0, "vehicle.bus.bendy vehicle.bus.rigid", _BUS),
    ("trailer", 50.0, "vehicle.trailer", _MOVING),
    ("barrier", 30.0, "movable_object.barrier", ()),
    ("motorcycle", 40.0, "vehicle.motorcycle", _CYCLE),
    ("bicycle", 40.0, "vehicle.bicycle", _CYCLE),
    ("pedestrian", 40.0, _PEOPLE, _PERSON),
    ("traffic_cone", 30.0, "movable_object.trafficcone", ()),
)
_HEADINGS: dict[str, Heading] = {"barrier": "half", "traffic_cone": "none"}

NUSCENES = DataDescription(
    classes=tuple(
        DetectionClass(
            name=name,
            categories=tuple(categories.split()),
            range_m=range_m,
            attributes=attributes,
            heading=_HEADINGS.get(name, "full"),
            velocity=bool(attributes),
            small=range_m < 50.0,
            outside_racks=attributes == _CYCLE,
        )
        for name, range_m, categories, attributes in _CLASSES
    ),
    cameras=tuple(
        f"CAM_{view}"
        for view in ["FRONT", "FRONT_RIGHT", "FRONT_LEFT", "BACK", "BACK_LEFT", "BACK_RIGHT"]
    ),
    racks="static_object.bicycle_rack",
)
"""nuScenes: classes and views in the order that the published CMT checkpoints use."""
