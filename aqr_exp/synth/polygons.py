"""Polygons of the scene, and the order in which near ones are drawn over far ones.

Two convex things that do not overlap have a line (in space: a plane) between them. The one on
the camera's side can hide the other and cannot be hidden by it, so the other is drawn first. This is
right where sorting by distance is not: a long wall beside a small cone, say.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aqr_exp.synth.actors import FACES, Actor, Block, to_parent


def sort_by_precedence(first: np.ndarray, distance: np.ndarray) -> list[int]:
    """Drawing order that meets every demand; without demands, the farthest first.

    Args:
        first: [N, N], whether i has to be drawn before j.
        distance: [N], decides between free candidates and breaks cycles.
    """
    waiting = (first & ~first.T).sum(axis=0).astype(np.float64)
    strict = first & ~first.T
    left = np.ones(len(distance), dtype=bool)
    order: list[int] = []
    for _ in range(len(distance)):
        free = left & (waiting == 0)
        if not free.any():
            free = left
        pick = int(np.argmax(np.where(free, distance, -np.inf)))
        order.append(pick)
        left[pick] = False
        waiting = waiting - strict[pick]
    return order


def rectangle_precedence(corners: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Drawing precedence of rectangles on the ground.

    Args:
        corners: [N, 4, 2] counter-clockwise.
        camera: [2] the viewer's place in the same frame.

    Returns:
        [N, N], whether i cannot hide j although j may hide i.
    """
    edges = np.roll(corners, -1, axis=1) - corners
    normals = np.stack([edges[..., 1], -edges[..., 0]], axis=-1)
    offsets = np.einsum("nek,nek->ne", normals, corners)
    # beyond[i, e, j]: all of j lies outside edge e of i.
    heights = np.einsum("iek,jck->iejc", normals, corners) - offsets[:, :, None, None]
    beyond = heights.min(axis=-1) >= 0.0
    outside = np.einsum("nek,k->ne", normals, camera) > offsets
    nearer = (beyond & outside[:, :, None]).any(axis=1)
    farther = (beyond & ~outside[:, :, None]).any(axis=1)
    return nearer | farther.T


def cuboid_precedence(low: np.ndarray, high: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Drawing precedence of cuboids along common axes.

    Args:
        low: [N, 3] smallest coordinates.
        high: [N, 3] largest coordinates.
        camera: [3] the viewer's place in the same frame.

    Returns:
        [N, N], whether i cannot hide j although j may hide i.
    """
    slack = 1e-9
    above = (low[None] >= high[:, None] - slack) & (camera > high)[:, None]
    below = (high[None] <= low[:, None] + slack) & (camera < low)[:, None]
    # The plane may also run along j's side of the gap.
    over = (low[None] >= high[:, None] - slack) & (camera >= low)[None]
    under = (high[None] <= low[:, None] + slack) & (camera <= high)[None]
    return np.asarray((above | below | over | under).any(axis=-1))


NEAR_M = 0.2
"""Nothing nearer to the camera's plane is drawn."""

_NORMALS = {
    "front": (1.0, 0.0, 0.0),
    "back": (-1.0, 0.0, 0.0),
    "left": (0.0, 1.0, 0.0),
    "right": (0.0, -1.0, 0.0),
    "top": (0.0, 0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Polygons:
    """P quadrilaterals, faces and the patches on them, in their owners' frames.

    Attributes:
        corners: [P, 4, 3] metres.
        normal: [P, 3] outward.
        owner: [P] index of the actor.
        block: [P] index of the block within its actor.
        colour: [P, 3] BGR by day.
        glows: [P] whether it shines by itself.
        is_face: [P] whether it is a whole face, not a patch.
    """

    corners: np.ndarray
    normal: np.ndarray
    owner: np.ndarray
    block: np.ndarray
    colour: np.ndarray
    glows: np.ndarray
    is_face: np.ndarray


def face_corners(block: Block, face: str) -> np.ndarray:
    """A face's corners seen from outside: bottom left, bottom right, top right, top left; [4, 3].

    The top is seen from behind the object: its left is the object's left.
    """
    (x0, y0, z0), (x1, y1, z1) = block.low, block.high
    corners = {
        "front": ((x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)),
        "back": ((x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)),
        "left": ((x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)),
        "right": ((x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)),
        "top": ((x0, y1, z1), (x0, y0, z1), (x1, y0, z1), (x1, y1, z1)),
    }
    return np.array(corners[face])


def stack_polygons(actors: tuple[Actor, ...]) -> Polygons:
    """Faces of all blocks, each followed by the patches on it."""
    rows: list[tuple[Any, ...]] = []
    for owner, actor in enumerate(actors):
        for number, block in enumerate(actor.blocks):
            for face in FACES:
                corners, normal = face_corners(block, face), _NORMALS[face]
                rows.append((corners, normal, owner, number, block.colour, False, True))
                right, up = corners[1] - corners[0], corners[3] - corners[0]
                for decal in block.decals:
                    if face not in decal.faces:
                        continue
                    (x0, x1), (y0, y1) = decal.across, decal.up
                    shares = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
                    patch = corners[0] + shares[:, :1] * right + shares[:, 1:] * up
                    rows.append((patch, normal, owner, number, decal.colour, decal.glows, False))
    columns = list(zip(*rows, strict=True)) or [()] * 7
    return Polygons(
        corners=np.array(columns[0], dtype=np.float64).reshape(-1, 4, 3),
        normal=np.array(columns[1], dtype=np.float64).reshape(-1, 3),
        owner=np.array(columns[2], dtype=np.int64),
        block=np.array(columns[3], dtype=np.int64),
        colour=np.array(columns[4], dtype=np.float64).reshape(-1, 3),
        glows=np.array(columns[5], dtype=bool),
        is_face=np.array(columns[6], dtype=bool),
    )


def turn_and_shift(vectors: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Move points [P, C, 3] from their owners' frames, whose poses [P, 3] are x, y, heading."""
    x, y = to_parent(poses, vectors[..., 0], vectors[..., 1])
    return np.stack([x, y, vectors[..., 2]], axis=-1)


def clip_polygon(corners: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Clip a convex polygon by planes.

    Args:
        corners: [C, 3] of a convex polygon.
        planes: [L, 4]; a point is inside where n . p + offset >= 0.

    Returns:
        [C', 3] of what is left; [0, 3] when nothing is.
    """
    for plane in planes:
        if len(corners) == 0:
            break
        heights = corners @ plane[:3] + plane[3]
        kept: list[np.ndarray] = []
        for index in range(len(corners)):
            here, there = corners[index - 1], corners[index]
            height, next_height = heights[index - 1], heights[index]
            if (height >= 0) != (next_height >= 0):
                kept.append(here + (there - here) * (height / (height - next_height)))
            if next_height >= 0:
                kept.append(there)
        corners = np.array(kept).reshape(-1, 3)
    return corners


def guard_planes(intrinsic: np.ndarray, width: int, height: int) -> np.ndarray:
    """The near plane and four planes well outside of the image, [5, 4] in the camera frame.

    After clipping, pixels fit OpenCV's integers.
    """
    reach_x = 3.0 * width / intrinsic[0, 0]
    reach_y = 3.0 * height / intrinsic[1, 1]
    return np.array(
        [
            (0.0, 0.0, 1.0, -NEAR_M),
            (1.0, 0.0, reach_x, 0.0),
            (-1.0, 0.0, reach_x, 0.0),
            (0.0, 1.0, reach_y, 0.0),
            (0.0, -1.0, reach_y, 0.0),
        ]
    )
