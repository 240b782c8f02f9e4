"""The road, a straight line or a gentle arc, and the painted ground along it.

Road coordinates: s along the centre line in metres, d to its left in metres. Lanes are driven on the
right. Global frame: x, y in the plane, metres; headings in radians, counter-clockwise from x.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

LANE_WIDTH_M = 3.5
EGO_LANE_D_M = -0.5 * LANE_WIDTH_M
ROAD_HALF_WIDTH_M = 2 * LANE_WIDTH_M
PARKING_D_M = 8.5
KERB_D_M = 10.0
PAVEMENT_END_D_M = 13.5
BEHIND_M = 110.0
AHEAD_M = 170.0


@dataclass(frozen=True)
class Road:
    """A road of constant curvature through a point.

    Attributes:
        x: Global x of the centre line at s = 0.
        y: Global y of the centre line at s = 0.
        heading: Direction of growing s at s = 0.
        curvature: 1/radius in 1/m, positive to the left, 0 straight.
    """

    x: float
    y: float
    heading: float
    curvature: float

    def heading_at(self, s: np.ndarray) -> np.ndarray:
        """Direction of the road at `s`, radians."""
        return self.heading + self.curvature * np.asarray(s, dtype=np.float64)

    def to_global(self, s: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates to global x and y."""
        s, d = np.asarray(s, dtype=np.float64), np.asarray(d, dtype=np.float64)
        end = self.heading_at(s)
        if self.curvature == 0.0:
            along_x, along_y = s * np.cos(self.heading), s * np.sin(self.heading)
        else:
            along_x = (np.sin(end) - np.sin(self.heading)) / self.curvature
            along_y = (np.cos(self.heading) - np.cos(end)) / self.curvature
        return self.x + along_x - d * np.sin(end), self.y + along_y + d * np.cos(end)

    def from_global(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates s and d of global points within a quarter turn of the road."""
        dx, dy = x - self.x, y - self.y
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        forward, left = cos * dx + sin * dy, cos * dy - sin * dx
        if self.curvature == 0.0:
            return forward, left
        # The circle's centre lies 1/curvature to the left; measure angle and distance from it.
        side = math.copysign(1.0, self.curvature)
        radius = 1.0 / abs(self.curvature)
        inward = radius - side * left
        s = np.arctan2(forward, inward) * radius
        return s, side * (radius - np.hypot(forward, inward))


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
    """Paint the ground along a road with a zebra crossing at `crossing_s` metres.

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
    """Colours of the ground from `paint_ground` at s and d [H, W] in metres.

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
