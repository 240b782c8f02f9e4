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
    inside_image,
    mark,
    split_by_sensor,
)
from aqr_exp.aqr.layout import locate_queries
from aqr_exp.aqr.windows import Windows, gather_windows
from aqr_exp.data.geometry import project
from aqr_exp.report.figures.figure_file import save
from aqr_exp.report.figures.style import INK, colour, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Around all windows, so that they can be seen in their surroundings.
MARGIN_M = 8.0


def bev_windows_figure(
    scene: Frame,
    queries_m: Float[NDArray[Any], "queries 3"],
    index: Int[NDArray[Any], "queries slots"],
    valid: Bool[NDArray[Any], "queries slots"],
    *,
    names: Sequence[str] | None = None,
    title: str = "Windows over the BEV",
    zoom: bool = False,
) -> "Figure":
    """Draw every BEV cell of every window, the queries, LiDAR points and ground truth from above.

    Args:
        scene: The sample.
        queries_m: The queries' points, metres in the LiDAR frame.
        index: Key indices of the window slots, in token order.
        valid: Which slots hold a key.
        names: What to write beside each query; their numbers by default.
        title: Above the figure.
        zoom: Show only the surroundings of the queries.

    Returns:
        The figure: one axes, one rectangle a valid BEV slot.
    """
    figure = new_figure(10.0, 10.0)
    axes = figure.subplots()
    draw_bev(axes, scene, title=title)
    for query, at in enumerate(queries_m):
        keys = _lidar_keys(scene, index[query][valid[query]])
        corners = bev_corners_m(scene.layout, bev_cells(scene.layout, keys))
        width, height = scene.layout.bev_pitch_m
        _draw_cells(axes, corners, width, height, colour(query))
        mark(axes, at[:2], _name(names, query), colour(query))
    if zoom and len(queries_m):
        (left, bottom), (right, top) = queries_m[:, :2].min(axis=0), queries_m[:, :2].max(axis=0)
        centre = np.array([left + right, bottom + top]) / 2
        half = max(right - left, top - bottom) / 2 + MARGIN_M
        axes.set_xlim(centre[0] - half, centre[0] + half)
        axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.legend(loc="upper right", fontsize=9, framealpha=0.9)
    return figure


def camera_windows_figure(
    scene: Frame,
    queries_m: Float[NDArray[Any], "queries 3"],
    index: Int[NDArray[Any], "queries slots"],
    valid: Bool[NDArray[Any], "queries slots"],
    *,
    names: Sequence[str] | None = None,
    title: str = "Windows over the images",
) -> "Figure":
    """Draw every camera token of every window over the images, and the queries where they project.

    Args:
        scene: The sample.
        queries_m: The queries' points, metres in the LiDAR frame.
        index: Key indices of the window slots, in token order.
        valid: Which slots hold a key.
        names: What to write beside each query; their numbers by default.
        title: Above the figure.

    Returns:
        The figure: one axes a view, one rectangle a valid camera slot of that view.
    """
    height_px, width_px = scene.layout.image_size_px
    rows = -(-scene.layout.views // IMAGE_COLUMNS)
    figure = new_figure(16.0, rows * (16.0 / IMAGE_COLUMNS * height_px / width_px + 0.2) + 0.4)
    figure.suptitle(title, fontsize=13, color=INK)
    for view, axes in enumerate(image_axes(figure, scene.view_names)):
        draw_image(axes, scene, view)
        for query, at in enumerate(queries_m):
            corners = _patches(scene, index[query][valid[query]], view)
            token_height, token_width = scene.layout.camera_pitch_px
            _draw_cells(axes, corners, token_width, token_height, colour(query))
            pixel = project(at, scene.lidar2img[view])
            if inside_image(scene.layout, pixel):
                mark(axes, pixel, _name(names, query), colour(query))
    return figure


def _lidar_keys(scene: Frame, keys: Int[NDArray[Any], " n"]) -> Int[NDArray[Any], " bev"]:
    lidar, _ = split_by_sensor(scene.layout, keys)
    return np.asarray(keys[lidar])


def _patches(
    scene: Frame, keys: Int[NDArray[Any], " n"], view: int
) -> Float[NDArray[Any], "patches 2"]:
    """Upper left corners of the patches of one view, in pixels."""
    _, camera = split_by_sensor(scene.layout, keys)
    cells = camera_cells(scene.layout, keys[camera])
    return camera_corners_px(scene.layout, cells[cells[:, 0] == view])


def _draw_cells(
    axes: "Axes", corners: Float[NDArray[Any], "cells 2"], width: float, height: float, ink: str
) -> None:
    from matplotlib.patches import Rectangle

    for corner in corners:
        cell = Rectangle(
            (float(corner[0]), float(corner[1])), width, height, edgecolor=ink, linewidth=0.5
        )
        cell.set_facecolor((ink, 0.28))
        axes.add_patch(cell)


def _name(names: Sequence[str] | None, query: int) -> str:
    return names[query] if names is not None else str(query + 1)


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
    centres = sample.boxes[chosen, :3]
    matrices = torch.from_numpy(np.asarray(sample.scene.lidar2img))[None]
    layout = sample.layout
    places = locate_queries(torch.from_numpy(centres)[None], matrices, layout)
    windows = gather_windows(places, layout, **window)
    return BoxWindows(boxes=chosen, centres_m=centres, windows=windows)


def draw_windows(sample: AnnotatedSample, drawn: BoxWindows, folder: Path) -> list[Path]:
    """Write `windows_bev.png` and `windows_cameras.png` to an existing folder."""
    index = drawn.windows.index[0].numpy()
    valid = drawn.windows.valid[0].numpy()
    names = [sample.names[box] for box in drawn.boxes]
    files = [folder / "windows_bev.png", folder / "windows_cameras.png"]
    figures = (
        bev_windows_figure(sample.scene, drawn.centres_m, index, valid, names=names),
        camera_windows_figure(sample.scene, drawn.centres_m, index, valid, names=names),
    )
    for path, figure in zip(files, figures, strict=True):
        save(figure, path)
    return files
