"""The bias of one query, as heat over the BEV and over the cameras' images.

Letters: n keys with a bias.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aqr_exp.analyze.scene_axes import (
    IMAGE_COLUMNS,
    Scene,
    draw_bev,
    draw_image,
    image_axes,
    inside_image,
    mark,
)
from aqr_exp.analyze.token_cells import bev_cells, camera_cells, split_by_sensor, value_map
from aqr_exp.data.box_geometry import project
from aqr_exp.results.plots.canvas import INK, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# Blue takes attention away, red draws it; white in the middle is a bias of zero.
COLOUR_MAP = "RdBu_r"
OPACITY = 0.62
# Above an image, below points, boxes and names.
HEAT_ORDER = 0.5
AROUND_M = 15.0
# A bias of exactly zero everywhere still needs a scale to be drawn on.
LEAST_LIMIT = 1e-3


def bias_figure(
    scene: Scene,
    query_m: Float[NDArray[Any], "3"],
    index: Int[NDArray[Any], " n"],
    value: Float[NDArray[Any], " n"],
    *,
    title: str = "Attention bias of one query",
    limit: float | None = None,
    around_m: float | None = AROUND_M,
) -> "Figure":
    """Draw where a query's attention is drawn to and where it is pushed away from.

    Args:
        scene: The sample.
        query_m: The query's point, metres in the LiDAR frame.
        index: The keys that have a bias (the valid slots), in token order.
        value: Their biases, added to the attention scores.
        title: Above the figure.
        limit: The bias at the ends of the colours; the largest |bias| by default.
        around_m: Metres shown to each side of the query from above; None shows the whole map.

    Returns:
        The figure: first the view from above, then one axes a camera, last the colour bar.
    """
    layout = scene.layout
    largest = float(np.abs(value).max(initial=0.0)) if limit is None else limit
    largest = max(largest, LEAST_LIMIT)
    height_px, width_px = layout.image_size_px
    rows = -(-layout.views // IMAGE_COLUMNS)
    figure = new_figure(18.0, max(4.6, rows * (4.0 * height_px / width_px + 0.25) + 0.9))
    figure.suptitle(title, fontsize=13, color=INK)
    above, around = (figure.add_subfigure(part) for part in _two_columns(figure))
    lidar, camera = split_by_sensor(layout, index)

    bev = above.subplots()
    draw_bev(bev, scene, title="from above")
    cells = bev_cells(layout, index[lidar])
    heat = value_map(layout.bev_rows, layout.bev_columns, cells, value[lidar])
    shown = _draw_heat(bev, heat[::-1], scene.bev_extent_m, largest)
    if around_m is not None:
        bev.set_xlim(query_m[0] - around_m, query_m[0] + around_m)
        bev.set_ylim(query_m[1] - around_m, query_m[1] + around_m)
    mark(bev, query_m[:2], "query", INK)

    axes_of_views = image_axes(around, scene.view_names)
    tokens = camera_cells(layout, index[camera])
    for view, axes in enumerate(axes_of_views):
        draw_image(axes, scene, view)
        here = tokens[:, 0] == view
        cells = tokens[here, 1:]
        heat = value_map(layout.camera_rows, layout.camera_columns, cells, value[camera][here])
        _draw_heat(axes, heat, (0.0, width_px, height_px, 0.0), largest)
        pixel = project(query_m, scene.lidar2img[view])
        if inside_image(layout, pixel):
            mark(axes, pixel, "query", INK)
    bar = figure.colorbar(shown, ax=axes_of_views, shrink=0.8, pad=0.02)
    bar.set_label("bias added to the attention score", color=INK)
    return figure


def _two_columns(figure: "Figure") -> Any:
    """Room for the view from above, and for the images."""
    return figure.add_gridspec(1, 2, width_ratios=(1.0, 2.7))


def _draw_heat(
    axes: "Axes",
    heat: Float[NDArray[Any], "rows columns"],
    extent: tuple[float, float, float, float],
    largest: float,
) -> "AxesImage":
    """Cells in the colours of their values, and the outline of what holds any.

    Args:
        axes: Where.
        heat: Values by cell, the upper row first; NaN is not drawn.
        extent: (left, right, bottom, top) of the map.
        largest: The value at the end of the colours; its negative is at the other.
    """
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    rows, columns = np.nonzero(np.isfinite(heat))
    if rows.size:
        left, right, bottom, top = extent
        wide, high = (right - left) / heat.shape[1], (bottom - top) / heat.shape[0]
        corner = (left + wide * float(columns.min()), top + high * float(rows.min()))
        size = (wide * float(np.ptp(columns) + 1), high * float(np.ptp(rows) + 1))
        outline = Rectangle(corner, *size, edgecolor=INK, linewidth=0.8, fill=False)
        outline.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
        axes.add_patch(outline)
    return axes.imshow(
        heat,
        extent=extent,
        norm=Normalize(-largest, largest),
        cmap=COLOUR_MAP,
        alpha=OPACITY,
        interpolation="nearest",
        zorder=HEAT_ORDER,
    )
