"""Drawing of a frame: tokens of the feature maps, boxes from above and in the images.

Letters: G boxes.
"""

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from aqr_exp.aqr.layout import TokenLayout
from aqr_exp.config.schema.description import NUSCENES, view_name
from aqr_exp.data.geometry import corners_m, footprints_m, project
from aqr_exp.report.figures.style import GRID, INK, TRUTH_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

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


def bev_cells(layout: TokenLayout, keys: Int[NDArray[Any], " n"]) -> Int[NDArray[Any], "n 2"]:
    """(row, column) of BEV keys."""
    return np.stack(np.divmod(keys, layout.bev_columns), axis=-1)


def camera_cells(layout: TokenLayout, keys: Int[NDArray[Any], " n"]) -> Int[NDArray[Any], "n 3"]:
    """(view, row, column) of camera keys, given among all keys."""
    maps = (layout.views, *layout.camera_size)
    return np.stack(np.unravel_index(keys - layout.bev_keys, maps), axis=-1)


def split_by_sensor(
    layout: TokenLayout, keys: Int[NDArray[Any], " n"]
) -> tuple[Int[NDArray[Any], " bev"], Int[NDArray[Any], " camera"]]:
    """Places in `keys` of the BEV tokens and of the camera tokens.

    Raises:
        ValueError: A key is none of the layout's; names it.
    """
    unknown = keys[(keys < 0) | (keys >= layout.keys)]
    if unknown.size:
        raise ValueError(f"key {unknown[0]} is none of the {layout.keys} keys")
    lidar = keys < layout.bev_keys
    return np.flatnonzero(lidar), np.flatnonzero(~lidar)


def bev_corners_m(
    layout: TokenLayout, cells: Int[NDArray[Any], "n 2"]
) -> Float[NDArray[Any], "n 2"]:
    """(x, y) of the corner with the lowest x and y of BEV cells, metres in the LiDAR frame."""
    pitch = np.array(layout.bev_pitch_m)
    return np.asarray(np.array(layout.bev_origin_m) + cells[:, ::-1] * pitch)


def camera_corners_px(
    layout: TokenLayout, cells: Int[NDArray[Any], "n 3"]
) -> Float[NDArray[Any], "n 2"]:
    """(u, v) of the upper left corner of camera tokens' patches, pixels of the network's input."""
    height_px, width_px = layout.camera_pitch_px
    return np.asarray(cells[:, :0:-1] * np.array([width_px, height_px]))


def value_map(
    rows: int, columns: int, cells: Int[NDArray[Any], "n 2"], values: Float[NDArray[Any], " n"]
) -> Float[NDArray[Any], "{rows} {columns}"]:
    """A map that holds values at cells and NaN elsewhere."""
    filled = np.full((rows, columns), np.nan)
    filled[cells[:, 0], cells[:, 1]] = values
    return filled


# The places of the six nuScenes cameras, as one looks around.
PLACES = (
    ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
    ("CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"),
)
IMAGE_COLUMNS = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One sample, as the network sees it: everything after augmentation.

    Attributes:
        layout: The feature maps.
        points_m: [N, 2 or more] LiDAR points, metres in the LiDAR frame.
        images: V images as [height, width, 3] RGB; each covers the whole padded network input.
        lidar2img: [V, 4, 4] from the LiDAR frame to pixels of the network's input.
        boxes_m: [G, 7] ground truth: centre, length, width, height, yaw (see `footprints_m`).
        view_names: The views' names, in their order.
    """

    layout: TokenLayout
    points_m: Float[NDArray[Any], "points values"]
    images: Sequence[UInt8[NDArray[Any], "height width 3"]]
    lidar2img: Float[NDArray[Any], "views 4 4"]
    boxes_m: Float[NDArray[Any], "boxes 7"]
    view_names: Sequence[str] = NUSCENES.cameras

    def __post_init__(self) -> None:
        given: dict[str, Sized] = {
            "images": self.images,
            "matrices": self.lidar2img,
            "view names": self.view_names,
        }
        for name, items in given.items():
            if len(items) != self.layout.views:
                raise ValueError(f"{len(items)} {name} for the layout's {self.layout.views} views")

    @property
    def bev_extent_m(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) of the BEV map."""
        (x, y), (width, height) = self.layout.bev_origin_m, self.layout.bev_pitch_m
        right, top = x + width * self.layout.bev_columns, y + height * self.layout.bev_rows
        return x, right, y, top


def draw_bev(axes: "Axes", scene: Frame, *, title: str) -> None:
    """Draw LiDAR points, ground truth and the ego vehicle from above, over the whole BEV map."""
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
    lines = LineCollection(list(headings), colors=TRUTH_COLOUR, linewidths=1.2)
    axes.add_collection(lines, autolim=False)
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
    """Axes for each view, in order: the six nuScenes cameras as one looks around, others three a row."""
    flat = [name for row in PLACES for name in row]
    places = {name: index for index, name in enumerate(flat if set(flat) == set(names) else names)}
    rows = -(-len(names) // IMAGE_COLUMNS)
    grid = figure.subplots(rows, IMAGE_COLUMNS, squeeze=False).flatten().tolist()
    for unused in grid[len(names) :]:
        unused.set_visible(False)
    return [grid[places[name]] for name in names]


def draw_image(axes: "Axes", scene: Frame, view: int) -> None:
    """Draw one view's image with the ground truth's edges, in pixels of the network's input."""
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
    words = view_name(scene.view_names[view]).replace("_", " ")
    axes.set_title(words, loc="left", fontsize=9, color=INK, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def inside_image(layout: TokenLayout, pixel: Float[NDArray[Any], "2"]) -> bool:
    """True for a pixel in the network's input; False for NaN."""
    height_px, width_px = layout.image_size_px
    return bool(((pixel >= 0) & (pixel < [width_px, height_px])).all())


def mark(axes: "Axes", at: Float[NDArray[Any], "2"], name: str, ink: str) -> None:
    """Draw a cross and a name beside it, readable over anything and within the axes' limits."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=2.5, foreground="white")]
    axes.plot(*at, marker="x", color=ink, markersize=6, markeredgewidth=1.8, path_effects=outline)
    # Near the right border the name goes to the left.
    across = axes.transAxes.inverted().transform(axes.transData.transform(at))[0]
    side, aligned = (-6, "right") if across > 0.75 else (6, "left")
    text = axes.annotate(
        name, (float(at[0]), float(at[1])), xytext=(side, 6), textcoords="offset points", ha=aligned,
        fontsize=9, fontweight="bold", color=ink, path_effects=outline,
    )  # fmt: skip
    text.set(clip_on=True, in_layout=False)


def mark_in_image(
    axes: "Axes", scene: Frame, view: int, point_m: Float[NDArray[Any], "3"], name: str, ink: str
) -> None:
    """Mark a point, metres in the LiDAR frame, if it lies in the view's image."""
    pixel = project(point_m, scene.lidar2img[view])
    if inside_image(scene.layout, pixel):
        mark(axes, pixel, name, ink)
