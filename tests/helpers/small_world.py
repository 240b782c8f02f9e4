"""A made-up world of a few scenes, and detections in it that are right, wrong and hostile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_up_tables import MadeUpBox, MadeUpScene, quaternion, sample_token

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.ground_truth import GroundTruth, load_ground_truth


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set, the devkit's view of it, and what is in its splits."""

    root: Path
    version: str
    nusc: Any
    boxes: list[MadeUpBox]
    samples: dict[str, list[int]]

    def truth(self, split: str) -> GroundTruth:
        return load_ground_truth(self.root, self.version, split)


Results = dict[str, list[dict[str, Any]]]

SCENES = [
    MadeUpScene(name="scene-0103", description="Many cars, train station"),
    MadeUpScene(name="scene-0916", description="Night, after rain, parking lot"),
    MadeUpScene(name="scene-0061", description="Rain, high speed"),
]
"""The first two are nuScenes' own `mini_val`; they are without trailers."""

SPLITS = {
    "mini_val": [0, 1],
    "everything": [0, 1, 2],
    "dry only": [0],
    "night only": [1],
    "rain only": [1, 2],
}
"""Which scenes; all but the first are custom splits."""

SAMPLES_A_SCENE = 5
_KINDS = {
    "pedestrian": "pedestrian",
    "bicycle": "cycle",
    "motorcycle": "cycle",
    "barrier": "none",
    "traffic_cone": "none",
}


def _attributes(name: str) -> tuple[str, ...]:
    prefix = _KINDS.get(name, "vehicle")
    return tuple(each for each in NUSCENES.attributes if each.startswith(prefix))


def _ego(sample: int) -> tuple[float, float]:
    scene, step = divmod(sample, SAMPLES_A_SCENE)
    return 400.0 + 50 * scene + 2.1 * step, 900.0 + 0.3 * step


def small_world() -> tuple[list[MadeUpScene], list[MadeUpBox]]:
    """Scenes and annotations: tracks, boxes seen once, boxes without points, racks with bikes in them."""
    rng = np.random.default_rng(7)
    scenes, boxes = [], []
    for number, scene in enumerate(SCENES):
        first = number * SAMPLES_A_SCENE
        ego = [_ego(first + step) for step in range(SAMPLES_A_SCENE)]
        scenes.append(MadeUpScene(name=scene.name, description=scene.description, ego=ego))
        for track in range(22):
            boxes += _track(rng, first, ego, f"track{number}-{track}")
        boxes += _racks(rng, first, ego)
    return scenes, boxes


def _track(rng: np.random.Generator, first: int, ego: list, track: str) -> list[MadeUpBox]:
    category = str(rng.choice([*NUSCENES.class_of, *["vehicle.car"] * 6]))
    if category == "vehicle.trailer" and first < 2 * SAMPLES_A_SCENE:
        category = "vehicle.truck"
    choices = _attributes(NUSCENES.class_of[category])
    place = np.array([*ego[0], 1.0]) + rng.normal(0, (14, 14, 0.3))
    velocity = rng.normal(0, (2, 2, 0))
    size, yaw = rng.uniform(0.4, 5, 3), rng.uniform(-4, 4)
    # Seen in some keyframes only: gaps, and tracks of a single box, whose velocity is unknown.
    seen = [step for step in range(SAMPLES_A_SCENE) if rng.random() < 0.6][: rng.integers(1, 6)]
    return [
        MadeUpBox(
            sample=first + step,
            category=category,
            centre=place + 0.5 * step * velocity,
            size=size,
            yaw=yaw + 0.05 * step,
            attribute=str(rng.choice(choices)) if choices and rng.random() < 0.9 else "",
            points=int(rng.integers(0, 4)),
            track=track,
        )
        for step in seen
    ]


def _racks(rng: np.random.Generator, first: int, ego: list) -> list[MadeUpBox]:
    """Racks across and along, bikes in and beside them, one on a face."""
    boxes = []
    for step in range(0, SAMPLES_A_SCENE, 2):
        x, y = ego[step][0] + 8.0, ego[step][1] - 6.0
        rack = MadeUpBox(
            sample=first + step, category=NUSCENES.racks, centre=(x, y, 1.0), size=(2.0, 6.0, 2.0)
        )
        rack.yaw = 0.0 if step % 4 else 0.7
        inside = rng.uniform(-1, 1, (3, 2)) * [2.5, 0.8]
        boxes.append(rack)
        for index, (along, across) in enumerate([*inside, (3.0, 0.0), (3.01, 0.0), (-5.0, 2.0)]):
            turned = np.array(
                [
                    np.cos(rack.yaw) * along - np.sin(rack.yaw) * across,
                    np.sin(rack.yaw) * along + np.cos(rack.yaw) * across,
                ]
            )
            category = ("vehicle.bicycle", "vehicle.motorcycle", "vehicle.car")[index % 3]
            centre = (x + turned[0], y + turned[1], 1.0)
            boxes.append(MadeUpBox(sample=first + step, category=category, centre=centre))
    return boxes


def detection(sample: int, name: str, centre: Any, score: float, **more: Any) -> dict[str, Any]:
    box = {
        "sample_token": sample_token(sample),
        "translation": [float(value) for value in centre],
        "size": [2.0, 4.0, 1.5],
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "velocity": [0.0, 0.0],
        "detection_name": name,
        "detection_score": float(score),
        "attribute_name": "",
    }
    box.update(more)
    return box


def _empty(samples: Sequence[int]) -> Results:
    return {sample_token(sample): [] for sample in samples}


def perturbed(
    boxes: list[MadeUpBox], samples: Sequence[int], seed: int, noise: float = 0.6, copies: int = 1
) -> Results:
    """Every annotation found, moved, turned and renamed a little; some missed, some made up."""
    rng = np.random.default_rng(seed)
    results = _empty(samples)
    for box in boxes:
        name = NUSCENES.class_of.get(box.category)
        if name is None or box.sample not in samples:
            continue
        for _ in range(copies):
            if rng.random() < 0.15:
                continue
            found = str(rng.choice(CLASS_NAMES)) if rng.random() < 0.1 else name
            results[sample_token(box.sample)].append(
                detection(
                    box.sample,
                    found,
                    np.asarray(box.centre) + rng.normal(0, noise, 3),
                    rng.random(),
                    size=(np.asarray(box.size) * rng.uniform(0.7, 1.4, 3)).tolist(),
                    rotation=quaternion(box.yaw + rng.normal(0, 1)),
                    velocity=rng.normal(0, 2, 2).tolist(),
                    attribute_name=str(rng.choice(["", *_attributes(name)])),
                )
            )
    return results


def random_boxes(samples: Sequence[int], seed: int, count: int = 40, best: float = 1.0) -> Results:
    """Boxes anywhere, with quaternions of any length."""
    rng = np.random.default_rng(seed)
    results = _empty(samples)
    for sample in samples:
        ego = np.array([*_ego(sample), 1.0])
        for _ in range(count):
            results[sample_token(sample)].append(
                detection(
                    sample,
                    str(rng.choice(CLASS_NAMES)),
                    ego + rng.normal(0, 12, 3),
                    best * rng.random(),
                    size=rng.uniform(0.1, 6, 3).tolist(),
                    rotation=rng.normal(0, 2, 4).tolist(),
                    velocity=rng.normal(0, 5, 2).tolist(),
                    attribute_name=str(rng.choice(["", *NUSCENES.attributes])),
                )
            )
    return results


def changed(
    results: Results, change: Callable[[dict[str, Any], int], dict[str, Any] | None]
) -> Results:
    """The same results with each box replaced, or left out where `change` gives None."""
    count = 0
    fresh: Results = {}
    for token, boxes in results.items():
        kept = [change(dict(box), count + place) for place, box in enumerate(boxes)]
        fresh[token] = [box for box in kept if box is not None]
        count += len(boxes)
    return fresh
