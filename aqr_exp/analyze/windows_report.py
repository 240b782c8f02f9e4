"""Where windows lie: those of a sample's boxes, drawn over the BEV and the images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aqr_exp.analyze.samples import Sample
from aqr_exp.analyze.window_figures import bev_windows_figure, camera_windows_figure
from aqr_exp.aqr.places import locate_queries
from aqr_exp.aqr.windows import Windows, gather_windows
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.window import WindowConfig
from aqr_exp.config.window_sizes import window_cells
from aqr_exp.results.plots.figure_file import save


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


def choose_boxes(sample: Sample, count: int) -> Int[NDArray[Any], " n"]:
    """The boxes to draw: of every class the nearest first, then the next, until there are enough."""
    away = np.hypot(sample.boxes[:, 0], sample.boxes[:, 1])
    order = np.argsort(away, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    seen: dict[int, int] = {}
    for index in order:
        label = int(sample.labels[index])
        rank[index] = seen[label] = seen.get(label, -1) + 1
    return np.asarray(np.lexsort((away, rank))[:count])


def windows_of_boxes(
    sample: Sample, count: int, window: WindowConfig, model: ModelConfig
) -> BoxWindows:
    """Windows at the centres of a sample's boxes, as a query with its reference there would have them.

    Args:
        sample: The sample.
        count: At most this many boxes.
        window: Its size and view policy.
        model: Whose maps.
    """
    chosen = choose_boxes(sample, count)
    centres = sample.boxes[chosen, :3]
    matrices = torch.from_numpy(np.asarray(sample.scene.lidar2img))[None]
    layout = sample.layout
    places = locate_queries(torch.from_numpy(centres)[None], matrices, layout)
    bev, camera = window_cells(window, model)
    windows = gather_windows(
        places, layout, bev_size=bev, camera_size=camera, view_policy=window.view_policy.value
    )
    return BoxWindows(boxes=chosen, centres_m=centres, windows=windows)


def draw_windows(sample: Sample, drawn: BoxWindows, folder: Path) -> list[Path]:
    """Write `windows_bev.png` and `windows_cameras.png`.

    Args:
        sample: The sample.
        drawn: The windows.
        folder: An existing folder.

    Returns:
        The files.
    """
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
