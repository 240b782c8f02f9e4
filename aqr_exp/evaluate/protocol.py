"""Constants of the nuScenes detection benchmark, `detection_cvpr_2019`.

The order of classes is `CLASS_NAMES`, everywhere.
"""

import numpy as np

from aqr_exp.data.classes import CLASS_NAMES

NAME = "detection_cvpr_2019"

CLASS_RANGE_M = np.array([50.0, 50.0, 50.0, 50.0, 50.0, 30.0, 40.0, 40.0, 40.0, 30.0])
"""[10] boxes of a class count while their centre is nearer to the vehicle than this."""

MATCH_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
"""A detection may match a ground truth whose centre, seen from above, is nearer than this."""

ERROR_MATCH = 2
"""Index in `MATCH_DISTANCES_M` of the distance at which true-positive errors are measured."""

RECALL_POINTS = 101
"""Precision is read at recalls 0, 0.01, ..., 1."""

FIRST_RECALL_POINT = 11
"""Index of the first recall that counts: those up to the floor of 0.1 do not."""

PRECISION_FLOOR = 0.1
"""Precision below it counts as none; what is above it is rescaled to [0, 1]."""

MAX_BOXES = 500
"""More detections in one sample are refused."""

MAP_WEIGHT = 5
"""Weight of mAP in NDS; each error has weight 1."""

ERROR_NAMES = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
"""Translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (1 - accuracy)."""

RACK_CATEGORY = "static_object.bicycle_rack"

RACK_LABELS = tuple(CLASS_NAMES.index(name) for name in ("bicycle", "motorcycle"))
"""Classes whose boxes do not count when their centre lies in a bicycle rack."""

HALF_TURN_LABEL = CLASS_NAMES.index("barrier")
"""The class whose front and back count as equal: its heading has period pi."""

ATTRIBUTE_NAMES: tuple[str, ...] = (
    "vehicle.moving",
    "vehicle.parked",
    "vehicle.stopped",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.moving",
    "pedestrian.standing",
    "pedestrian.sitting_lying_down",
)
"""An attribute's label is its place here; -1 is none."""

CLASS_OF_CATEGORY = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.trailer": "trailer",
    "movable_object.barrier": "barrier",
    "vehicle.motorcycle": "motorcycle",
    "vehicle.bicycle": "bicycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
}
"""Class of each category; annotations of other categories are not ground truth."""


MEASURED = np.ones((len(CLASS_NAMES), len(ERROR_NAMES)), dtype=bool)
MEASURED[CLASS_NAMES.index("traffic_cone"), 2:] = False
MEASURED[CLASS_NAMES.index("barrier"), 3:] = False
"""[10, 5] which errors a class has: cones no heading, velocity or attribute, barriers no velocity or
attribute."""


MOVING_SPEED_MPS = 0.2
"""An object faster than this counts as moving (m/s), as in the published evaluations."""

_VEHICLES = frozenset({"car", "truck", "construction_vehicle", "bus", "trailer"})
_CYCLES = frozenset({"motorcycle", "bicycle"})


def attribute_name(class_name: str, speed_mps: float) -> str:
    """The nuScenes attribute by class and speed in the ground plane; empty for barriers and cones."""
    moving = speed_mps > MOVING_SPEED_MPS
    if class_name in _VEHICLES:
        resting = "vehicle.stopped" if class_name == "bus" else "vehicle.parked"
        return "vehicle.moving" if moving else resting
    if class_name in _CYCLES:
        return "cycle.with_rider" if moving else "cycle.without_rider"
    if class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    return ""
