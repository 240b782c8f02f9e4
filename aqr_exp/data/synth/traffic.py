"""A scene: the road, the ego's drive along it and everything around, free of collisions."""

from dataclasses import dataclass

import numpy as np

from aqr_exp.data.synth.actors import Actor, Motion, footprints, overlap
from aqr_exp.data.synth.blocks import Size
from aqr_exp.data.synth.catalog import BACKGROUND, CLUTTER, KINDS, Kind
from aqr_exp.data.synth.placing import Stage, draw_motion
from aqr_exp.data.synth.road import EGO_LANE_D_M, Road
from aqr_exp.data.synth.shapes import build_shape

KEYFRAME_INTERVAL_S = 0.5
EGO_SIZE = Size(length=4.6, width=1.9, height=1.7)
EGO_CENTRE_AHEAD_M = 1.4
"""The ego's middle lies this far ahead of its frame's origin, the rear axle."""

_CLEARANCE_M = 0.2
_TRIES = 40
_MOVING_MPS = 0.2


@dataclass(frozen=True, kw_only=True)
class World:
    """Everything that happens in one scene.

    Attributes:
        road: The road.
        ego: The ego frame's motion.
        actors: Annotated objects, clutter and background.
    """

    road: Road
    ego: Motion
    actors: tuple[Actor, ...]


def attribute_of(kind: Kind, motion: Motion, *, on_road: bool, rider: bool) -> str:
    """The nuScenes attribute that fits what an object does.

    Args:
        kind: What it is.
        motion: How it moves.
        on_road: Whether it stands in the traffic, not at the kerb.
        rider: Whether somebody rides it (cycles).

    Returns:
        Attribute name, empty for barriers and cones.
    """
    moving = np.hypot(motion.speed_s, motion.speed_d) > _MOVING_MPS
    if kind.name in {"barrier", "traffic_cone"}:
        return ""
    if kind.name in {"bicycle", "motorcycle"}:
        return "cycle.with_rider" if rider else "cycle.without_rider"
    if kind.name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if moving:
        return "vehicle.moving"
    return "vehicle.stopped" if on_road or kind.name == "bus" else "vehicle.parked"


def _draw_actor(kind: Kind, motion: Motion, rng: np.random.Generator) -> Actor:
    """Size, category and looks of an object whose motion is settled."""
    category = ""
    if kind.categories:
        names, weights = zip(*kind.categories, strict=True)
        category = names[int(rng.choice(len(names), p=weights))]
    spans = (kind.length_m, kind.width_m, kind.height_m)
    # Annotated sizes have millimetres.
    length, width, height = (round(float(rng.uniform(*span)), 3) for span in spans)
    rider = kind.name in {"bicycle", "motorcycle"} and motion.speed_s != 0.0
    if rider:
        height = round(height + 0.35, 3)
    if category == "human.pedestrian.child":
        height = round(height * 0.7, 3)
    size = Size(length=length, width=width, height=height)
    worker = category == "human.pedestrian.construction_worker"
    flavour = "rider" if rider else "worker" if worker else ""
    attribute = ""
    if category:
        attribute = attribute_of(kind, motion, on_road=abs(motion.d) < 7.0, rider=rider)
    blocks = tuple(build_shape(kind.name, size, flavour, rng))
    return Actor(
        kind=kind, category=category, attribute=attribute, size=size, blocks=blocks, motion=motion
    )


def build_world(road: Road, keyframes: int, rng: np.random.Generator) -> World:
    """Draw a scene.

    Args:
        road: The road, passing s = 0 where the ego starts.
        keyframes: Length of the scene in keyframes.
        rng: Everything random.

    Returns:
        A world in which no two boxes ever overlap, the ego's included.
    """
    duration = max(keyframes - 1, 1) * KEYFRAME_INTERVAL_S
    speed = 0.0 if rng.random() < 0.12 else float(rng.uniform(2.5, 9.0))
    ego = Motion(s=0.0, d=EGO_LANE_D_M, speed_s=speed)
    middle = speed * duration / 2
    works = middle + float(rng.uniform(-14.0, 4.0))
    stage = Stage(
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
    for kind in (*KINDS, *CLUTTER, *BACKGROUND):
        for _ in range(int(rng.integers(kind.count[0], kind.count[1] + 1))):
            for _ in range(_TRIES):
                actor = _draw_actor(kind, draw_motion(kind, stage, rng), rng)
                corners = footprints(actor.motion.poses(road, times), actor.size, _CLEARANCE_M)
                if not overlap(np.stack(taken), corners[None]).any():
                    actors.append(actor)
                    taken.append(corners)
                    break
    return World(road=road, ego=ego, actors=tuple(actors))
