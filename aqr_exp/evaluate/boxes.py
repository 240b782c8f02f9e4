"""Boxes in the global frame as arrays, ground truth and predictions alike.

Letters: N boxes, M pairs, K bicycle racks.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aqr_exp.config.schema.description import DataDescription
from aqr_exp.evaluate.protocol import ranges_m


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """Boxes of many samples.

    Attributes:
        sample: Position of a box's sample among the split's.
        label: Class, its place in the description.
        centre: (x, y, z) of the middle in metres.
        size: (width, length, height) in metres.
        rotation: Quaternion (w, x, y, z).
        velocity: (x, y) in m/s; NaN where unknown.
        attribute: Its place among the description's, -1 for none.
    """

    sample: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]
    centre: Float[np.ndarray, "N 3"]
    size: Float[np.ndarray, "N 3"]
    rotation: Float[np.ndarray, "N 4"]
    velocity: Float[np.ndarray, "N 2"]
    attribute: Int[np.ndarray, " N"]

    def __len__(self) -> int:
        return len(self.sample)

    def take(self, index: np.ndarray) -> "Boxes":
        """The boxes at an index or a mask."""
        return Boxes(**{name: value[index] for name, value in vars(self).items()})


@dataclass(frozen=True, kw_only=True, eq=False)
class Racks:
    """Bicycle racks: their samples' positions in the split, a corner and its edges (a row each), metres."""

    sample: Int[np.ndarray, " K"]
    corner: Float[np.ndarray, "K 3"]
    edges: Float[np.ndarray, "K 3 3"]


def rotation_matrices(rotation: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, "N 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length; four zeros give zeros."""
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    w, x, y, z = (rotation / np.where(length > 0, length, 1.0)).T
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def yaws(rotation: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """Headings of quaternions (w, x, y, z) seen from above, in radians."""
    ahead = rotation_matrices(rotation)[:, :2, 0]
    return np.arctan2(ahead[:, 1], ahead[:, 0])


def heading_errors(
    truth: Float[np.ndarray, " M"],
    predicted: Float[np.ndarray, " M"],
    label: Int[np.ndarray, " M"],
    description: DataDescription,
) -> Float[np.ndarray, " M"]:
    """Angles between headings in radians, in [0, pi]; in [0, pi/2] where front and back are equal."""
    halves = [at for at, each in enumerate(description.classes) if each.heading == "half"]
    period = np.where(np.isin(label, halves), np.pi, 2 * np.pi)
    return np.abs((truth - predicted + period / 2) % period - period / 2)


def size_errors(
    truth: Float[np.ndarray, "M 3"], predicted: Float[np.ndarray, "M 3"]
) -> Float[np.ndarray, " M"]:
    """1 - IoU of boxes that share centre and heading; sizes are above 0."""
    # A volume beyond what a float can hold has no IoU: NaN, which the benchmark passes over.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        common = np.minimum(truth, predicted).prod(axis=1)
        return 1.0 - common / (truth.prod(axis=1) + predicted.prod(axis=1) - common)


def ego_distances(boxes: Boxes, ego_xy: Float[np.ndarray, "samples 2"]) -> Float[np.ndarray, " N"]:
    """Distances of the centres from the vehicle, seen from above, in metres."""
    # In the benchmark's own order of operations: a box at the limit must fall on the same side of it.
    offset = boxes.centre[:, :2] - ego_xy[boxes.sample]
    return np.sqrt(offset[:, 0] ** 2 + offset[:, 1] ** 2)


def in_range(
    boxes: Boxes, ego_xy: Float[np.ndarray, "samples 2"], description: DataDescription
) -> Bool[np.ndarray, " N"]:
    """Mask of the boxes nearer than their class's range."""
    # Coordinates beyond what a float can square are out of range, which is what infinity says.
    with np.errstate(over="ignore"):
        return ego_distances(boxes, ego_xy) < ranges_m(description)[boxes.label]


def in_racks(boxes: Boxes, racks: Racks, description: DataDescription) -> Bool[np.ndarray, " N"]:
    """Mask of bicycles and motorcycles whose centre lies in a rack of their sample."""
    outside = [at for at, each in enumerate(description.classes) if each.outside_racks]
    inside = np.zeros(len(boxes), dtype=bool)
    has_rack = np.isin(boxes.sample, racks.sample)
    bikes = np.flatnonzero(has_rack & np.isin(boxes.label, outside))
    bikes = bikes[np.argsort(boxes.sample[bikes], kind="stable")]
    first = np.searchsorted(boxes.sample[bikes], racks.sample, side="left")
    last = np.searchsorted(boxes.sample[bikes], racks.sample, side="right")
    for rack in range(len(racks.sample)):
        candidates = bikes[first[rack] : last[rack]]
        edges = racks.edges[rack]
        along = (boxes.centre[candidates] - racks.corner[rack]) @ edges.T
        within = (along >= 0) & (along <= (edges * edges).sum(axis=1))
        inside[candidates[within.all(axis=1)]] = True
    return inside
