"""All blocks of a scene as arrays, placed in the ego frame of one moment."""

from dataclasses import dataclass

import numpy as np

from aqr_exp.data.synth.actors import Actor
from aqr_exp.data.synth.road import Road


@dataclass(frozen=True, kw_only=True)
class Solids:
    """Blocks of every actor, M blocks of N actors.

    Attributes:
        owner: [M] index of the actor.
        low: [M, 3] smallest x, y, z in the actor's frame, metres.
        high: [M, 3] largest x, y, z.
        reflectivity: [M] share of LiDAR light returned.
    """

    owner: np.ndarray
    low: np.ndarray
    high: np.ndarray
    reflectivity: np.ndarray


def stack_solids(actors: tuple[Actor, ...]) -> Solids:
    """Collect the blocks of all actors."""
    blocks = [(index, block) for index, actor in enumerate(actors) for block in actor.blocks]
    return Solids(
        owner=np.array([index for index, _ in blocks], dtype=np.int64),
        low=np.array([block.low for _, block in blocks], dtype=np.float64).reshape(-1, 3),
        high=np.array([block.high for _, block in blocks], dtype=np.float64).reshape(-1, 3),
        reflectivity=np.array([block.reflectivity for _, block in blocks], dtype=np.float64),
    )


def poses_at(actors: tuple[Actor, ...], road: Road, time_s: float) -> np.ndarray:
    """Global x, y, heading of every actor, [N, 3]."""
    times = np.array([time_s])
    return np.array([actor.motion.poses(road, times)[0] for actor in actors]).reshape(-1, 3)


def relative_poses(poses: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Poses as seen from another pose.

    Args:
        poses: [N, 3] x, y, heading.
        origin: [3] the pose that becomes (0, 0, 0), in the same frame.

    Returns:
        [N, 3] x forward, y left of `origin`, heading relative to it.
    """
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    dx, dy = poses[:, 0] - origin[0], poses[:, 1] - origin[1]
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, poses[:, 2] - origin[2]], axis=-1)
