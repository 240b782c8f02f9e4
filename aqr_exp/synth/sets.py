"""The synthetic data sets: their objects, their cameras, and what describes them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aqr_exp.config.schema.description import NUSCENES, DataDescription, DetectionClass
from aqr_exp.synth.annotations import CATEGORIES
from aqr_exp.synth.catalog import CATEGORY_WEIGHTS, CLUTTER, KINDS, Kind

Camera = tuple[tuple[float, float, float], float, float]
"""Place in metres, heading in degrees (counter-clockwise from forward), focal length at 1600 pixels."""


@dataclass(frozen=True, kw_only=True)
class SynthSet:
    """One kind of synthetic data.

    Attributes:
        kinds: Objects that are annotated, the large ones first: they are placed first.
        clutter: Objects that are not.
        weights: Categories of each class, drawn by weight.
        words: All categories, with their descriptions.
        cameras: By channel.
        size_px: Width and height of the stored images.
        description: Of the classes and sensors; nuScenes' is not written.
    """

    kinds: tuple[Kind, ...]
    clutter: tuple[Kind, ...]
    weights: Mapping[str, Mapping[str, float]]
    words: Mapping[str, str]
    cameras: Mapping[str, Camera]
    size_px: tuple[int, int] = (480, 270)
    description: DataDescription = field(default=NUSCENES)


_PERSON = ("pedestrian.moving", "pedestrian.standing")
_DEPOT = DataDescription(
    classes=(
        DetectionClass(name="container", categories=("object.container",), range_m=45.0, heading="half",
                       velocity=False),
        DetectionClass(name="forklift", categories=("vehicle.forklift",), range_m=35.0,
                       attributes=("vehicle.moving", "vehicle.parked", "vehicle.stopped")),
        DetectionClass(name="worker", categories=("human.worker", "human.visitor"), range_m=25.0,
                       attributes=_PERSON, small=True),
        DetectionClass(name="pallet", categories=("object.pallet",), range_m=20.0, heading="none",
                       velocity=False, small=True),
    ),
    cameras=("CAM_FRONT", "CAM_LEFT", "CAM_BACK", "CAM_RIGHT"),
    point_range_m=(-45.0, -45.0, -5.0, 45.0, 45.0, 3.0),
)  # fmt: skip

SETS: Mapping[str, SynthSet] = {
    "synth": SynthSet(
        kinds=KINDS,
        clutter=CLUTTER,
        weights=CATEGORY_WEIGHTS,
        words=CATEGORIES,
        cameras={
            "CAM_FRONT": ((1.70, 0.02, 1.51), 0.0, 1266.0),
            "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.50), -56.5, 1261.0),
            "CAM_FRONT_LEFT": ((1.52, 0.49, 1.51), 55.2, 1272.0),
            "CAM_BACK": ((0.03, 0.0, 1.58), 180.0, 809.0),
            "CAM_BACK_LEFT": ((1.04, 0.48, 1.59), 108.6, 1257.0),
            "CAM_BACK_RIGHT": ((1.02, -0.48, 1.56), -110.8, 1259.0),
        },
    ),
    "depot": SynthSet(
        kinds=(
            Kind("container", (6.0, 9.0), (2.4, 2.7), (2.5, 3.2), (2, 4), 38.0),
            Kind("forklift", (2.2, 3.2), (1.1, 1.5), (2.0, 2.5), (3, 5), 30.0, (1.0, 4.0),
                 "construction_vehicle"),
            Kind("worker", (0.55, 0.85), (0.55, 0.8), (1.6, 1.95), (4, 7), 24.0, (0.7, 1.8), "pedestrian"),
            Kind("pallet", (0.9, 1.3), (0.9, 1.3), (0.5, 1.2), (5, 8), 20.0, like="barrier"),
        ),
        clutter=tuple(kind for kind in CLUTTER if kind.name not in {"container", "rack"}),
        weights={
            "container": {"object.container": 1.0},
            "forklift": {"vehicle.forklift": 1.0},
            "worker": {"human.worker": 0.8, "human.visitor": 0.2},
            "pallet": {"object.pallet": 1.0},
        },
        words={
            "human.visitor": "A person who does not work there.",
            "human.worker": "A person in a vest.",
            "object.container": "A container on the ground.",
            "object.pallet": "A pallet with its load.",
            "vehicle.forklift": "A forklift truck.",
        },
        # A hundred degrees wide, one to each side.
        cameras={
            "CAM_FRONT": ((1.70, 0.0, 1.60), 0.0, 671.0),
            "CAM_LEFT": ((0.90, 0.60, 1.60), 90.0, 671.0),
            "CAM_BACK": ((0.00, 0.0, 1.60), 180.0, 671.0),
            "CAM_RIGHT": ((0.90, -0.60, 1.60), -90.0, 671.0),
        },
        size_px=(400, 300),
        description=_DEPOT,
    ),
}  # fmt: skip
"""By name, as `--set` takes it."""
