"""Small nuScenes versions made up from a few rows, which the devkit loads like any other."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.schema.description import NUSCENES

CATEGORIES = (*NUSCENES.class_of, NUSCENES.racks, "animal")
KEYFRAME_US = 500_000


@dataclass(kw_only=True)
class MadeUpBox:
    """A row of `sample_annotation`; boxes of one track are linked in the order of their samples."""

    sample: int
    category: str
    centre: Sequence[float]
    size: Sequence[float] = (2.0, 4.0, 1.5)
    yaw: float = 0.0
    attribute: str = ""
    points: int = 5
    track: str = ""
    rotation: Sequence[float] | None = None


@dataclass(kw_only=True)
class MadeUpScene:
    """A scene and where the vehicle is at each of its keyframes."""

    name: str
    description: str
    ego: list[Sequence[float]] = field(default_factory=list)


def sample_token(index: int) -> str:
    return f"sample{index:026d}"


def quaternion(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def write_version(
    root: Path,
    version: str,
    scenes: Sequence[MadeUpScene],
    boxes: Sequence[MadeUpBox],
    splits: dict[str, list[str]] | None = None,
) -> None:
    """Write all tables of a version."""
    (root / "maps").mkdir(parents=True, exist_ok=True)
    (root / "maps" / "map.png").touch()
    tables = {**_fixed_tables(), **_scene_tables(scenes), **_box_tables(boxes)}
    (root / version).mkdir(exist_ok=True)
    if splits is not None:
        tables["splits"] = splits
    for name, rows in tables.items():
        (root / version / f"{name}.json").write_text(json.dumps(rows))


def _named(names: Sequence[str]) -> list[dict[str, str]]:
    return [{"token": f"t-{name}", "name": name, "description": ""} for name in names]


def _fixed_tables() -> dict[str, Any]:
    return {
        "category": _named(CATEGORIES),
        "attribute": _named(NUSCENES.attributes),
        "visibility": [],
        "sensor": [
            {"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"},
            {"token": "radar", "channel": "RADAR_FRONT", "modality": "radar"},
        ],
        "calibrated_sensor": [
            {"token": f"{name}-place", "sensor_token": name, "camera_intrinsic": []}
            for name in ("lidar", "radar")
        ],
        "log": [{"token": "log", "logfile": "made up", "map_token": ""}],
        "map": [{"token": "map", "log_tokens": ["log"], "filename": "maps/map.png"}],
    }


def _scene_tables(scenes: Sequence[MadeUpScene]) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    data: list[dict[str, Any]] = []
    poses: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes):
        rows.append(
            {
                "token": f"scene{number}",
                "name": scene.name,
                "description": scene.description,
                "log_token": "log",
            }
        )
        for ego in scene.ego:
            token = sample_token(len(samples))
            # Scenes are a minute apart: no velocity can be taken across them.
            time_us = number * 60_000_000 + len(samples) * KEYFRAME_US
            samples.append({"token": token, "scene_token": f"scene{number}", "timestamp": time_us})
            for sensor, key, shift in (("lidar", True, 0), ("radar", True, 3), ("lidar", False, 7)):
                name = f"{token}-{sensor}-{key}"
                place = [ego[0] + shift, ego[1], 0.0]
                poses.append({"token": name, "translation": place, "rotation": [1, 0, 0, 0]})
                data.append(
                    {
                        "token": name,
                        "sample_token": token,
                        "ego_pose_token": name,
                        "calibrated_sensor_token": f"{sensor}-place",
                        "is_key_frame": key,
                    }
                )
    return {"scene": rows, "sample": samples, "sample_data": data, "ego_pose": poses}


def _box_tables(boxes: Sequence[MadeUpBox]) -> dict[str, Any]:
    tracks: dict[str, list[int]] = {}
    rows = []
    for index, box in enumerate(boxes):
        name = box.track or f"alone{index}"
        tracks.setdefault(name, []).append(index)
        rows.append(
            {
                "token": f"box{index}",
                "sample_token": sample_token(box.sample),
                "instance_token": name,
                "visibility_token": "",
                "attribute_tokens": [f"t-{box.attribute}"] if box.attribute else [],
                "translation": [float(value) for value in box.centre],
                "size": [float(value) for value in box.size],
                "rotation": list(box.rotation) if box.rotation else quaternion(box.yaw),
                "prev": "",
                "next": "",
                "num_lidar_pts": box.points // 2,
                "num_radar_pts": box.points - box.points // 2,
            }
        )
    for members in tracks.values():
        members.sort(key=lambda index: boxes[index].sample)
        for first, second in pairwise(members):
            rows[first]["next"] = rows[second]["token"]
            rows[second]["prev"] = rows[first]["token"]
    instances = [
        {"token": name, "category_token": f"t-{boxes[members[0]].category}"}
        for name, members in tracks.items()
    ]
    return {"sample_annotation": rows, "instance": instances}
