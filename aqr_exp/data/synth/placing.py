"""Where each kind of object may stand or drive, drawn at random."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aqr_exp.data.synth.actors import Motion
from aqr_exp.data.synth.catalog import Kind
from aqr_exp.data.synth.road import (
    EGO_LANE_D_M,
    KERB_D_M,
    LANE_WIDTH_M,
    PARKING_D_M,
    PAVEMENT_END_D_M,
)

_LONG_M = 6.0
_LONG_KEEPS_M = 13.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What placing has to know of a scene.

    Attributes:
        ego_speed_mps: Speed of the ego vehicle.
        duration_s: Length of the scene.
        works_s: Where along the road the works begin and end.
        works_side: -1 the works take the right outer lane, 1 the left one.
    """

    ego_speed_mps: float
    duration_s: float
    works_s: tuple[float, float]
    works_side: int

    def lane_speed_mps(self, kind: Kind, rng: np.random.Generator) -> float:
        """A speed for something that moves with the traffic."""
        return float(rng.uniform(*kind.speed_mps))


def _start(target: float, speed: float, stage: Stage) -> float:
    """Where a motion starts to be at `target` in the middle of the scene."""
    return target - speed * stage.duration_s / 2


def _target(kind: Kind, stage: Stage, rng: np.random.Generator) -> float:
    """A place along the road, near where the ego is in the middle of the scene.

    Long vehicles keep some distance: one right beside the ego would hide half of the scene.
    """
    middle = stage.ego_speed_mps * stage.duration_s / 2
    nearest = _LONG_KEEPS_M if kind.length_m[1] > _LONG_M else 0.0
    away = float(rng.uniform(nearest, kind.reach_m))
    return middle + away * float(rng.choice([-1.0, 1.0]))


def drive(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """In a lane; in the ego's own lane at the ego's speed."""
    lane = float(rng.choice([EGO_LANE_D_M, EGO_LANE_D_M - LANE_WIDTH_M, 1.75, 1.75 + LANE_WIDTH_M]))
    speed = stage.lane_speed_mps(kind, rng)
    if lane == EGO_LANE_D_M:
        speed = stage.ego_speed_mps
    direction = 1.0 if lane < 0 else -1.0
    along = direction * speed
    turn = 0.0 if lane < 0 else math.pi
    place = lane + float(rng.uniform(-0.25, 0.25))
    return Motion(
        s=_start(_target(kind, stage, rng), along, stage), d=place, speed_s=along, turn=turn
    )


def wait(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Standing in an outer lane."""
    side = int(rng.choice([-1, 1]))
    turn = 0.0 if side < 0 else math.pi
    place = side * 1.5 * LANE_WIDTH_M + float(rng.uniform(-0.2, 0.2))
    return Motion(s=_target(kind, stage, rng), d=place, turn=turn)


def park(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """At the kerb."""
    side = int(rng.choice([-1, 1]))
    turn = (0.0 if side < 0 else math.pi) + float(rng.normal(0.0, 0.03))
    place = side * (PARKING_D_M + float(rng.uniform(-0.1, 0.3)))
    return Motion(s=_target(kind, stage, rng), d=place, turn=turn)


def ride(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """At the edge of the road, with the traffic."""
    side = int(rng.choice([-1, 1]))
    along = -side * float(rng.uniform(*kind.speed_mps))
    place = side * float(rng.uniform(3.0, 6.7))
    turn = 0.0 if side < 0 else math.pi
    return Motion(
        s=_start(_target(kind, stage, rng), along, stage), d=place, speed_s=along, turn=turn
    )


def stand(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """On the pavement, any way round."""
    side = int(rng.choice([-1, 1]))
    place = side * float(rng.uniform(KERB_D_M + 0.5, PAVEMENT_END_D_M - 0.5))
    return Motion(s=_target(kind, stage, rng), d=place, turn=float(rng.uniform(-math.pi, math.pi)))


def walk(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Along the pavement."""
    side, direction = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
    along = direction * float(rng.uniform(*kind.speed_mps))
    across = float(rng.normal(0.0, 0.08))
    place = side * float(rng.uniform(KERB_D_M + 0.6, PAVEMENT_END_D_M - 0.6))
    turn = math.atan2(across, along)
    start = _start(_target(kind, stage, rng), along, stage)
    return Motion(s=start, d=place, speed_s=along, speed_d=across, turn=turn)


def cross(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Across the road."""
    direction = int(rng.choice([-1, 1]))
    across = direction * float(rng.uniform(*kind.speed_mps))
    place = float(rng.uniform(-7.0, 7.0)) - across * stage.duration_s / 2
    return Motion(
        s=_target(kind, stage, rng), d=place, speed_d=across, turn=direction * math.pi / 2
    )


def border_works(_kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Along the edge of the works."""
    along = float(rng.uniform(*stage.works_s))
    place = stage.works_side * (LANE_WIDTH_M + float(rng.uniform(0.25, 0.6)))
    # A barrier's heading is across its long side.
    turn = math.pi / 2 * -stage.works_side + float(rng.normal(0.0, 0.08))
    return Motion(s=along, d=place, turn=turn)


def inside_works(_kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """On the closed lane."""
    along = float(rng.uniform(*stage.works_s))
    place = stage.works_side * float(rng.uniform(5.2, 6.6))
    heading = float(rng.choice([0.0, math.pi])) + float(rng.normal(0.0, 0.12))
    return Motion(s=along, d=place, turn=heading)


def beside(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Anywhere from the kerb to the houses, roughly along or across the road."""
    side = int(rng.choice([-1, 1]))
    place = side * float(rng.uniform(PARKING_D_M, PAVEMENT_END_D_M - 1.0))
    quarter = float(rng.choice([0.0, 0.5, 1.0, 1.5])) * math.pi
    return Motion(s=_target(kind, stage, rng), d=place, turn=quarter + float(rng.normal(0.0, 0.15)))


def verge(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """Behind the pavement: parked or stored along the road."""
    side = int(rng.choice([-1, 1]))
    place = side * float(rng.uniform(PAVEMENT_END_D_M + 1.5, PAVEMENT_END_D_M + 3.0))
    turn = float(rng.choice([0.0, math.pi])) + float(rng.normal(0.0, 0.1))
    return Motion(s=_target(kind, stage, rng), d=place, turn=turn)


def houses(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """In the row of houses."""
    side = int(rng.choice([-1, 1]))
    return Motion(s=_target(kind, stage, rng), d=side * float(rng.uniform(26.0, 30.0)))


def trees(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """In the row of trees."""
    side = int(rng.choice([-1, 1]))
    place = side * float(rng.uniform(15.0, 19.0))
    return Motion(s=_target(kind, stage, rng), d=place, turn=float(rng.uniform(0.0, 1.5)))


Place = Callable[[Kind, Stage, np.random.Generator], Motion]

PLACES: dict[str, tuple[tuple[Place, float], ...]] = {
    "car": ((drive, 0.55), (park, 0.35), (wait, 0.1)),
    "truck": ((drive, 0.45), (park, 0.35), (inside_works, 0.1), (verge, 0.1)),
    "bus": ((drive, 0.5), (park, 0.3), (wait, 0.2)),
    "trailer": ((drive, 0.3), (park, 0.4), (verge, 0.3)),
    "construction_vehicle": ((inside_works, 0.45), (drive, 0.15), (park, 0.15), (verge, 0.25)),
    "motorcycle": ((ride, 0.45), (beside, 0.3), (park, 0.25)),
    "bicycle": ((ride, 0.45), (beside, 0.55)),
    "pedestrian": ((walk, 0.55), (stand, 0.2), (cross, 0.25)),
    "barrier": ((border_works, 0.7), (beside, 0.3)),
    "traffic_cone": ((border_works, 0.6), (inside_works, 0.1), (park, 0.3)),
    "container": ((park, 0.4), (verge, 0.6)),
    "kiosk": ((park, 0.4), (beside, 0.6)),
    "planter": ((beside, 1.0),),
    "bin": ((beside, 0.7), (park, 0.3)),
    "post": ((beside, 1.0),),
    "rack": ((beside, 1.0),),
    "building": ((houses, 1.0),),
    "tree": ((trees, 1.0),),
}
"""For each kind, the ways to place it and their weights."""


def draw_motion(kind: Kind, stage: Stage, rng: np.random.Generator) -> Motion:
    """A place and motion for one object of a kind."""
    ways, weights = zip(*PLACES[kind.name], strict=True)
    way: Place = ways[int(rng.choice(len(ways), p=np.asarray(weights) / sum(weights)))]
    return way(kind, stage, rng)
