"""Matching of detections with ground truths, from which all metrics follow.

Letters: P detections, M of them matched at 2 m, S samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.schema.description import DataDescription
from aqr_exp.evaluate.boxes import Boxes, heading_errors, size_errors, yaws
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.predictions import Predictions, refusal
from aqr_exp.evaluate.protocol import ERROR_MATCH, MATCH_DISTANCES_M
from aqr_exp.evaluate.records import MatchTable, exact_floats, smallest_unsigned

_PAIRS_AT_ONCE = 1 << 21
"""Distances are computed for this many pairs at a time, to bound the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Pairs:
    """Detections and ground truths of one sample and class within 4 m of each other.

    Sorted by detection, then by distance, then by the ground truth's place.
    """

    detection: Int[np.ndarray, " N"]
    truth: Int[np.ndarray, " N"]
    distance_m: Float[np.ndarray, " N"]

    def take(self, index: np.ndarray) -> "_Pairs":
        """Some of the pairs."""
        return _Pairs(**{name: value[index] for name, value in vars(self).items()})


def match(truth: GroundTruth, truth_boxes: Boxes, predictions: Predictions) -> MatchTable:
    """Match detections with ground truths.

    Args:
        truth_boxes: The ground truths that count, by sample.
        predictions: The detections that count, in the order that ranks equal scores.

    Raises:
        RequestError: A matched detection's size is not above 0, so that it has no IoU; names it.
    """
    ranked = predictions.take(_ranking(predictions))
    boxes = ranked.boxes
    classes = len(truth.description.classes)
    samples = len(truth.samples)
    matched = np.zeros(len(boxes), dtype=np.uint8)
    errors = np.empty((0, 5))
    for bit, chosen in enumerate(_chosen(boxes, truth_boxes, samples, classes)):
        _check_sizes(ranked, truth, chosen.detection)
        matched[chosen.detection] |= np.uint8(1 << bit)
        if bit == ERROR_MATCH:
            errors = _errors(chosen, boxes, truth_boxes, truth.description)
    counts = np.bincount(_group(truth_boxes, classes), minlength=samples * classes)
    return MatchTable(
        class_start=np.searchsorted(boxes.label, np.arange(classes + 1)),
        sample=smallest_unsigned(boxes.sample),
        score=exact_floats(ranked.score),
        matched=matched,
        errors=errors,
        truths=smallest_unsigned(counts.reshape(-1, classes)),
    )


def matches(
    truth: GroundTruth, truth_boxes: Boxes, predictions: Predictions
) -> Int[np.ndarray, "P distances"]:
    """The place of the ground truth that each detection matches at each match distance; -1 for none."""
    order = _ranking(predictions)
    found = np.full((len(order), len(MATCH_DISTANCES_M)), -1)
    sizes = len(truth.samples), len(truth.description.classes)
    chosen = _chosen(predictions.boxes.take(order), truth_boxes, *sizes)
    for bit, pairs in enumerate(chosen):
        found[order[pairs.detection], bit] = pairs.truth
    return found


def _chosen(boxes: Boxes, truths: Boxes, samples: int, classes: int) -> Iterator[_Pairs]:
    """The pairs of ranked detections and ground truths that match, at each match distance."""
    pairs = _near_pairs(boxes, truths, samples, classes)
    for limit_m in MATCH_DISTANCES_M:
        near = pairs.take(pairs.distance_m < limit_m)
        yield near.take(_deferred_acceptance(near.detection, near.truth, len(boxes), len(truths)))


def _ranking(predictions: Predictions) -> Int[np.ndarray, " P"]:
    """Order by class, then falling score; of equal scores the later detection comes first."""
    score, label = predictions.score, predictions.boxes.label
    falling = len(score) - 1 - np.argsort(-score[::-1], kind="stable")
    return falling[np.argsort(label[falling].astype(np.uint8), kind="stable")]


def _group(boxes: Boxes, classes: int) -> np.ndarray:
    """A number for each pair of sample and class."""
    return boxes.sample * classes + boxes.label


def _near_pairs(boxes: Boxes, truths: Boxes, samples: int, classes: int) -> _Pairs:
    """All pairs of one sample and class that are less than 4 m apart."""
    # Stable: a group's ground truths keep the order that breaks ties of distance.
    group, of_truth = _group(boxes, classes), _group(truths, classes)
    truth_order = np.argsort(of_truth, kind="stable")
    sizes = np.bincount(of_truth, minlength=samples * classes)
    first = (np.cumsum(sizes) - sizes)[group]
    count = sizes[group]
    ends = np.cumsum(count)
    parts: list[_Pairs] = []
    start = 0
    while start < len(boxes):
        done = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        counts = count[start:stop]
        detection = np.repeat(np.arange(start, stop), counts)
        within = np.arange(len(detection)) - np.repeat(np.cumsum(counts) - counts, counts)
        truth = truth_order[np.repeat(first[start:stop], counts) + within]
        parts.append(_closer_than_4m(boxes, truths, detection, truth))
        start = stop
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0, dtype=kind)])
        for name, kind in (("detection", int), ("truth", int), ("distance_m", float))
    }
    order = np.lexsort((joined["truth"], joined["distance_m"], joined["detection"]))
    return _Pairs(**joined).take(order)


def _closer_than_4m(
    boxes: Boxes, truths: Boxes, detection: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"]
) -> _Pairs:
    offset = boxes.centre[detection, :2] - truths.centre[truth, :2]
    limit = MATCH_DISTANCES_M[-1]
    perhaps = np.flatnonzero((np.abs(offset) < limit).all(axis=1))
    offset = offset[perhaps]
    # The devkit's distance is a dot product, whose last bit may differ from a sum of squares (fused
    # multiply-add). A product of matrices of one row and one column is that same dot product, for all.
    distance = np.sqrt(np.matmul(offset[:, None, :], offset[:, :, None])[:, 0, 0])
    near = distance < limit
    return _Pairs(
        detection=detection[perhaps][near], truth=truth[perhaps][near], distance_m=distance[near]
    )


def _deferred_acceptance(
    detection: Int[np.ndarray, " N"], truth: Int[np.ndarray, " N"], detections: int, truths: int
) -> Int[np.ndarray, " M"]:
    """Places, sorted, of the pairs of the greedy matching in order of rank, by deferred acceptance.

    `detection` is sorted, with equal ones in order of preference. The benchmark lets one detection
    after another take its nearest free ground truth. Here all of them propose at once and a ground
    truth keeps the best ranked (deferred acceptance, Gale and Shapley 1962): as every ground truth
    prefers the higher rank, the stable matching is unique and equal to the greedy one, and a few
    vectorised rounds find it.
    """
    free = detections
    partner = np.full(truths, free)
    pointer = np.searchsorted(detection, np.arange(detections), side="left")
    end = np.searchsorted(detection, np.arange(detections), side="right")
    proposing = np.flatnonzero(pointer < end)
    while len(proposing):
        preferred = truth[pointer[proposing]]
        before = partner[preferred]
        np.minimum.at(partner, preferred, proposing)
        displaced = np.unique(before[(before != free) & (partner[preferred] != before)])
        rejected = np.concatenate([proposing[partner[preferred] != proposing], displaced])
        pointer[rejected] += 1
        proposing = rejected[pointer[rejected] < end[rejected]]
    return np.sort(pointer[partner[partner != free]])


def _check_sizes(ranked: Predictions, truth: GroundTruth, detection: np.ndarray) -> None:
    flat = detection[(ranked.boxes.size[detection] <= 0).any(axis=1)]
    if len(flat):
        index = int(flat.min())
        size = ranked.boxes.size[index].tolist()
        raise refusal(ranked, truth, index, f"size={size} (allowed: above 0)")


def _errors(
    pairs: _Pairs, boxes: Boxes, truths: Boxes, description: DataDescription
) -> Float[np.ndarray, "M 5"]:
    """The five true-positive errors of matched pairs."""
    found, real = boxes.take(pairs.detection), truths.take(pairs.truth)
    slip = found.velocity - real.velocity
    attribute = np.where(real.attribute < 0, np.nan, found.attribute != real.attribute)
    return np.stack(
        [
            pairs.distance_m,
            size_errors(real.size, found.size),
            heading_errors(yaws(real.rotation), yaws(found.rotation), real.label, description),
            np.hypot(slip[:, 0], slip[:, 1]),
            attribute,
        ],
        axis=1,
    )
