"""The ground as a picture in road coordinates: asphalt, markings, pavements, grass."""

import cv2
import numpy as np

from aqr_exp.data.synth.road import (
    AHEAD_M,
    BEHIND_M,
    KERB_D_M,
    LANE_WIDTH_M,
    PAVEMENT_END_D_M,
    ROAD_HALF_WIDTH_M,
)

PIXEL_M = 0.1
HALF_HEIGHT_M = 30.0

_GRASS = (70, 115, 95)
_PAVEMENT = (150, 152, 155)
_KERB = (185, 185, 185)
_ASPHALT = (92, 90, 88)
_PARKING = (104, 100, 98)
_MARKING = (215, 220, 220)


def _row(d: float) -> int:
    """Raster row of a distance across the road."""
    return round((d + HALF_HEIGHT_M) / PIXEL_M)


def road_pixels(s: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Road coordinates in metres to raster column and row (pixel centres on integers)."""
    return (s + BEHIND_M) / PIXEL_M - 0.5, (d + HALF_HEIGHT_M) / PIXEL_M - 0.5


def paint_ground(crossing_s: float, rng: np.random.Generator) -> np.ndarray:
    """Paint the ground along a road.

    Args:
        crossing_s: Where a zebra crossing lies along the road, metres.
        rng: Grain and tone.

    Returns:
        [rows over d, columns over s, 3] uint8 BGR; `road_pixels` maps onto it.
    """
    rows, columns = 2 * _row(0.0), round((AHEAD_M + BEHIND_M) / PIXEL_M)
    picture = np.empty((rows, columns, 3), dtype=np.uint8)
    picture[:] = _GRASS
    for half, colour in (
        (PAVEMENT_END_D_M, _PAVEMENT),
        (KERB_D_M, _KERB),
        (KERB_D_M - 0.2, _PARKING),
        (ROAD_HALF_WIDTH_M, _ASPHALT),
    ):
        picture[_row(-half) : _row(half)] = colour
    for edge in (-ROAD_HALF_WIDTH_M, ROAD_HALF_WIDTH_M - 0.15, -0.2, 0.1):
        picture[_row(edge) : _row(edge + 0.15)] = _MARKING
    dash = (np.arange(columns) * PIXEL_M) % 9.0 < 3.0
    for lane in (-LANE_WIDTH_M, LANE_WIDTH_M):
        picture[_row(lane - 0.08) : _row(lane + 0.08), dash] = _MARKING
    first = round((crossing_s + BEHIND_M) / PIXEL_M)
    for bar in np.arange(-ROAD_HALF_WIDTH_M + 0.4, ROAD_HALF_WIDTH_M - 0.4, 1.0):
        picture[_row(bar) : _row(bar + 0.5), first : first + 30] = _MARKING
    grain = rng.integers(-9, 10, (rows // 4, columns // 4), dtype=np.int16)
    grain += np.int16(rng.integers(-12, 13))
    grain = cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_NEAREST)
    return cv2.add(picture, cv2.merge([grain, grain, grain]), dtype=cv2.CV_8U)


def sample_ground(picture: np.ndarray, s: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Colours of the ground.

    Args:
        picture: From `paint_ground`.
        s: [H, W] metres along the road.
        d: [H, W] metres across it.

    Returns:
        [H, W, 3] uint8; beyond the picture its border goes on.
    """
    column, row = road_pixels(s, d)
    return cv2.remap(
        picture,
        column.astype(np.float32),
        row.astype(np.float32),
        interpolation=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
