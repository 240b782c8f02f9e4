"""Boxes, tracks and visibility, from what the sensors really saw."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyquaternion import Quaternion

from aqr_exp.data.synth.actors import Actor
from aqr_exp.data.synth.vocabulary import attribute_token, category_token, visibility_token

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
        """[N] whether an actor is near and at least one LiDAR ray came back from it."""
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
        "attribute_tokens": [attribute_token(actor.attribute)] if actor.attribute else [],
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
    """Rows of `instance` and `sample_annotation`.

    A box is annotated in the keyframes in which it is noticed: the benchmark takes boxes without points
    out of the ground truth, so the ground truth submitted as predictions scores exactly 1. Where an
    object is hidden for a while its track has a gap, over which `prev` and `next` lead.

    Args:
        actors: Everything in the scene; what has no category is left out.
        frames: All keyframes in order.
        make_token: Makes the scene's tokens.
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
                "category_token": category_token(actor.category),
                "nbr_annotations": len(track),
                "first_annotation_token": track[0]["token"],
                "last_annotation_token": track[-1]["token"],
            }
        )
    annotations.sort(key=lambda row: row["sample_token"])
    return instances, annotations
