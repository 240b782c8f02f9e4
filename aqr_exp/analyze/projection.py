"""Boxes and points in images: eight corners through a matrix, edges drawn where they are in front.

Letters: n points, G boxes.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

# Corners nearer than this to the camera's plane have no place in its image.
NEAREST_M = 0.1
# Pairs of corners: four edges below, four above, four upright; the first below is the front.
EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
)
_SIGNS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2


def footprints_m(boxes_m: Float[NDArray[Any], "boxes 7"]) -> Float[NDArray[Any], "boxes 4 2"]:
    """(x, y) of the corners of boxes seen from above: front left, front right, rear right, rear left.

    Args:
        boxes_m: (x, y, z, length, width, height, yaw): centre and sizes in metres in the LiDAR
            frame, yaw counter-clockwise from x in radians, length along the heading.

    Returns:
        Corners in metres in the LiDAR frame.
    """
    cos, sin = np.cos(boxes_m[:, 6]), np.sin(boxes_m[:, 6])
    turn = np.stack((cos, sin, -sin, cos), axis=-1).reshape(-1, 2, 2)
    offsets = _SIGNS * boxes_m[:, None, 3:5]
    return np.asarray(boxes_m[:, None, :2] + offsets @ turn)


def corners_m(boxes_m: Float[NDArray[Any], "boxes 7"]) -> Float[NDArray[Any], "boxes 8 3"]:
    """The eight corners of boxes (as in `footprints_m`, z the centre's): four below, four above."""
    ground = np.tile(footprints_m(boxes_m), (1, 2, 1))
    half = np.repeat(np.array([-0.5, 0.5]), 4) * boxes_m[:, 5:6]
    return np.concatenate((ground, (boxes_m[:, 2:3] + half)[..., None]), axis=-1)


def project(
    points_m: Float[NDArray[Any], "*shape 3"], lidar2img: Float[NDArray[Any], "4 4"]
) -> Float[NDArray[Any], "*shape 2"]:
    """Pixels of points.

    Args:
        points_m: Metres in the LiDAR frame.
        lidar2img: From there to pixels of one view's network input.

    Returns:
        (u, v), also beyond the image's borders; NaN where the point is not in front of the camera.
    """
    projected = points_m @ lidar2img[:3, :3].T + lidar2img[:3, 3]
    depth = projected[..., 2:]
    return np.asarray(projected[..., :2] / np.where(depth > NEAREST_M, depth, np.nan))


def box_lines_px(
    boxes_m: Float[NDArray[Any], "boxes 7"], lidar2img: Float[NDArray[Any], "4 4"]
) -> Float[NDArray[Any], "edges 2 2"]:
    """The edges of boxes in one view, both of whose ends are in front of the camera, in pixels."""
    ends = project(corners_m(boxes_m), lidar2img)[:, EDGES].reshape(-1, 2, 2)
    return np.asarray(ends[np.isfinite(ends).all(axis=(1, 2))])
