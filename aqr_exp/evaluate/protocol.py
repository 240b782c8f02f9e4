"""The nuScenes detection benchmark, `detection_cvpr_2019`: its numbers, and those of classes.

Letters: C classes.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from aqr_exp.config.schema.description import DataDescription

NAME = "detection_cvpr_2019"

MATCH_DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
"""A detection may match a ground truth whose centre, seen from above, is nearer than this."""

ERROR_MATCH = 2
"""Index in `MATCH_DISTANCES_M` of the distance at which true-positive errors are measured."""

RECALL_POINTS = 101
"""Precision is read at recalls 0, 0.01, ..., 1."""

FIRST_RECALL_POINT = 11
"""Index of the first recall that counts: those up to the floor of 0.1 do not."""

PRECISION_FLOOR = 0.1
"""Precision below it counts as none; what is above it is rescaled to [0, 1]."""

MAX_BOXES = 500
"""More detections in one sample are refused."""

MAP_WEIGHT = 5
"""Weight of mAP in NDS; each error has weight 1."""

ERROR_NAMES = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
"""Translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (1 - accuracy)."""


@lru_cache(maxsize=8)
def ranges_m(description: DataDescription) -> Float[np.ndarray, " C"]:
    """Boxes of a class count while their centre is nearer to the vehicle than this."""
    return np.array([each.range_m for each in description.classes])


@lru_cache(maxsize=8)
def measured(description: DataDescription) -> Bool[np.ndarray, "C 5"]:
    """Which errors a class has, as `ERROR_NAMES`."""
    rows = [
        (True, True, each.heading != "none", each.velocity, bool(each.attributes))
        for each in description.classes
    ]
    return np.array(rows, dtype=bool)
