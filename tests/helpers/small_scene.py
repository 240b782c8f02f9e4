"""A scene small enough to work out by hand: six pinhole cameras, ten by eight BEV cells of a metre."""

from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from aqr_exp.analyze.scene_figure import Frame
from aqr_exp.aqr.layout import TokenLayout

LAYOUT = TokenLayout(
    bev_rows=8,
    bev_columns=10,
    bev_origin_m=(-5.0, -4.0),
    bev_pitch_m=(1.0, 1.0),
    views=6,
    camera_rows=4,
    camera_columns=6,
    image_size_px=(40.0, 120.0),
)
# u = 60 + 50 x / y, v = 20 - 50 z / y, depth y: a camera at the origin that looks along y.
FORWARD = np.array(
    [[50.0, 60.0, 0.0, 0.0], [0.0, 20.0, -50.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
# The same looking along -y.
BACKWARD = FORWARD @ np.diag([-1.0, -1.0, 1.0, 1.0])
# Looks up, where nothing is.
UPWARD = FORWARD[:, [0, 2, 1, 3]]


def small_scene(**changes: Any) -> Frame:
    """A scene with a box of 4 x 2 x 1 m, 3 m ahead and turned to the left (along y)."""
    usual: dict[str, Any] = {
        "layout": LAYOUT,
        "points_m": np.array([[0.0, 3.0, 0.0], [1.0, -2.0, 0.5]]),
        "images": [np.full((20, 60, 3), 40 * view, dtype=np.uint8) for view in range(6)],
        "lidar2img": np.stack([FORWARD, UPWARD, UPWARD, BACKWARD, UPWARD, UPWARD]),
        "boxes_m": np.array([[0.0, 3.0, 0.0, 4.0, 2.0, 1.0, np.pi / 2]]),
    }
    return Frame(**(usual | changes))


def rectangles(axes: Any) -> list[tuple[float, float, float, float]]:
    """(x, y, width, height) of the rectangles in an axes."""
    found = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(*map(float, item.get_xy()), item.get_width(), item.get_height()) for item in found]


def marks(axes: Any) -> list[tuple[float, float]]:
    """Where the crosses are."""
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in crosses]
