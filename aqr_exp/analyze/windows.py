"""The windows of chosen queries, over the BEV and over the cameras' images.

Letters: Q queries, S window slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from aqr_exp.analyze.samples import AnnotatedSample
from aqr_exp.analyze.scene_figure import (
    IMAGE_COLUMNS,
    Frame,
    bev_cells,
    bev_corners_m,
    camera_cells,
    camera_corners_px,
    draw_bev,
    draw_image,
    image_axes,
    mark,
    mark_in_image,
    split_by_sensor,
)
from aqr_exp.aqr.layout import locate_queries
from aqr_exp.aqr.windows import Windows, gather_windows
from aqr_exp.report.figures.figure_file import save
from aqr_exp.report.figures.style import INK, colour, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def bev_windows_figure(
    scene: Frame,
    queries_m: Float[NDArray[Any], "queries 3"],
    index: Int[NDArray[Any], "queries slots"],
    valid: Bool[NDArray[Any], "queries slots"],
    names: Sequence[str],
) -> "Figure":
    """Draw every BEV cell of every window, the queries, LiDAR points and ground truth from above.

    Args:
        queries_m: The queries' points, metres in the LiDAR frame.
        index, valid: Keys of the window slots, and where a slot holds one.
        names: Labels of the queries.

    Returns:
        The figure: one axes, one rectangle a valid BEV slot.
    """
    figure = new_figure(10.0, 10.0)
    axes = figure.subplots()
    draw_bev(axes, scene, title="Windows over the BEV")
    layout = scene.layout
    for query, at in enumerate(queries_m):
        keys = index[query][valid[query]]
        lidar, _ = split_by_sensor(layout, keys)
        corners = bev_corners_m(layout, bev_cells(layout, keys[lidar]))
        _draw_cells(axes, corners, layout.bev_pitch_m, colour(query))
        mark(axes, at[:2], names[query], colour(query))
    axes.legend(loc="upper right", fontsize=9, framealpha=0.9)
    return figure


def camera_windows_figure(
    scene: Frame,
    queries_m: Float[NDArray[Any], "queries 3"],
    index: Int[NDArray[Any], "queries slots"],
    valid: Bool[NDArray[Any], "queries slots"],
    names: Sequence[str],
) -> "Figure":
    """Draw every camera token of every window over the images; arguments as `bev_windows_figure`.

    Returns:
        The figure: one axes a view, one rectangle a valid camera slot of that view, and the queries
        where they project.
    """
    layout = scene.layout
    (height_px, width_px), (high_px, wide_px) = layout.image_size_px, layout.camera_pitch_px
    rows = -(-layout.views // IMAGE_COLUMNS)
    figure = new_figure(16.0, rows * (16.0 / IMAGE_COLUMNS * height_px / width_px + 0.2) + 0.4)
    figure.suptitle("Windows over the images", fontsize=13, color=INK)
    for view, axes in enumerate(image_axes(figure, scene.view_names)):
        draw_image(axes, scene, view)
        for query, at in enumerate(queries_m):
            keys = index[query][valid[query]]
            _, camera = split_by_sensor(layout, keys)
            cells = camera_cells(layout, keys[camera])
            corners = camera_corners_px(layout, cells[cells[:, 0] == view])
            _draw_cells(axes, corners, (wide_px, high_px), colour(query))
            mark_in_image(axes, scene, view, at, names[query], colour(query))
    return figure


def _draw_cells(
    axes: "Axes", corners: Float[NDArray[Any], "cells 2"], size: tuple[float, float], ink: str
) -> None:
    """Draw cells of (width, height) by their lower corners."""
    from matplotlib.patches import Rectangle

    for x, y in corners.tolist():
        cell = Rectangle((x, y), *size, edgecolor=ink, linewidth=0.5)
        cell.set_facecolor((ink, 0.28))
        axes.add_patch(cell)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoxWindows:
    """The windows of some boxes of a sample.

    Attributes:
        boxes: [N] which boxes.
        centres_m: [N, 3] their centres, LiDAR frame.
        windows: Of one sample and N queries.
    """

    boxes: Int[NDArray[Any], " n"]
    centres_m: Float[NDArray[Any], "n 3"]
    windows: Windows


def choose_boxes(sample: AnnotatedSample, count: int) -> Int[NDArray[Any], " n"]:
    """Boxes to draw: of every class the nearest first, then the next, until there are enough."""
    away = np.hypot(sample.boxes[:, 0], sample.boxes[:, 1])
    order = np.argsort(away, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    seen: dict[int, int] = {}
    for index in order:
        label = int(sample.labels[index])
        rank[index] = seen[label] = seen.get(label, -1) + 1
    return np.asarray(np.lexsort((away, rank))[:count])


def windows_of_boxes(sample: AnnotatedSample, count: int, window: Mapping[str, Any]) -> BoxWindows:
    """Windows at the centres of at most `count` boxes, as of queries with their references there."""
    chosen = choose_boxes(sample, count)
    centres, layout = sample.boxes[chosen, :3], sample.scene.layout
    matrices = torch.from_numpy(np.asarray(sample.scene.lidar2img))[None]
    places = locate_queries(torch.from_numpy(centres)[None], matrices, layout)
    windows = gather_windows(places, layout, **window)
    return BoxWindows(boxes=chosen, centres_m=centres, windows=windows)


def draw_windows(sample: AnnotatedSample, drawn: BoxWindows, folder: Path) -> list[Path]:
    """Write `windows_bev.png` and `windows_cameras.png` to an existing folder."""
    slots = drawn.windows.index[0].numpy(), drawn.windows.valid[0].numpy()
    names = [sample.names[box] for box in drawn.boxes]
    files = [folder / "windows_bev.png", folder / "windows_cameras.png"]
    for path, draw in zip(files, (bev_windows_figure, camera_windows_figure), strict=True):
        save(draw(sample.scene, drawn.centres_m, *slots, names), path)
    return files
