"""Detections in the small world, right, wrong and hostile, each by name."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from made_up_tables import MadeUpBox, sample_token
from small_world import Results, changed, detection, perturbed, random_boxes

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.ground_truth import GroundTruth
from aqr_exp.evaluate.predictions import Predictions, _collect

Boxes = list[MadeUpBox]
Box = dict[str, Any]


def predictions_in_memory(results: Results, truth: GroundTruth) -> Predictions:
    """Detections that are not in a file, checked like those of one."""
    return _collect("these detections", results, truth)


def _found(boxes: Boxes, samples: Sequence[int]) -> Results:
    return perturbed(boxes, samples, seed=1)


def _mixed(boxes: Boxes, samples: Sequence[int]) -> Results:
    random = random_boxes(samples, seed=3, best=0.4)
    return {token: found + random[token] for token, found in _found(boxes, samples).items()}


def _with(change: Callable[[Box, int], Box | None]) -> Callable[[Boxes, Sequence[int]], Results]:
    """The mixed detections with each box changed."""
    return lambda boxes, samples: changed(_mixed(boxes, samples), change)


def _scored(score: Callable[[Box, int], float]) -> Callable[[Boxes, Sequence[int]], Results]:
    return _with(lambda box, index: {**box, "detection_score": score(box, index)})


def few_scores(boxes: Boxes, samples: Sequence[int]) -> Results:
    return _scored(lambda box, _: round(box["detection_score"], 1))(boxes, samples)


def _another_order(boxes: Boxes, samples: Sequence[int]) -> Results:
    return dict(reversed(few_scores(boxes, samples).items()))


def _duplicates_of_one_score(boxes: Boxes, samples: Sequence[int]) -> Results:
    five = {token: found * 5 for token, found in _found(boxes, samples).items()}
    return changed(five, lambda box, _: {**box, "detection_score": 0.5})


def _empty_samples(boxes: Boxes, samples: Sequence[int]) -> Results:
    mixed = _mixed(boxes, samples).items()
    return {token: found if place % 3 else [] for place, (token, found) in enumerate(mixed)}


def _one_box(boxes: Boxes, samples: Sequence[int]) -> Results:
    results = {token: list[Box]() for token in _found(boxes, samples)}
    car = next(box for box in boxes if box.category == "vehicle.car" and box.points)
    results[sample_token(car.sample)].append(detection(car.sample, "car", car.centre, 0.7))
    return results


def _at_the_limits(boxes: Boxes, samples: Sequence[int]) -> Results:
    """Boxes a float's breadth inside, on and outside 30, 40 and 50 m; 3-4-5 triangles are exact."""
    results = {token: list[Box]() for token in _found(boxes, samples)}
    for number, name in enumerate(CLASS_NAMES):
        for limit in (30.0, 40.0, 50.0):
            x = 400.0 + 0.6 * limit
            for place in (x, np.nextafter(x, 0), np.nextafter(x, 999)):
                centre = (place, 900.0 + 0.8 * limit, 1.0)
                results[sample_token(0)].append(detection(0, name, centre, 0.1 * number))
    return results


CASES: dict[str, Callable[[Boxes, Sequence[int]], Results]] = {
    "found": _found,
    "exact": lambda boxes, samples: perturbed(boxes, samples, seed=4, noise=0.0),
    "far off": lambda boxes, samples: perturbed(boxes, samples, seed=5, noise=3.0),
    "random": lambda _, samples: random_boxes(samples, seed=6),
    "found and random": _mixed,
    "one score": _scored(lambda *_: 0.5),
    "few scores": few_scores,
    "zero scores": _scored(lambda *_: 0.0),
    "some zero scores": _scored(lambda _, index: 0.3 * (index % 3)),
    "another order": _another_order,
    "found twice": lambda boxes, samples: perturbed(boxes, samples, seed=2, copies=2),
    "duplicates": lambda boxes, samples: {
        token: found * 2 for token, found in _mixed(boxes, samples).items()
    },
    "duplicates of one score": _duplicates_of_one_score,
    "without two classes": _with(
        lambda box, _: None if box["detection_name"] in {"car", "pedestrian"} else box
    ),
    "one class": _with(lambda box, _: {**box, "detection_name": "pedestrian"}),
    "empty samples": _empty_samples,
    "one box": _one_box,
    "unknown velocities": _with(
        lambda box, index: {**box, "velocity": [float("nan"), (1.0, float("nan"))[index % 2]]}
    ),
    "some unknown velocities": _with(
        lambda box, index: {**box, "velocity": [float("nan"), 1.0]} if index % 3 else box
    ),
    "no attributes": _with(lambda box, _: {**box, "attribute_name": ""}),
    "any attributes": _with(
        lambda box, index: {
            **box,
            "attribute_name": NUSCENES.attributes[index % len(NUSCENES.attributes)],
        }
    ),
    "at the limits": _at_the_limits,
    "no points": _with(lambda box, index: {**box, "num_pts": index % 3 - 1}),
    "no rotation": _with(lambda box, _: {**box, "rotation": [0.0, 0.0, 0.0, 0.0]}),
    "whole metres": _with(
        lambda box, _: {**box, "translation": [round(value) for value in box["translation"]]}
    ),
    "flat and far": _with(
        lambda box, index: (
            {**box, "size": [0, 1, 1], "translation": [9e9, -1e12, 0]} if index % 4 == 0 else box
        )
    ),
}
