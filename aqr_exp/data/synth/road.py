"""The road: a straight line or a gentle arc, with lanes, parking, pavements.

Road coordinates: s along the centre line in metres, d to its left in metres. Lanes are driven on the
right. Global frame: x, y in the plane, metres; headings in radians, counter-clockwise from x.
"""

import math
from dataclasses import dataclass

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
        """Global x and y to road coordinates s and d (the inverse of `to_global`).

        Args:
            x: Global x, any shape; within a quarter turn of the road.
            y: Global y, the same shape.
        """
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
