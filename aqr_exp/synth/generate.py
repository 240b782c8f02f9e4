"""Generate a data set: scenes in parallel, then tables and maps, moved into place in one step."""

import contextlib
import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from aqr_exp.config.data_files import DESCRIPTION
from aqr_exp.config.identity import canonical
from aqr_exp.config.inputs import identity_path
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.infos import write_infos
from aqr_exp.data.workers import run_in_workers
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import clear_litter, draft_of, writes
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import read_json
from aqr_exp.synth.annotations import vocabulary_tables
from aqr_exp.synth.plan import CELL_M, ScenePlan, location_name, log_name, plan_scenes
from aqr_exp.synth.rig import build_rig
from aqr_exp.synth.road import AHEAD_M, BEHIND_M, PAVEMENT_END_D_M
from aqr_exp.synth.scene_files import Rows, calibration_token, generate_scene
from aqr_exp.synth.sets import SETS
from aqr_exp.synth.settings import TRAIN_SPLIT, VAL_SPLIT, VERSION, SynthSettings, token

RESOLUTION_M = 0.1
"""Metres a pixel; the devkit's default."""


def map_file(log: int) -> str:
    """Path of a log's map below the root."""
    return f"maps/{location_name(log)}.png"


def paint_map(plans: list[ScenePlan]) -> np.ndarray:
    """Map of the scenes of one log: 255 on road and pavement, 0 elsewhere.

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

    Raises:
        OSError: Encoding failed.
    """
    done, data = cv2.imencode(".png", paint_map(plans), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise OSError(f"{map_file(plans[0].log)}: the map cannot be encoded as PNG")
    (root / map_file(plans[0].log)).write_bytes(data.tobytes())


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
    """All 13 tables, from the plans and the rows of each scene in the same order."""
    chosen = SETS[settings.set]
    tables: Rows = vocabulary_tables(chosen)
    for scene in scenes:
        for name, rows in scene.items():
            tables.setdefault(name, []).extend(rows)
    logs = sorted({plan.log for plan in plans})
    tables["sensor"] = [
        {
            "token": token("sensor", channel),
            "channel": channel,
            "modality": "lidar" if channel == chosen.described.lidar else "camera",
        }
        for channel in chosen.described.sensors
    ]
    tables["calibrated_sensor"] = [row for log in logs for row in _calibration_rows(settings, log)]
    tables["log"] = [
        {
            "token": token("log", settings.origin, log),
            "logfile": log_name(log),
            "vehicle": f"synthetic-{log + 1:03d}",
            "date_captured": "2025-01-01",
            "location": location_name(log),
        }
        for log in logs
    ]
    tables["map"] = [
        {
            "token": token("map", settings.origin, log),
            "log_tokens": [token("log", settings.origin, log)],
            "category": "semantic_prior",
            "filename": map_file(log),
        }
        for log in logs
    ]
    return tables


def write_tables(root: Path, tables: Rows, plans: list[ScenePlan]) -> None:
    """Store the tables and `splits.json` in the version's folder."""
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


SETTINGS_FILE = "synth_settings.json"

_README = """\
SYNTHETIC data in the nuScenes format: nothing in this folder was recorded by a vehicle.

Generated by `aqr-exp data synth` from the settings in synth_settings.json. The scenes, sensors and
annotations are simulated; results on them say nothing about real traffic and are not comparable with
published nuScenes results. The version is v1.0-synth; its splits are synth_train and synth_val
(v1.0-synth/splits.json). Open it with the nuScenes devkit:

    NuScenes(version="v1.0-synth", dataroot="this folder")
"""


def stored_settings(root: Path) -> dict[str, object] | None:
    """Settings of a generated folder; None without a complete synthetic data set."""
    with contextlib.suppress(AqrExpError):
        if identity_path(root).is_file():
            return read_json(root / SETTINGS_FILE)
    return None


def is_generated(root: Path, settings: SynthSettings) -> bool:
    """True if `root` holds the complete data set of exactly these settings."""
    return stored_settings(root) == settings.as_dict()


def _generate_scenes(
    root: Path, settings: SynthSettings, plans: list[ScenePlan], workers: int, progress: Progress
) -> list[Rows]:
    """All scenes and maps, in worker processes."""
    logs = itertools.groupby(plans, lambda plan: plan.log)
    done = itertools.count(1)

    def finished(index: int) -> None:
        if index < len(plans):
            progress(next(done), len(plans))

    calls: list[Callable[[], Any]] = [
        *(partial(generate_scene, root, settings, plan) for plan in plans),
        *(partial(write_map, root, list(group)) for _, group in logs),
    ]
    return run_in_workers(calls, workers, finished)[: len(plans)]


def _fill(root: Path, settings: SynthSettings, workers: int, progress: Progress) -> None:
    """Write a complete data set into an empty folder."""
    description = SETS[settings.set].described
    samples = (f"samples/{channel}" for channel in description.sensors)
    for name in (*samples, f"sweeps/{description.lidar}", "maps", VERSION):
        (root / name).mkdir(parents=True)
    plans = plan_scenes(settings)
    scenes = _generate_scenes(root, settings, plans, workers, progress)
    write_tables(root, build_tables(settings, plans, scenes), plans)
    (root / "README.txt").write_text(_README, encoding="utf-8")
    text = json.dumps(settings.as_dict(), indent=1) + "\n"
    (root / SETTINGS_FILE).write_text(text, encoding="utf-8")
    if description != NUSCENES:
        described = yaml.safe_dump(canonical(description), sort_keys=False)
        (root / DESCRIPTION).write_text(described, encoding="utf-8")
    write_infos(root, VERSION, [TRAIN_SPLIT, VAL_SPLIT])


def generate_dataset(
    root: Path, settings: SynthSettings, *, workers: int, progress: Progress = no_progress
) -> None:
    """Generate a synthetic data set; killed at any moment, it leaves nothing half-done at `root`.

    The content depends on `settings` alone, not on the number of worker processes. A synthetic data set
    at `root` is replaced.

    Raises:
        FileExistsError: `root` holds something that is no synthetic data set.
        ValueError: `workers` is less than 1.
        OSError: Writing failed; `root` is as it was.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} (allowed: 1 or more)")
    # A link to another disk stays a link: the data are put together where they will lie.
    root = root.resolve()
    if root.exists() and any(root.iterdir()) and stored_settings(root) is None:
        raise FileExistsError(f"{root} exists and is no synthetic data set: it is left alone")
    root.parent.mkdir(parents=True, exist_ok=True)
    clear_litter(root.parent)
    fresh, old = draft_of(root), draft_of(root)
    fresh.mkdir()
    try:
        with writes(root):
            _fill(fresh, settings, workers, progress)
        if root.exists():
            root.rename(old)
        fresh.rename(root)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
