"""Annotations and the tables that every nuScenes data set shares: categories, attributes, visibility."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from aqr_exp.synth.actors import Actor
from aqr_exp.synth.sets import SynthSet
from aqr_exp.synth.settings import token

VISIBILITY_BOUNDS = (0, 40, 60, 80, 100)
"""Percent of an object that the six images show, between the four levels."""


def visibility_token(share: float) -> str:
    """Token, "1" to "4", of the visibility level of a visible share from 0 to 1."""
    return str(1 + sum(share >= bound / 100 for bound in VISIBILITY_BOUNDS[1:-1]))


def vocabulary_tables(chosen: SynthSet) -> dict[str, list[dict[str, Any]]]:
    """Rows of `category`, `attribute` and `visibility`."""
    views = {4: "four", 6: "six"}[len(chosen.cameras)]
    return {
        "category": [
            {"token": token("category", name), "name": name, "description": words, "index": index}
            for index, (name, words) in enumerate(chosen.words.items(), start=1)
        ],
        "attribute": [
            {"token": token("attribute", name), "name": name, "description": words}
            for name, words in chosen.attributes.items()
        ],
        "visibility": [
            {
                "token": str(number),
                "level": f"v{low}-{high}",
                "description": f"{low} to {high} % of the object is seen in the {views} images",
            }
            for number, (low, high) in enumerate(itertools.pairwise(VISIBILITY_BOUNDS), start=1)
        ],
    }


ANNOTATION_RANGE_M = 65.0
"""Objects farther from the ego than this are not annotated."""


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """One keyframe as the sensors saw it, N actors.

    Attributes:
        poses: [N, 3] global x, y, heading.
        ego: [3] global x, y, heading of the ego frame.
        lidar_points: [N] returns from each actor.
        seen_px: [N] pixels of each actor, all cameras.
        drawn_px: [N] the same if nothing were in front of it.
    """

    poses: np.ndarray
    ego: np.ndarray
    lidar_points: np.ndarray
    seen_px: np.ndarray
    drawn_px: np.ndarray

    def noticed(self) -> np.ndarray:
        """[N] mask of the actors that are near and returned at least one LiDAR ray."""
        near = np.linalg.norm(self.poses[:, :2] - self.ego[:2], axis=1) < ANNOTATION_RANGE_M
        return np.asarray(near & (self.lidar_points > 0))

    def visible_share(self, index: int) -> float:
        """Share of an actor's pixels that nothing hides, 0 to 1."""
        drawn = int(self.drawn_px[index])
        return float(self.seen_px[index]) / drawn if drawn else 0.0


def _row(
    actor: Actor, frame: FrameView, index: int, make_token: Callable[..., str], number: int
) -> dict[str, Any]:
    x, y, heading = (float(value) for value in frame.poses[index])
    return {
        "token": make_token("annotation", index, number),
        "sample_token": make_token("sample", number),
        "instance_token": make_token("instance", index),
        "visibility_token": visibility_token(frame.visible_share(index)),
        "attribute_tokens": [token("attribute", actor.attribute)] if actor.attribute else [],
        "translation": [round(x, 6), round(y, 6), round(actor.size.height / 2, 6)],
        "size": [actor.size.width, actor.size.length, actor.size.height],
        "rotation": Quaternion(axis=(0.0, 0.0, 1.0), radians=heading).elements.tolist(),
        "prev": "",
        "next": "",
        "num_lidar_pts": int(frame.lidar_points[index]),
        "num_radar_pts": 0,
    }


def annotate(
    actors: tuple[Actor, ...], frames: list[FrameView], make_token: Callable[..., str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `instance` and `sample_annotation`; actors without a category get none.

    A box is annotated in the keyframes in which it is noticed: the benchmark takes boxes without points
    out of the ground truth, so the ground truth submitted as predictions scores exactly 1. Where an
    object is hidden for a while its track has a gap, over which `prev` and `next` lead.
    """
    noticed = np.stack([frame.noticed() for frame in frames])
    instances: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, actor in enumerate(actors):
        times = np.flatnonzero(noticed[:, index])
        if not actor.category or len(times) == 0:
            continue
        track = [
            _row(actor, frames[number], index, make_token, number) for number in times.tolist()
        ]
        for earlier, later in itertools.pairwise(track):
            earlier["next"], later["prev"] = later["token"], earlier["token"]
        annotations += track
        instances.append(
            {
                "token": make_token("instance", index),
                "category_token": token("category", actor.category),
                "nbr_annotations": len(track),
                "first_annotation_token": track[0]["token"],
                "last_annotation_token": track[-1]["token"],
            }
        )
    annotations.sort(key=lambda row: row["sample_token"])
    return instances, annotations
