"""Cuboids and the painted patches on them: what every object is built from.

Object frame: x forward, y left, z up, metres; the origin is on the ground below the middle.
"""

from dataclasses import dataclass, field

Colour = tuple[int, int, int]
"""Blue, green, red, 0 to 255, as OpenCV stores pixels."""

FACES: tuple[str, ...] = ("front", "back", "left", "right", "top")
"""The faces that can be seen; nobody looks from below."""


@dataclass(frozen=True, kw_only=True)
class Decal:
    """A patch painted on faces of a block.

    Attributes:
        faces: Which faces wear it.
        left: Left edge as a share of the face's width, seen from outside.
        right: Right edge.
        bottom: Lower edge as a share of the face's height.
        top: Upper edge.
        colour: Its colour by day.
        glows: Whether it shines by itself at night.
    """

    faces: tuple[str, ...]
    left: float
    right: float
    bottom: float
    top: float
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
    decals: tuple[Decal, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Size:
    """Extents of an object in metres.

    Attributes:
        length: Along its heading.
        width: Across.
        height: Upwards.
    """

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
        """A block given in shares of the object: x and y from -1 to 1, z from 0 to 1.

        Args:
            x: Rear and front end.
            y: Right and left side.
            z: Bottom and top.
            colour: Colour by day.
            reflectivity: 0 to 1.
            decals: Patches.
        """
        half_l, half_w, h = self.length / 2, self.width / 2, self.height
        return Block(
            low=(x[0] * half_l, y[0] * half_w, z[0] * h),
            high=(x[1] * half_l, y[1] * half_w, z[1] * h),
            colour=colour,
            reflectivity=reflectivity,
            decals=decals,
        )
