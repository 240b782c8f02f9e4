"""The maps: where one can drive and walk, as nuScenes' semantic prior masks."""

from pathlib import Path

import cv2
import numpy as np

from aqr_exp.data.synth.plan import CELL_M, ScenePlan, location_name
from aqr_exp.data.synth.road import AHEAD_M, BEHIND_M, PAVEMENT_END_D_M

RESOLUTION_M = 0.1
"""Metres a pixel; the devkit's default."""


def map_file(log: int) -> str:
    """Path of a log's map below the root."""
    return f"maps/{location_name(log)}.png"


def paint_map(plans: list[ScenePlan]) -> np.ndarray:
    """The map of one log: 255 where there is road or pavement, 0 elsewhere.

    Args:
        plans: The scenes of the log.

    Returns:
        [H, W] uint8; the last row is global y = 0, as the devkit reads masks. A line of text in the
        upper left corner says that the place does not exist.
    """
    side = round(3 * CELL_M / RESOLUTION_M)
    picture = np.zeros((side, side), dtype=np.uint8)
    for plan in plans:
        s = np.arange(-BEHIND_M, AHEAD_M + 1.0, 2.0)
        right = np.stack(plan.road.to_global(s, np.full_like(s, -PAVEMENT_END_D_M)), axis=-1)
        left = np.stack(plan.road.to_global(s, np.full_like(s, PAVEMENT_END_D_M)), axis=-1)
        for index in range(len(s) - 1):
            quad = np.stack([right[index], right[index + 1], left[index + 1], left[index]])
            pixels = (
                np.stack([quad[:, 0], side * RESOLUTION_M - quad[:, 1]], axis=-1) / RESOLUTION_M
            )
            cv2.fillConvexPoly(picture, np.round(pixels).astype(np.int32), 255)
    cv2.putText(picture, "SYNTHETIC", (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 8)
    return picture


def write_map(root: Path, plans: list[ScenePlan]) -> None:
    """Paint and store the map of one log.

    Args:
        root: The data set's folder; `maps/` exists.
        plans: The scenes of the log.

    Raises:
        OSError: Encoding failed.
    """
    done, data = cv2.imencode(".png", paint_map(plans), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OSError(f"{map_file(plans[0].log)}: the map cannot be encoded as PNG")
    (root / map_file(plans[0].log)).write_bytes(data.tobytes())
