"""Objects in a scene: what they look like and where they are at any time."""

from dataclasses import dataclass

import numpy as np

from aqr_exp.data.synth.blocks import Block, Size
from aqr_exp.data.synth.catalog import Kind
from aqr_exp.data.synth.road import Road


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Uniform motion in road coordinates.

    Attributes:
        s: Place along the road at time 0, metres.
        d: Place across the road at time 0, metres.
        speed_s: Metres of centre line a second.
        speed_d: Metres across a second.
        turn: Heading relative to the road, radians.
    """

    s: float
    d: float
    speed_s: float = 0.0
    speed_d: float = 0.0
    turn: float = 0.0

    def poses(self, road: Road, times_s: np.ndarray) -> np.ndarray:
        """Global x, y, heading at the times.

        Args:
            road: The road.
            times_s: [T] seconds since the scene's start.

        Returns:
            [T, 3], metres and radians.
        """
        s = self.s + self.speed_s * times_s
        d = self.d + self.speed_d * times_s
        x, y = road.to_global(s, d)
        return np.stack([x, y, road.heading_at(s) + self.turn], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object of a scene.

    Attributes:
        kind: What it is.
        category: nuScenes category; empty when it is not annotated.
        attribute: nuScenes attribute; empty when it has none.
        size: Its extents, those of the annotated box.
        blocks: What it is built from.
        motion: Where it is.
    """

    kind: Kind
    category: str
    attribute: str
    size: Size
    blocks: tuple[Block, ...]
    motion: Motion


def footprints(poses: np.ndarray, size: Size, margin_m: float = 0.0) -> np.ndarray:
    """Corners of a box on the ground.

    Args:
        poses: [..., 3] x, y, heading of its middle.
        size: Its extents.
        margin_m: Added on every side.

    Returns:
        [..., 4, 2] corners, counter-clockwise from front left.
    """
    half_l, half_w = size.length / 2 + margin_m, size.width / 2 + margin_m
    local = np.array([[half_l, half_w], [-half_l, half_w], [-half_l, -half_w], [half_l, -half_w]])
    cos, sin = np.cos(poses[..., 2])[..., None], np.sin(poses[..., 2])[..., None]
    x = poses[..., 0][..., None] + cos * local[:, 0] - sin * local[:, 1]
    y = poses[..., 1][..., None] + sin * local[:, 0] + cos * local[:, 1]
    return np.stack([x, y], axis=-1)


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether rectangles overlap, by the separating axis theorem.

    Args:
        first: [..., 4, 2] corners.
        second: [..., 4, 2] corners, broadcast against `first`.

    Returns:
        [...] booleans.
    """
    apart = np.zeros(np.broadcast_shapes(first.shape[:-2], second.shape[:-2]), dtype=bool)
    for corners in (first, second):
        for edge in (
            corners[..., 1, :] - corners[..., 0, :],
            corners[..., 3, :] - corners[..., 0, :],
        ):
            along_first = np.einsum("...ij,...j->...i", first, edge)
            along_second = np.einsum("...ij,...j->...i", second, edge)
            apart |= along_first.max(axis=-1) < along_second.min(axis=-1)
            apart |= along_second.max(axis=-1) < along_first.min(axis=-1)
    return ~apart
