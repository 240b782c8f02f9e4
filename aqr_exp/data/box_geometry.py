"""Boxes in space: corners, what lies inside, which of them touch, where they are in an image.

Boxes are (x, y, z, length, width, height, yaw): centre and sizes in metres in the LiDAR frame, yaw
counter-clockwise from x in radians, length along the heading. Letters: G boxes, N points.
"""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

# Corners nearer than this to the camera's plane have no place in its image.
NEAREST_M = 0.1
_SIGNS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2

Numbers = NDArray[np.floating]


def footprints_m(boxes_m: Float[Numbers, "G 7"]) -> Float[Numbers, "G 4 2"]:
    """(x, y) of the corners of boxes seen from above: front left, front right, rear right, rear left.

    Returns:
        Corners in metres in the LiDAR frame.
    """
    cos, sin = np.cos(boxes_m[:, 6]), np.sin(boxes_m[:, 6])
    turn = np.stack((cos, sin, -sin, cos), axis=-1).reshape(-1, 2, 2)
    offsets = _SIGNS * boxes_m[:, None, 3:5]
    return np.asarray(boxes_m[:, None, :2] + offsets @ turn)


def corners_m(boxes_m: Float[Numbers, "G 7"]) -> Float[Numbers, "G 8 3"]:
    """The eight corners of boxes: four below in the order of `footprints_m`, four above."""
    ground = np.tile(footprints_m(boxes_m), (1, 2, 1))
    half = np.repeat(np.array([-0.5, 0.5]), 4) * boxes_m[:, 5:6]
    return np.concatenate((ground, (boxes_m[:, 2:3] + half)[..., None]), axis=-1)


def project(points_m: Float[Numbers, "*shape 3"], lidar2img: Float[Numbers, "4 4"]) -> Numbers:
    """Pixels of points.

    Args:
        points_m: Metres in the LiDAR frame.
        lidar2img: From there to pixels of one view.

    Returns:
        (u, v), also beyond the image's borders; NaN where the point is not in front of the camera.
    """
    projected = points_m @ lidar2img[:3, :3].T + lidar2img[:3, 3]
    depth = projected[..., 2:]
    return np.asarray(projected[..., :2] / np.where(depth > NEAREST_M, depth, np.nan))


def depths_m(points_m: Float[Numbers, "*shape 3"], lidar2img: Float[Numbers, "4 4"]) -> Numbers:
    """Distances of points from a camera's plane, metres; negative behind it."""
    return np.asarray(points_m @ lidar2img[2, :3] + lidar2img[2, 3])


def inside_boxes(
    points_m: Float[Numbers, "N 3"], boxes_m: Float[Numbers, "G 7"]
) -> Bool[NDArray[np.bool_], "G N"]:
    """Which points lie in which boxes, borders included."""
    found = np.zeros((len(boxes_m), len(points_m)), dtype=bool)
    for index, (x, y, z, length, width, height, yaw) in enumerate(boxes_m):
        # Few points are near: only they are turned into the box's frame.
        reach = np.hypot(length, width) / 2
        near = np.flatnonzero(
            (np.abs(points_m[:, 0] - x) <= reach) & (np.abs(points_m[:, 1] - y) <= reach)
        )
        dx, dy, dz = (points_m[near].astype(np.float64) - (x, y, z)).T
        ahead = dx * np.cos(yaw) + dy * np.sin(yaw)
        left = dy * np.cos(yaw) - dx * np.sin(yaw)
        inside = (np.abs(ahead) <= length / 2) & (np.abs(left) <= width / 2)
        found[index, near] = inside & (np.abs(dz) <= height / 2)
    return found


def overlaps_any(box_m: Float[Numbers, " 7"], others_m: Float[Numbers, "G 7"]) -> bool:
    """Whether a box overlaps any other seen from above; touching borders do not overlap.

    By separating axes: two rectangles are apart if and only if they are along a side of one of them.
    """
    if not len(others_m):
        return False
    one, others = footprints_m(box_m[None])[0], footprints_m(others_m)
    apart = np.zeros(len(others), dtype=bool)
    for yaw in (np.full(len(others), box_m[6]), others_m[:, 6]):
        along = np.stack((np.cos(yaw), np.sin(yaw)), axis=-1)
        across = np.stack((-along[:, 1], along[:, 0]), axis=-1)
        for axis in (along, across):
            mine = axis @ one.T
            theirs = np.einsum("gcd,gd->gc", others, axis)
            apart |= mine.max(axis=1) <= theirs.min(axis=1)
            apart |= theirs.max(axis=1) <= mine.min(axis=1)
    return bool((~apart).any())
