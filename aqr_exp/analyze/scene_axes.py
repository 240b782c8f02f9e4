"""Axes that show the scene: LiDAR points and boxes from above, and the cameras' images.

From above is seen in the LiDAR frame, in metres: x to the right, y (forward) up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from aqr_exp.analyze.projection import box_lines_px
from aqr_exp.analyze.token_cells import TokenGrid
from aqr_exp.data.box_geometry import footprints_m
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.results.plots.canvas import GRID, INK, TRUTH_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# The places of the six nuScenes cameras, as one looks around.
PLACES = (
    ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
)
IMAGE_COLUMNS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """One sample, as the network sees it: everything after augmentation.

    Attributes:
        layout: The feature maps.
        points_m: [N, 2 or more] LiDAR points, metres in the LiDAR frame.
        images: V images as [height, width, 3] RGB; each covers the whole padded network input.
        lidar2img: [V, 4, 4] from the LiDAR frame to pixels of the network's input.
        boxes_m: [G, 7] ground truth: centre, length, width, height, yaw (see `footprints_m`).
        view_names: The views' names, in their order.
    """

    layout: TokenGrid
    points_m: Float[NDArray[Any], "points values"]
    images: Sequence[UInt8[NDArray[Any], "height width 3"]]
    lidar2img: Float[NDArray[Any], "views 4 4"]
    boxes_m: Float[NDArray[Any], "boxes 7"]
    view_names: Sequence[str] = CAMERA_NAMES

    def __post_init__(self) -> None:
        given = {
            "images": len(self.images),
            "matrices": len(self.lidar2img),
            "view names": len(self.view_names),
        }
        for name, count in given.items():
            if count != self.layout.views:
                raise ValueError(f"{count} {name} for the layout's {self.layout.views} views")

    @property
    def bev_extent_m(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) of the BEV map."""
        (x, y), (width, height) = self.layout.bev_origin_m, self.layout.bev_pitch_m
        right, top = x + width * self.layout.bev_columns, y + height * self.layout.bev_rows
        return x, right, y, top


def draw_bev(axes: "Axes", scene: Scene, *, title: str) -> None:
    """LiDAR points, ground truth and the ego vehicle from above, over the whole BEV map.

    Args:
        axes: Where.
        scene: The sample.
        title: Above the axes.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    left, right, bottom, top = scene.bev_extent_m
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_facecolor("#FCFCFC")
    x, y = scene.points_m[:, 0], scene.points_m[:, 1]
    axes.scatter(x, y, s=0.6, c="#8A8A8A", linewidths=0, alpha=0.7)
    # What the legend shows of them: a point of that size could not be seen there.
    axes.plot([], [], marker="o", color="#8A8A8A", markersize=3, linestyle="", label="LiDAR points")
    corners = footprints_m(scene.boxes_m)
    outlines = PolyCollection(list(corners), facecolors="none", edgecolors=TRUTH_COLOUR)
    outlines.set(linewidth=1.2, label="ground truth")
    axes.add_collection(outlines, autolim=False)
    # From the centre to the middle of the front: where the box is heading.
    headings = np.stack((corners.mean(axis=1), corners[:, :2].mean(axis=1)), axis=1)
    axes.add_collection(
        LineCollection(list(headings), colors=TRUTH_COLOUR, linewidths=1.2), autolim=False
    )
    axes.plot(0.0, 0.0, marker="^", color=INK, markersize=7, linestyle="none", label="ego")
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
    axes.set_aspect("equal")
    axes.set_xlabel("x (m), right", color=INK)
    axes.set_ylabel("y (m), forward", color=INK)
    axes.tick_params(colors=INK, length=3)
    for spine in axes.spines.values():
        spine.set_color(GRID)


def image_axes(figure: "Figure | SubFigure", names: Sequence[str]) -> list["Axes"]:
    """An axes for each view: the six nuScenes cameras as one looks around, others three a row.

    Args:
        figure: Where.
        names: The views' names.

    Returns:
        Axes in the order of the names.
    """
    flat = [name for row in PLACES for name in row]
    places = {name: index for index, name in enumerate(flat if set(flat) == set(names) else names)}
    rows = -(-len(names) // IMAGE_COLUMNS)
    grid = figure.subplots(rows, IMAGE_COLUMNS, squeeze=False).flatten().tolist()
    for unused in grid[len(names) :]:
        unused.set_visible(False)
    return [grid[places[name]] for name in names]


def draw_image(axes: "Axes", scene: Scene, view: int) -> None:
    """One view's image with the ground truth's edges, in pixels of the network's input.

    Args:
        axes: Where.
        scene: The sample.
        view: Which view.
    """
    from matplotlib.collections import LineCollection

    height_px, width_px = scene.layout.image_size_px
    axes.imshow(scene.images[view], extent=(0, width_px, height_px, 0), interpolation="bilinear")
    lines = box_lines_px(scene.boxes_m, scene.lidar2img[view])
    edges = LineCollection(list(lines), colors=TRUTH_COLOUR, linewidths=0.8, alpha=0.9)
    axes.add_collection(edges, autolim=False)
    axes.set_xlim(0, width_px)
    axes.set_ylim(height_px, 0)
    axes.set_xticks([])
    axes.set_yticks([])
    words = scene.view_names[view].removeprefix("CAM_").replace("_", " ").lower()
    axes.set_title(words, loc="left", fontsize=9, color=INK, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def inside_image(layout: TokenGrid, pixel: Float[NDArray[Any], "2"]) -> bool:
    """Whether a pixel lies in the network's input; one that is NaN does not."""
    height_px, width_px = layout.image_size_px
    return bool(((pixel >= 0) & (pixel < [width_px, height_px])).all())


def mark(axes: "Axes", at: Float[NDArray[Any], "2"], name: str, ink: str) -> None:
    """A cross at a place and a name beside it, readable over anything and within the axes.

    Args:
        axes: Where; its limits are set.
        at: The place in the axes' data.
        name: What to write beside it; empty for nothing.
        ink: The colour.
    """
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=2.5, foreground="white")]
    axes.plot(*at, marker="x", color=ink, markersize=6, markeredgewidth=1.8, path_effects=outline)
    # Near the right border the name goes to the left.
    across = axes.transAxes.inverted().transform(axes.transData.transform(at))[0]
    side, aligned = (-6, "right") if across > 0.75 else (6, "left")
    text = axes.annotate(
        name,
        (float(at[0]), float(at[1])),
        xytext=(side, 6),
        textcoords="offset points",
        ha=aligned,
        fontsize=9,
        fontweight="bold",
        color=ink,
        path_effects=outline,
    )
    text.set(clip_on=True, in_layout=False)
