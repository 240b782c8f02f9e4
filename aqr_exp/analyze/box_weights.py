"""The weights of the queries nearest to ground-truth boxes, grouped by class, distance and condition."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aqr_exp.analyze.samples import Samples
from aqr_exp.analyze.scene_words import CONDITIONS, SceneWords, read_scene_words
from aqr_exp.analyze.trained_run import TrainedRun
from aqr_exp.data.classes import CLASS_NAMES

NEAR_M = 2.5
"""A box farther from every reference point is left out: no query stands for it."""
DISTANCE_BINS_M = (0.0, 10.0, 20.0, 30.0, 40.0, 54.0)


@dataclass(frozen=True, kw_only=True)
class BoxWeight:
    """One ground-truth box and the weights of the query nearest to it.

    Attributes:
        unit: The scene it is in; the keyframe where scenes are not known.
        label: Class name.
        distance_m: From the LiDAR, in the plane.
        condition: Of the scene; None where it is not known.
        weights: (lidar, camera).
    """

    unit: str
    label: str
    distance_m: float
    condition: str | None
    weights: tuple[float, float]


def weights_of_boxes(
    run: TrainedRun,
    samples: Samples,
    chosen: Iterable[int],
    show: Callable[[int], None],
) -> list[BoxWeight]:
    """Run the detector over samples and read the weights at their boxes.

    Args:
        run: The run.
        samples: The split.
        chosen: Which samples.
        show: Called with how many are done, after each.
    """
    words = read_scene_words(Path(run.config.data.root), run.config.data.version)
    references = run.references_m.numpy()
    found = []
    for done, index in enumerate(chosen, start=1):
        sample = samples.sample(index)
        weights = run.observe(samples.batch(index)).weights
        assert weights is not None  # noqa: S101 - a run without a router is refused
        near = nearest_queries(sample.boxes[:, :2], references[:, :2])
        scene = words.get(sample.token, SceneWords(scene=sample.token, condition=""))
        for box, query in enumerate(near):
            if query >= 0:
                lidar, camera = weights[0, query].tolist()
                found.append(
                    BoxWeight(
                        unit=scene.scene,
                        label=sample.names[box],
                        distance_m=float(np.hypot(*sample.boxes[box, :2])),
                        condition=scene.condition or None,
                        weights=(lidar, camera),
                    )
                )
        show(done)
    return found


def nearest_queries(
    centres_m: Float[NDArray[Any], "boxes 2"], references_m: Float[NDArray[Any], "queries 2"]
) -> NDArray[np.int64]:
    """For each box the query with the nearest reference point; -1 where none is within 2.5 m."""
    if not len(centres_m):
        return np.zeros(0, dtype=np.int64)
    apart = np.linalg.norm(centres_m[:, None] - references_m[None], axis=-1)
    nearest = apart.argmin(axis=1)
    return np.where(apart.min(axis=1) <= NEAR_M, nearest, -1)


def by_class(boxes: list[BoxWeight]) -> dict[str, NDArray[np.float64]]:
    """Mean weights a unit, [n, 2], for each class that occurs."""
    return _grouped(boxes, CLASS_NAMES, lambda box: box.label)


def by_distance(boxes: list[BoxWeight]) -> dict[str, NDArray[np.float64]]:
    """Mean weights a unit for each distance band, in metres."""
    names = [f"{low:g} to {high:g}" for low, high in itertools.pairwise(DISTANCE_BINS_M)]

    def band(box: BoxWeight) -> str | None:
        place = int(np.searchsorted(DISTANCE_BINS_M, box.distance_m, side="right")) - 1
        return names[place] if place < len(names) else None

    return _grouped(boxes, names, band)


def by_condition(boxes: list[BoxWeight]) -> dict[str, NDArray[np.float64]]:
    """Mean weights a unit for each condition; empty where conditions are not known."""
    return _grouped(boxes, CONDITIONS, lambda box: box.condition)


def _grouped(
    boxes: list[BoxWeight],
    names: Iterable[str],
    group_of: Callable[[BoxWeight], str | None],
) -> dict[str, NDArray[np.float64]]:
    """Boxes of one scene are no independent draws: each scene counts once in each group."""
    collected: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for box in boxes:
        group = group_of(box)
        if group is not None:
            collected.setdefault(group, {}).setdefault(box.unit, []).append(box.weights)
    return {
        name: np.array([np.mean(weights, axis=0) for weights in collected[name].values()])
        for name in names
        if name in collected
    }
