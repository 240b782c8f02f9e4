"""Boxes in images: edges drawn where they are in front of the camera.

Letters: G boxes.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aqr_exp.data.box_geometry import corners_m, project

# Pairs of corners: four edges below, four above, four upright; the first below is the front.
EDGES = np.array(
    [[0, 1], [1, 2], [2, 3], [3, 0], [4, 5], [5, 6], [6, 7], [7, 4], [0, 4], [1, 5], [2, 6], [3, 7]]
)


def box_lines_px(
    boxes_m: Float[NDArray[Any], "boxes 7"], lidar2img: Float[NDArray[Any], "4 4"]
) -> Float[NDArray[Any], "edges 2 2"]:
    """The edges of boxes in one view, both of whose ends are in front of the camera, in pixels."""
    ends = project(corners_m(boxes_m), lidar2img)[:, EDGES].reshape(-1, 2, 2)
    return np.asarray(ends[np.isfinite(ends).all(axis=(1, 2))])
