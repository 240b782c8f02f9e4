"""Cuboids and the painted patches on them: what every object is built from.

Object frame: x forward, y left, z up, metres; the origin is on the ground below the middle.
"""

from dataclasses import dataclass

import numpy as np

from aqr_exp.synth.road import Road
from aqr_exp.synth.sets import Kind

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255, as OpenCV stores pixels."""

FACES: tuple[str, ...] = ("front", "back", "left", "right", "top")
"""The faces that can be seen: none is from below."""


@dataclass(frozen=True)
class Decal:
    """A patch painted on faces of a block.

    Attributes:
        faces: The faces it is on.
        across: Left and right edge as shares of the face's width, seen from outside.
        up: Lower and upper edge as shares of the face's height.
        colour: Its colour by day.
        glows: True if it shines by itself at night.
    """

    faces: tuple[str, ...]
    across: tuple[float, float]
    up: tuple[float, float]
    colour: Colour
    glows: bool = False


@dataclass(frozen=True, kw_only=True)
class Block:
    """An upright cuboid of one colour.

    Attributes:
        low: Smallest x, y, z in the object frame.
        high: Largest x, y, z.
        colour: Colour of its faces by day.
        reflectivity: Share of LiDAR light it returns, 0 to 1.
        decals: Patches on it, painted in this order.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    colour: Colour
    reflectivity: float
    decals: tuple[Decal, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Size:
    """Extents of an object in metres: along its heading, across and upwards."""

    length: float
    width: float
    height: float

    def block(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        reflectivity: float,
        decals: tuple[Decal, ...] = (),
    ) -> Block:
        """A block in shares of the object: x and y from -1 to 1, z from 0 to 1."""
        half_l, half_w, h = self.length / 2, self.width / 2, self.height
        return Block(
            low=(x[0] * half_l, y[0] * half_w, z[0] * h),
            high=(x[1] * half_l, y[1] * half_w, z[1] * h),
            colour=colour,
            reflectivity=reflectivity,
            decals=decals,
        )


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
        """[T, 3] global x, y, heading (metres, radians) at the times [T] in seconds."""
        s = self.s + self.speed_s * times_s
        d = self.d + self.speed_d * times_s
        x, y = road.to_global(s, d)
        return np.stack([x, y, road.heading_at(s) + self.turn], axis=-1)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object of a scene, of the size of its annotated box.

    Category and attribute are nuScenes'; they are empty when it is not annotated or has none.
    """

    kind: Kind
    category: str
    attribute: str
    size: Size
    blocks: tuple[Block, ...]
    motion: Motion


def to_parent(poses: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Move places x and y [..., C] out of the frames of poses [..., 3], which are x, y, heading."""
    cos, sin = np.cos(poses[..., 2:]), np.sin(poses[..., 2:])
    return poses[..., :1] + cos * x - sin * y, poses[..., 1:2] + sin * x + cos * y


def footprints(poses: np.ndarray, size: Size, margin_m: float = 0.0) -> np.ndarray:
    """Corners of boxes on the ground; poses are [..., 3] x, y, heading of their middles.

    Returns:
        [..., 4, 2] corners, counter-clockwise from front left.
    """
    half_l, half_w = size.length / 2 + margin_m, size.width / 2 + margin_m
    local = np.array([[half_l, half_w], [-half_l, half_w], [-half_l, -half_w], [half_l, -half_w]])
    x, y = to_parent(poses, local[:, 0], local[:, 1])
    return np.stack([x, y], axis=-1)
