"""Placement and motion of every object of a scene, drawn at random."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aqr_exp.data.geometry import overlap
from aqr_exp.synth.actors import Actor, Motion, Size, footprints
from aqr_exp.synth.road import (
    EGO_LANE_D_M,
    KERB_D_M,
    LANE_WIDTH_M,
    PARKING_D_M,
    PAVEMENT_END_D_M,
    Road,
)
from aqr_exp.synth.sets import SETS, Kind, SynthSet
from aqr_exp.synth.shapes import build_shape

_LONG_M = 6.0
_LONG_KEEPS_M = 13.0


@dataclass(frozen=True, kw_only=True)
class PlacementContext:
    """Facts about a scene that placement depends on.

    Attributes:
        works_s: Begin and end of the works along the road, metres.
        works_side: -1 the works take the right outer lane, 1 the left one.
    """

    ego_speed_mps: float
    duration_s: float
    works_s: tuple[float, float]
    works_side: int


def _place(
    kind: Kind, context: PlacementContext, rng: np.random.Generator, speed_mps: float = 0.0
) -> float:
    """Start of a motion along the road that passes near the ego in the middle of the scene.

    Long vehicles keep some distance: one right beside the ego would hide half of the scene.
    """
    middle = context.ego_speed_mps * context.duration_s / 2
    nearest = _LONG_KEEPS_M if kind.length_m[1] > _LONG_M else 0.0
    away = float(rng.uniform(nearest, kind.reach_m))
    target = middle + away * float(rng.choice([-1.0, 1.0]))
    return target - speed_mps * context.duration_s / 2


def _side(rng: np.random.Generator) -> tuple[int, float]:
    """A side of the road, -1 right or 1 left, and the heading of its traffic."""
    side = int(rng.choice([-1, 1]))
    return side, 0.0 if side < 0 else math.pi


def drive(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """In a lane; in the ego's own lane at the ego's speed."""
    lane = float(rng.choice([EGO_LANE_D_M, EGO_LANE_D_M - LANE_WIDTH_M, 1.75, 1.75 + LANE_WIDTH_M]))
    speed = float(rng.uniform(*kind.speed_mps))
    if lane == EGO_LANE_D_M:
        speed = context.ego_speed_mps
    along, turn = (speed, 0.0) if lane < 0 else (-speed, math.pi)
    place = lane + float(rng.uniform(-0.25, 0.25))
    return Motion(s=_place(kind, context, rng, along), d=place, speed_s=along, turn=turn)


def wait(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Standing in an outer lane."""
    side, turn = _side(rng)
    place = side * 1.5 * LANE_WIDTH_M + float(rng.uniform(-0.2, 0.2))
    return Motion(s=_place(kind, context, rng), d=place, turn=turn)


def park(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """At the kerb."""
    side, turn = _side(rng)
    turn += float(rng.normal(0.0, 0.03))
    place = side * (PARKING_D_M + float(rng.uniform(-0.1, 0.3)))
    return Motion(s=_place(kind, context, rng), d=place, turn=turn)


def ride(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """At the edge of the road, with the traffic."""
    side, turn = _side(rng)
    along = -side * float(rng.uniform(*kind.speed_mps))
    place = side * float(rng.uniform(3.0, 6.7))
    return Motion(s=_place(kind, context, rng, along), d=place, speed_s=along, turn=turn)


def stand(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """On the pavement, any way round."""
    place = _side(rng)[0] * float(rng.uniform(KERB_D_M + 0.5, PAVEMENT_END_D_M - 0.5))
    return Motion(s=_place(kind, context, rng), d=place, turn=float(rng.uniform(-math.pi, math.pi)))


def walk(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Along the pavement."""
    side, direction = int(rng.choice([-1, 1])), int(rng.choice([-1, 1]))
    along = direction * float(rng.uniform(*kind.speed_mps))
    across = float(rng.normal(0.0, 0.08))
    place = side * float(rng.uniform(KERB_D_M + 0.6, PAVEMENT_END_D_M - 0.6))
    turn = math.atan2(across, along)
    start = _place(kind, context, rng, along)
    return Motion(s=start, d=place, speed_s=along, speed_d=across, turn=turn)


def cross(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Across the road."""
    direction = int(rng.choice([-1, 1]))
    across = direction * float(rng.uniform(*kind.speed_mps))
    place = float(rng.uniform(-7.0, 7.0)) - across * context.duration_s / 2
    turn = direction * math.pi / 2
    return Motion(s=_place(kind, context, rng), d=place, speed_d=across, turn=turn)


def border_works(_kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Along the edge of the works."""
    along = float(rng.uniform(*context.works_s))
    place = context.works_side * (LANE_WIDTH_M + float(rng.uniform(0.25, 0.6)))
    # A barrier's heading is across its long side.
    turn = math.pi / 2 * -context.works_side + float(rng.normal(0.0, 0.08))
    return Motion(s=along, d=place, turn=turn)


def inside_works(_kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """On the closed lane."""
    along = float(rng.uniform(*context.works_s))
    place = context.works_side * float(rng.uniform(5.2, 6.6))
    heading = float(rng.choice([0.0, math.pi])) + float(rng.normal(0.0, 0.12))
    return Motion(s=along, d=place, turn=heading)


def beside(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Anywhere from the kerb to the houses, roughly along or across the road."""
    place = _side(rng)[0] * float(rng.uniform(PARKING_D_M, PAVEMENT_END_D_M - 1.0))
    quarter = float(rng.choice([0.0, 0.5, 1.0, 1.5])) * math.pi
    start = _place(kind, context, rng)
    return Motion(s=start, d=place, turn=quarter + float(rng.normal(0.0, 0.15)))


def verge(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """Behind the pavement: parked or stored along the road."""
    place = _side(rng)[0] * float(rng.uniform(PAVEMENT_END_D_M + 1.5, PAVEMENT_END_D_M + 3.0))
    turn = float(rng.choice([0.0, math.pi])) + float(rng.normal(0.0, 0.1))
    return Motion(s=_place(kind, context, rng), d=place, turn=turn)


def houses(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """In the row of houses."""
    side = _side(rng)[0]
    return Motion(s=_place(kind, context, rng), d=side * float(rng.uniform(26.0, 30.0)))


def trees(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """In the row of trees."""
    place = _side(rng)[0] * float(rng.uniform(15.0, 19.0))
    return Motion(s=_place(kind, context, rng), d=place, turn=float(rng.uniform(0.0, 1.5)))


Place = Callable[[Kind, PlacementContext, np.random.Generator], Motion]

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


def draw_motion(kind: Kind, context: PlacementContext, rng: np.random.Generator) -> Motion:
    """A place and motion for one object of a kind."""
    ways, weights = zip(*PLACES[kind.look], strict=True)
    way: Place = ways[int(rng.choice(len(ways), p=np.asarray(weights) / sum(weights)))]
    return way(kind, context, rng)


KEYFRAME_INTERVAL_S = 0.5
EGO_SIZE = Size(length=4.6, width=1.9, height=1.7)
EGO_CENTRE_AHEAD_M = 1.4
"""The ego's middle lies this far ahead of its frame's origin, the rear axle."""

_CLEARANCE_M = 0.2
_TRIES = 40
_MOVING_MPS = 0.2


@dataclass(frozen=True, kw_only=True)
class World:
    """Road, ego frame's motion and actors (annotated objects, clutter, background) of one scene."""

    road: Road
    ego: Motion
    actors: tuple[Actor, ...]


def attribute_of(kind: Kind, motion: Motion, *, on_road: bool, rider: bool) -> str:
    """The nuScenes attribute of an object by kind and motion; empty for barriers and cones."""
    moving = np.hypot(motion.speed_s, motion.speed_d) > _MOVING_MPS
    if kind.look in {"barrier", "traffic_cone", "container"}:
        return ""
    if kind.look in {"bicycle", "motorcycle"}:
        return "cycle.with_rider" if rider else "cycle.without_rider"
    if kind.look == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if moving:
        return "vehicle.moving"
    return "vehicle.stopped" if on_road or kind.look == "bus" else "vehicle.parked"


def _draw_actor(kind: Kind, motion: Motion, rng: np.random.Generator) -> Actor:
    """Size, category and looks of an object whose motion is settled."""
    category = ""
    if kind.categories:
        names, weights = zip(*kind.categories.items(), strict=True)
        category = names[int(rng.choice(len(names), p=weights))]
    spans = (kind.length_m, kind.width_m, kind.height_m)
    # Annotated sizes have millimetres.
    length, width, height = (round(float(rng.uniform(*span)), 3) for span in spans)
    rider = kind.look in {"bicycle", "motorcycle"} and motion.speed_s != 0.0
    if rider:
        height = round(height + 0.35, 3)
    if category == "human.pedestrian.child":
        height = round(height * 0.7, 3)
    size = Size(length=length, width=width, height=height)
    worker = category in {"human.pedestrian.construction_worker", "human.worker"}
    flavour = "rider" if rider else "worker" if worker else ""
    attribute = ""
    if category:
        attribute = attribute_of(kind, motion, on_road=abs(motion.d) < 7.0, rider=rider)
    blocks = tuple(build_shape(kind.look, size, flavour, rng))
    return Actor(
        kind=kind, category=category, attribute=attribute, size=size, blocks=blocks, motion=motion
    )


def build_world(
    road: Road, keyframes: int, rng: np.random.Generator, objects: SynthSet = SETS["synth"]
) -> World:
    """Draw a scene in which no two boxes ever overlap, the ego's included."""
    duration = max(keyframes - 1, 1) * KEYFRAME_INTERVAL_S
    speed = 0.0 if rng.random() < 0.12 else float(rng.uniform(2.5, 9.0))
    ego = Motion(s=0.0, d=EGO_LANE_D_M, speed_s=speed)
    middle = speed * duration / 2
    works = middle + float(rng.uniform(-14.0, 4.0))
    context = PlacementContext(
        ego_speed_mps=speed,
        duration_s=duration,
        works_s=(works, works + float(rng.uniform(14.0, 22.0))),
        works_side=int(rng.choice([-1, 1])),
    )
    # Four checks a second: at city speeds with the clearance nothing slips through between them.
    times = np.linspace(-KEYFRAME_INTERVAL_S, duration, 3 + int(duration * 4))
    ego_poses = ego.poses(road, times)
    ahead = np.stack([np.cos(ego_poses[:, 2]), np.sin(ego_poses[:, 2])], axis=-1)
    ego_poses[:, :2] += EGO_CENTRE_AHEAD_M * ahead
    taken = [footprints(ego_poses, EGO_SIZE, 0.6)]
    actors: list[Actor] = []
    for kind in (*objects.kinds, *objects.clutter, *objects.background):
        for _ in range(int(rng.integers(kind.count[0], kind.count[1] + 1))):
            for _ in range(_TRIES):
                actor = _draw_actor(kind, draw_motion(kind, context, rng), rng)
                corners = footprints(actor.motion.poses(road, times), actor.size, _CLEARANCE_M)
                if not overlap(np.stack(taken), corners[None], touching=True).any():
                    actors.append(actor)
                    taken.append(corners)
                    break
    return World(road=road, ego=ego, actors=tuple(actors))
