"""Predictions in the nuScenes result format: global frame, quaternions, attributes by rule.

Shapes: N boxes of one sample. A box is (x, y, z_bottom, l, w, h, yaw, vx, vy) in the keyframe's LiDAR
frame, metres and m/s, l along x at yaw 0.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.attributes import attribute_name
from aqr_exp.results.atomic import replace_text

META = {
    "use_camera": True,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}


def global_boxes(
    boxes: np.ndarray, lidar2global: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of the LiDAR frame in the global frame.

    The heading's and the velocity's directions are rotated as vectors and projected to the ground plane.

    Args:
        boxes: [N, 9].
        lidar2global: [4, 4] rigid transform.

    Returns:
        Gravity centres [N, 3], yaws [N] and velocities [N, 2].
    """
    rotation, translation = lidar2global[:3, :3], lidar2global[:3, 3]
    centres = boxes[:, :3].astype(np.float64)
    centres[:, 2] += 0.5 * boxes[:, 5]
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], axis=1)
    heading = heading @ rotation.T
    velocity = np.concatenate([boxes[:, 7:9], np.zeros((len(boxes), 1))], axis=1) @ rotation.T
    yaws = np.arctan2(heading[:, 1], heading[:, 0])
    return centres @ rotation.T + translation, yaws, velocity[:, :2]


def sample_result(
    token: str,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    lidar2global: np.ndarray,
) -> list[dict[str, Any]]:
    """One sample's detections as nuScenes wants them.

    Args:
        token: The sample's token.
        boxes: [N, 9].
        scores: [N] in [0, 1].
        labels: [N] indices into the ten classes.
        lidar2global: [4, 4].

    Returns:
        N dictionaries; `size` is (width, length, height), `rotation` a quaternion (w, x, y, z).
    """
    centres, yaws, velocities = global_boxes(boxes, lidar2global)
    result = []
    for index in range(len(boxes)):
        name = CLASS_NAMES[int(labels[index])]
        length, width, height = (float(value) for value in boxes[index, 3:6])
        half = 0.5 * float(yaws[index])
        result.append(
            {
                "sample_token": token,
                "translation": centres[index].tolist(),
                "size": [width, length, height],
                "rotation": [float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],
                "velocity": velocities[index].tolist(),
                "detection_name": name,
                "detection_score": float(scores[index]),
                "attribute_name": attribute_name(name, float(np.hypot(*velocities[index]))),
            }
        )
    return result


def write_results(path: Path, results: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write a nuScenes result file, replacing it atomically.

    Args:
        path: Target file.
        results: Detections of every sample, by sample token.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps({"meta": META, "results": dict(results)}, allow_nan=False))
