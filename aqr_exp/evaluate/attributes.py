"""Attributes by rule: this family of detectors does not learn them."""

MOVING_SPEED_MPS = 0.2
"""An object faster than this counts as moving (m/s), as in the published evaluations."""

_VEHICLES = frozenset({"car", "truck", "construction_vehicle", "bus", "trailer"})
_CYCLES = frozenset({"motorcycle", "bicycle"})


def attribute_name(class_name: str, speed_mps: float) -> str:
    """The nuScenes attribute of a detection.

    Args:
        class_name: One of the ten detection classes.
        speed_mps: Predicted speed in the ground plane.

    Returns:
        The attribute's name; empty for barriers and traffic cones, which have none.
    """
    moving = speed_mps > MOVING_SPEED_MPS
    if class_name in _VEHICLES:
        resting = "vehicle.stopped" if class_name == "bus" else "vehicle.parked"
        return "vehicle.moving" if moving else resting
    if class_name in _CYCLES:
        return "cycle.with_rider" if moving else "cycle.without_rider"
    if class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    return ""
