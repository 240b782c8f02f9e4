"""LiDAR: all blocks of a scene as arrays, the rays that meet them, and the scan."""

from dataclasses import dataclass

import numpy as np

from aqr_exp.synth.actors import Actor, to_parent
from aqr_exp.synth.plan import Weather
from aqr_exp.synth.rig import BEAM_ELEVATIONS_DEG
from aqr_exp.synth.road import Road


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
    """Poses [N, 3] (x forward, y left, heading) relative to the pose `origin` [3]."""
    cos, sin = np.cos(origin[2]), np.sin(origin[2])
    dx, dy = poses[:, 0] - origin[0], poses[:, 1] - origin[1]
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, poses[:, 2] - origin[2]], axis=-1)


GROUND = -1
"""Owner of a return from the ground."""

_NOTHING = np.inf
_GROUND_REFLECTIVITY = 0.12
_NOISE_M = 0.015
_NEAREST_M = 1.0


@dataclass(frozen=True, kw_only=True)
class Returns:
    """Points of one scan, P points.

    Attributes:
        points: [P, 5] float32: x, y, z in the LiDAR's level frame (x forward, y left of the ego's
            heading, metres, origin at the sensor), intensity 0 to 255, ring.
        owner: [P] index of the actor hit, `GROUND` for the ground.
    """

    points: np.ndarray
    owner: np.ndarray


def _column_pairs(
    low: np.ndarray, high: np.ndarray, poses: np.ndarray, azimuths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (block, column) that can meet.

    Args:
        low: [M, 3] block bounds in their owner's frame.
        high: [M, 3] block bounds.
        poses: [M, 3] x, y, heading of each block's owner, sensor at the origin.
        azimuths: [A] evenly spaced, rising, from the first column's azimuth.

    Returns:
        Two index arrays [K]: block and column.
    """
    corner_x = np.stack([low[:, 0], low[:, 0], high[:, 0], high[:, 0]], axis=1)
    corner_y = np.stack([low[:, 1], high[:, 1], low[:, 1], high[:, 1]], axis=1)
    x, y = to_parent(poses, corner_x, corner_y)
    middle = np.arctan2(y.mean(axis=1), x.mean(axis=1))
    away = np.arctan2(y, x) - middle[:, None]
    away = (away + np.pi) % (2 * np.pi) - np.pi
    step = azimuths[1] - azimuths[0]
    first = np.ceil((middle + away.min(axis=1) - azimuths[0]) / step).astype(np.int64)
    last = np.floor((middle + away.max(axis=1) - azimuths[0]) / step).astype(np.int64)
    counts = np.maximum(last - first + 1, 0)
    block = np.repeat(np.arange(len(low)), counts)
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return block, (first[block] + offset) % len(azimuths)


def _slab(
    origin: np.ndarray, direction: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distances at which lines enter and leave a strip."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (low - origin) / direction, (high - origin) / direction
    near, far = np.fmin(one, other), np.fmax(one, other)
    parallel = direction == 0.0
    outside = parallel & ((origin < low) | (origin > high))
    near = np.where(parallel, -np.inf, near)
    far = np.where(parallel, np.inf, far)
    return np.where(outside, np.inf, near), np.where(outside, -np.inf, far)


def cast_rays(
    solids: Solids, poses: np.ndarray, height_m: float, azimuths: np.ndarray, slopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """End of each ray, without noise.

    Args:
        solids: Blocks; z = 0 is the ground.
        poses: [N, 3] x, y, heading of every actor; the sensor is above (0, 0).
        height_m: Height of the sensor above the ground.
        azimuths: [A] evenly spaced, rising, radians counter-clockwise from forward.
        slopes: [R] rise per horizontal metre of each beam.

    Returns:
        Horizontal distance [A, R] (infinite where nothing is met) and block [A, R] (`GROUND` for the
        ground and for nothing).
    """
    slopes = slopes.astype(np.float64)
    with np.errstate(divide="ignore"):
        ground = np.where(slopes < 0, -height_m / slopes, _NOTHING)
    owner_poses = poses[solids.owner]
    block, column = _column_pairs(solids.low, solids.high, owner_poses, azimuths)
    pose = owner_poses[block]
    cos, sin = np.cos(pose[:, 2]), np.sin(pose[:, 2])
    origin_x = -(cos * pose[:, 0] + sin * pose[:, 1])
    origin_y = -(cos * pose[:, 1] - sin * pose[:, 0])
    away = azimuths[column] - pose[:, 2]
    near_x, far_x = _slab(origin_x, np.cos(away), solids.low[block, 0], solids.high[block, 0])
    near_y, far_y = _slab(origin_y, np.sin(away), solids.low[block, 1], solids.high[block, 1])
    near, far = np.maximum(near_x, near_y), np.minimum(far_x, far_y)
    kept = (near <= far) & (near > 0)
    block, column, near, far = block[kept], column[kept], near[kept], far[kept]
    # Heights [K, R] of the rays on entering; a ray from above may still come down on the top.
    low_z, high_z = solids.low[block, 2][:, None], solids.high[block, 2][:, None]
    entry = height_m + near[:, None] * slopes
    leave = height_m + far[:, None] * slopes
    onto_top = (entry > high_z) & (leave <= high_z)
    into_bottom = (entry < low_z) & (leave >= low_z)
    with np.errstate(divide="ignore", invalid="ignore"):
        top, bottom = (high_z - height_m) / slopes, (low_z - height_m) / slopes
    reached = np.where(onto_top, top, np.where(into_bottom, bottom, near[:, None]))
    meets = onto_top | into_bottom | ((entry >= low_z) & (entry <= high_z))
    # What lies below the ground's own point is out of sight.
    pair, beam = np.nonzero(meets & (reached < ground))
    reached = reached[pair, beam]
    # Written farthest first, so that the nearest stays.
    order = np.argsort(-reached, kind="stable")
    pair, beam, reached = pair[order], beam[order], reached[order]
    distance = np.tile(ground, (len(azimuths), 1))
    hit = np.full(distance.shape, GROUND, dtype=np.int64)
    distance[column[pair], beam] = reached
    hit[column[pair], beam] = block[pair]
    return distance, hit


def scan(
    solids: Solids,
    poses: np.ndarray,
    height_m: float,
    azimuth_steps: int,
    condition: Weather,
    rng: np.random.Generator,
) -> Returns:
    """One full turn of the sensor.

    Args:
        poses: [N, 3] x, y, heading of every actor; the sensor is above (0, 0), heading 0.
        height_m: Height of the sensor above the ground.
        rng: Noise, losses, and where the turn starts.
    """
    step = 2 * np.pi / azimuth_steps
    azimuths = -np.pi + step * (np.arange(azimuth_steps) + rng.random())
    elevations = np.deg2rad(BEAM_ELEVATIONS_DEG)
    distance, block = cast_rays(solids, poses, height_m, azimuths, np.tan(elevations))
    column, ring = np.nonzero(np.isfinite(distance))
    across, block = distance[column, ring], block[column, ring]
    length = across / np.cos(elevations[ring])
    share = length / condition.lidar_range_m
    luck, noise, shine = rng.random((3, len(length)))
    # What is far returns less often; beyond the range nothing does.
    lost = condition.lidar_dropout + (0.8 - condition.lidar_dropout) * np.clip(share, 0, 1) ** 4
    kept = (luck >= lost) & (share <= 1.0) & (length >= _NEAREST_M)
    column, ring, block, length = column[kept], ring[kept], block[kept], length[kept]
    # A scaled uniform draw instead of a normal one: exact on every platform.
    length = length + _NOISE_M * np.sqrt(12.0) * (noise[kept] - 0.5)
    elevation, azimuth = elevations[ring], azimuths[column]
    grounded = block == GROUND
    reflect = np.where(grounded, _GROUND_REFLECTIVITY, solids.reflectivity[block])
    intensity = np.clip(
        255.0 * reflect * (0.7 + 0.6 * shine[kept]) * np.exp(-length / 60.0), 1.0, 255.0
    )
    points = np.stack(
        [
            length * np.cos(elevation) * np.cos(azimuth),
            length * np.cos(elevation) * np.sin(azimuth),
            length * np.sin(elevation),
            np.floor(intensity),
            ring,
        ],
        axis=-1,
    ).astype(np.float32)
    owner = np.where(grounded, GROUND, solids.owner[block]).astype(np.int64)
    return Returns(points=points, owner=owner)
