"""The 13 nuScenes tables and the splits, from what the scenes returned."""

import json
from pathlib import Path
from typing import Any

from aqr_exp.data.synth.maps import map_file
from aqr_exp.data.synth.plan import ScenePlan, location_name, log_name
from aqr_exp.data.synth.rig import build_rig
from aqr_exp.data.synth.scene_files import Rows, calibration_token
from aqr_exp.data.synth.settings import TRAIN_SPLIT, VAL_SPLIT, VERSION, SynthSettings
from aqr_exp.data.synth.tokens import token
from aqr_exp.data.synth.vocabulary import vocabulary_tables

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
