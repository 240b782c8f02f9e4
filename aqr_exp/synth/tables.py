"""The maps: where one can drive and walk, as nuScenes' semantic prior masks."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aqr_exp.synth.annotations import vocabulary_tables
from aqr_exp.synth.plan import CELL_M, ScenePlan, location_name, log_name
from aqr_exp.synth.rig import build_rig
from aqr_exp.synth.road import AHEAD_M, BEHIND_M, PAVEMENT_END_D_M
from aqr_exp.synth.scene_files import Rows, calibration_token
from aqr_exp.synth.settings import TRAIN_SPLIT, VAL_SPLIT, VERSION, SynthSettings, token

RESOLUTION_M = 0.1
"""Metres a pixel; the devkit's default."""


def map_file(log: int) -> str:
    """Path of a log's map below the root."""
    return f"maps/{location_name(log)}.png"


def paint_map(plans: list[ScenePlan]) -> np.ndarray:
    """The map of one log: 255 where there is road or pavement, 0 elsewhere.

    Args:
        plans: The scenes of the log.

    Returns:
        [H, W] uint8; the last row is global y = 0, as the devkit reads masks. A line of text in the
        upper left corner says that the place does not exist.
    """
    side = round(3 * CELL_M / RESOLUTION_M)
    picture = np.zeros((side, side), dtype=np.uint8)
    for plan in plans:
        s = np.arange(-BEHIND_M, AHEAD_M + 1.0, 2.0)
        right = np.stack(plan.road.to_global(s, np.full_like(s, -PAVEMENT_END_D_M)), axis=-1)
        left = np.stack(plan.road.to_global(s, np.full_like(s, PAVEMENT_END_D_M)), axis=-1)
        for index in range(len(s) - 1):
            quad = np.stack([right[index], right[index + 1], left[index + 1], left[index]])
            pixels = (
                np.stack([quad[:, 0], side * RESOLUTION_M - quad[:, 1]], axis=-1) / RESOLUTION_M
            )
            cv2.fillConvexPoly(picture, np.round(pixels).astype(np.int32), 255)
    cv2.putText(picture, "SYNTHETIC", (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 4.0, 255, 8)
    return picture


def write_map(root: Path, plans: list[ScenePlan]) -> None:
    """Paint and store the map of one log.

    Args:
        root: The data set's folder; `maps/` exists.
        plans: The scenes of the log.

    Raises:
        OSError: Encoding failed.
    """
    done, data = cv2.imencode(".png", paint_map(plans), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OSError(f"{map_file(plans[0].log)}: the map cannot be encoded as PNG")
    (root / map_file(plans[0].log)).write_bytes(data.tobytes())


SCENE_TABLES: tuple[str, ...] = (
    "scene",
    "sample",
    "sample_data",
    "ego_pose",
    "instance",
    "sample_annotation",
)
"""Tables whose rows come from the scenes."""


def _sensor_rows(channels: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "token": token("sensor", channel),
            "channel": channel,
            "modality": "camera" if channel.startswith("CAM") else "lidar",
        }
        for channel in channels
    ]


def _calibration_rows(settings: SynthSettings, log: int) -> list[dict[str, Any]]:
    return [
        {
            "token": calibration_token(settings, log, mount.name),
            "sensor_token": token("sensor", mount.name),
            "translation": list(mount.place_m),
            "rotation": mount.rotation.elements.tolist(),
            "camera_intrinsic": [] if mount.intrinsic is None else mount.intrinsic.tolist(),
        }
        for mount in build_rig(settings, log).values()
    ]


def build_tables(settings: SynthSettings, plans: list[ScenePlan], scenes: list[Rows]) -> Rows:
    """All 13 tables.

    Args:
        settings: The data set.
        plans: Its scenes.
        scenes: What each scene returned, in the same order.
    """
    tables: Rows = {name: [row for rows in scenes for row in rows[name]] for name in SCENE_TABLES}
    tables.update(vocabulary_tables())
    logs = sorted({plan.log for plan in plans})
    tables["sensor"] = _sensor_rows(list(build_rig(settings, 0)))
    tables["calibrated_sensor"] = [row for log in logs for row in _calibration_rows(settings, log)]
    tables["log"] = [
        {
            "token": token("log", settings.seed, log),
            "logfile": log_name(log),
            "vehicle": f"synthetic-{log + 1:03d}",
            "date_captured": "2025-01-01",
            "location": location_name(log),
        }
        for log in logs
    ]
    tables["map"] = [
        {
            "token": token("map", settings.seed, log),
            "log_tokens": [token("log", settings.seed, log)],
            "category": "semantic_prior",
            "filename": map_file(log),
        }
        for log in logs
    ]
    return tables


def write_tables(root: Path, tables: Rows, plans: list[ScenePlan]) -> None:
    """Store the tables and `splits.json` in the version's folder.

    Args:
        root: The data set's folder; `<version>/` exists.
        tables: From `build_tables`.
        plans: The scenes, which know their splits.
    """
    folder = root / VERSION
    for name, rows in tables.items():
        # One row a line keeps the files readable without the bulk of indentation.
        lines = ",\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    splits = {
        split: [plan.name for plan in plans if plan.split == split]
        for split in (TRAIN_SPLIT, VAL_SPLIT)
    }
    (folder / "splits.json").write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
