"""nuScenes tables to info files in mmdet3d's v2 format.

Written against the devkit's `NuScenes` object, for real and synthetic data alike. Frames: boxes and
velocities are in the LiDAR frame of their keyframe (metres, radians, m/s), the box's place is its middle;
matrices `a2b` move homogeneous points of frame a to frame b.
"""

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from pyquaternion import Quaternion

from aqr_exp.config.description import read_description
from aqr_exp.config.inputs import info_folder, info_path
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.data.geometry import pose_matrix
from aqr_exp.data.info_files import (
    INFO_VERSION,
    MAX_SWEEPS,
    WHOLE,
    Part,
    fresh_parts,
    remove,
    table_stamp,
    write_fingerprint,
)
from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import replace_bytes, replace_text
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import read_content

FILE_CLASSES: tuple[str, ...] = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
"""Label order inside nuScenes' files: mmdet3d's own, which its stock data set takes for granted. It is not
that of the labels; readers map by name (`metainfo["categories"]`)."""


def file_classes(description: DataDescription) -> tuple[str, ...]:
    """The classes in the order of the labels inside info files."""
    return FILE_CLASSES if description == NUSCENES else description.names


def description_of(nusc: Any) -> DataDescription:
    """The description of the data that the devkit's object holds."""
    return read_description(Path(nusc.dataroot)) or NUSCENES


FOREIGN = "foreign_instances"
"""Key of the metadata of an info file whose instances are not the tables' own."""


class _Recording:
    """One sensor's recording: its file, time and matrices.

    Attributes:
        row: The row of `sample_data`.
        sensor2ego: [4, 4].
        ego2global: [4, 4].
        intrinsic: [3][3] camera matrix, empty for others.
    """

    def __init__(self, nusc: Any, token: str) -> None:
        self.row: dict[str, Any] = nusc.get("sample_data", token)
        calibration = nusc.get("calibrated_sensor", self.row["calibrated_sensor_token"])
        self.sensor2ego = pose_matrix(calibration["rotation"], calibration["translation"])
        pose = nusc.get("ego_pose", self.row["ego_pose_token"])
        self.ego2global = pose_matrix(pose["rotation"], pose["translation"])
        self.intrinsic = calibration["camera_intrinsic"]

    @property
    def sensor2global(self) -> np.ndarray:
        """[4, 4]."""
        return self.ego2global @ self.sensor2ego

    @property
    def timestamp_s(self) -> float:
        """Seconds."""
        return float(self.row["timestamp"]) / 1e6

    def from_sensor(self, other: "_Recording") -> np.ndarray:
        """[4, 4], the other recording's sensor frame to this one's, through the global frame."""
        return np.linalg.inv(self.sensor2global) @ other.sensor2global


def _image_info(camera: _Recording, lidar: _Recording) -> dict[str, Any]:
    return {
        "img_path": Path(camera.row["filename"]).name,
        "cam2img": np.asarray(camera.intrinsic, dtype=np.float64).tolist(),
        "cam2ego": camera.sensor2ego.tolist(),
        "lidar2cam": camera.from_sensor(lidar).tolist(),
        "ego2global": camera.ego2global.tolist(),
        "sample_data_token": camera.row["token"],
        "timestamp": camera.timestamp_s,
        "height": camera.row["height"],
        "width": camera.row["width"],
    }


def _sweep_infos(nusc: Any, lidar: _Recording) -> list[dict[str, Any]]:
    """The LiDAR's earlier recordings, newest first; mmdet3d finds their folder by the path."""
    sweeps: list[dict[str, Any]] = []
    before = lidar.row["prev"]
    while before and len(sweeps) < MAX_SWEEPS:
        sweep = _Recording(nusc, before)
        sweeps.append(
            {
                "timestamp": sweep.timestamp_s,
                "sample_data_token": sweep.row["token"],
                "ego2global": sweep.ego2global.tolist(),
                "lidar_points": {
                    "lidar_path": sweep.row["filename"],
                    "lidar2ego": sweep.sensor2ego.tolist(),
                    "lidar2sensor": sweep.from_sensor(lidar).tolist(),
                },
            }
        )
        before = sweep.row["prev"]
    return sweeps


def _instance_info(
    nusc: Any,
    token: str,
    global2lidar: np.ndarray,
    attributes: dict[str, int],
    description: DataDescription,
) -> dict[str, Any]:
    row = nusc.get("sample_annotation", token)
    turn = global2lidar[:3, :3]
    centre = turn @ np.asarray(row["translation"]) + global2lidar[:3, 3]
    ahead = turn @ Quaternion(row["rotation"]).rotation_matrix[:, 0]
    width, length, height = row["size"]
    sizes = [float(length), float(width), float(height)]
    # The devkit leaves the vertical velocity as noisy as the annotations: it must not leak in.
    velocity = nusc.box_velocity(token) * (1.0, 1.0, 0.0)
    name = description.class_of.get(row["category_name"])
    label = file_classes(description).index(name) if name else -1
    points, radar = int(row["num_lidar_pts"]), int(row["num_radar_pts"])
    kinds = row["attribute_tokens"]
    return {
        "bbox_label": label,
        "bbox_3d": [*centre.tolist(), *sizes, float(np.arctan2(ahead[1], ahead[0]))],
        "bbox_3d_isvalid": points + radar > 0,
        "bbox_label_3d": label,
        "num_lidar_pts": points,
        "num_radar_pts": radar,
        "velocity": (turn @ velocity)[:2].tolist(),
        "attr_label": attributes[kinds[0]] if kinds else len(attributes),
        "token": token,
        "visibility": int(row["visibility_token"] or 0),
    }


def sample_info(nusc: Any, sample: dict[str, Any], index: int) -> dict[str, Any]:
    """Entry of one keyframe (a row of `sample`) in a data list, at place `index`."""
    description = description_of(nusc)
    lidar = _Recording(nusc, sample["data"][description.lidar])
    scene = nusc.get("scene", sample["scene_token"])
    global2lidar = np.linalg.inv(lidar.sensor2global)
    attributes = {row["token"]: label for label, row in enumerate(nusc.attribute)}
    return {
        "sample_idx": index,
        "token": sample["token"],
        "timestamp": float(sample["timestamp"]) / 1e6,
        "ego2global": lidar.ego2global.tolist(),
        "images": {
            name: _image_info(_Recording(nusc, sample["data"][name]), lidar)
            for name in description.cameras
        },
        "lidar_points": {
            "num_pts_feats": 5,
            "lidar_path": Path(lidar.row["filename"]).name,
            "lidar2ego": lidar.sensor2ego.tolist(),
            "sample_data_token": lidar.row["token"],
        },
        "lidar_sweeps": _sweep_infos(nusc, lidar),
        "instances": [
            _instance_info(nusc, token, global2lidar, attributes, description)
            for token in sample["anns"]
        ],
        "scene_token": scene["token"],
        "scene_name": scene["name"],
        "scene_description": scene["description"],
    }


def open_tables(root: Path, version: str, part: Part = WHOLE) -> Any:
    """The devkit's `NuScenes` of a part of a version."""
    from nuscenes import NuScenes

    nusc = NuScenes(version=version, dataroot=str(root), verbose=False)
    nusc.scene = [row for row in nusc.scene if part.has(row["name"])]
    nusc._token2ind["scene"] = {  # noqa: SLF001 - `get` looks there
        row["token"]: index for index, row in enumerate(nusc.scene)
    }
    if part.keyframes_only:
        for row in nusc.sample_data:
            row["prev"] = ""
    return nusc


def split_scenes(nusc: Any, split: str) -> list[dict[str, Any]]:
    """Rows of a split's scenes in the table's order; ValueError where the devkit knows no such split."""
    from nuscenes.utils.splits import get_scenes_of_split

    names = set(get_scenes_of_split(split, nusc))
    return [row for row in nusc.scene if row["name"] in names]


def scene_samples(nusc: Any, scene: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of a scene's keyframes in time order."""
    samples: list[dict[str, Any]] = []
    token = scene["first_sample_token"]
    while token:
        samples.append(nusc.get("sample", token))
        token = samples[-1]["next"]
    return samples


def split_tokens(nusc: Any, split: str) -> list[str]:
    """Tokens of a split's samples, in the order of its info file."""
    scenes = split_scenes(nusc, split)
    return [row["token"] for scene in scenes for row in scene_samples(nusc, scene)]


def build_metainfo(nusc: Any) -> dict[str, Any]:
    """Metadata of an info file: label order, attributes, version."""
    return {
        "categories": {
            name: label for label, name in enumerate(file_classes(description_of(nusc)))
        },
        "attributes": [*(row["name"] for row in nusc.attribute), "none"],
        "dataset": "nuscenes",
        "version": nusc.version,
        "info_version": INFO_VERSION,
    }


def write_infos(
    root: Path,
    version: str,
    splits: list[str],
    *,
    part: Part = WHOLE,
    names: set[str] | None = None,
    nusc: Any = None,
    annotations: Mapping[str, list[dict[str, Any]]] | None = None,
    progress: Progress = no_progress,
) -> dict[str, int]:
    """Write `<root>/aqr_infos/<split>.pkl` and `fingerprint.json`; return samples by split.

    Killed at any moment, it continues with the next scene when called again; the files have the same
    bytes. `splits` are predefined ones or those of the version's `splits.json`; `nusc` is the devkit's
    `NuScenes` of the part, if it is already open. A split whose every sample has `annotations` gets
    them as its instances, and `foreign_instances` in its metadata.

    Raises:
        ValueError: The devkit knows no such split.
    """
    nusc = nusc or open_tables(root, version, part)
    rows = {split: split_scenes(nusc, split) for split in splits}
    folder = info_folder(root)
    parts = folder / f".parts-{quote(version, safe='')}"
    fresh_parts(parts, {**table_stamp(root, version), "keyframes_only": part.keyframes_only})
    total = sum(map(len, rows.values()))
    done, samples = 0, dict.fromkeys(splits, 0)
    for split in splits:
        data_list: list[dict[str, Any]] = []
        for scene in rows[split]:
            data_list += _scene_part(nusc, scene, parts)
            done += 1
            progress(done, total)
        for index, info in enumerate(data_list):
            info["sample_idx"] = index
        samples[split] = len(data_list)
        metainfo = build_metainfo(nusc)
        if annotations and all(info["token"] in annotations for info in data_list):
            metainfo[FOREIGN] = True
            data_list = [{**info, "instances": annotations[info["token"]]} for info in data_list]
        content = {"metainfo": metainfo, "data_list": data_list}
        # A fixed protocol: the same bytes from every Python that is supported.
        replace_bytes(info_path(root, split), pickle.dumps(content, protocol=4))
    names = names or {row["filename"] for row in nusc.sample_data}
    write_fingerprint(root, version, samples, names, part)
    remove(parts)
    return samples


def _scene_part(nusc: Any, scene: dict[str, Any], parts: Path) -> list[dict[str, Any]]:
    """The infos of one scene: from its part, which is written first where there is none."""
    path = parts / f"{quote(scene['name'], safe='')}.json"
    try:
        found = json.loads(read_content(path))
    except (AqrExpError, ValueError, RecursionError):
        rows = scene_samples(nusc, scene)
        infos = [sample_info(nusc, sample, index) for index, sample in enumerate(rows)]
        text = json.dumps(infos)
        replace_text(path, text)
        # Read back, so that a part of an earlier attempt gives the same bytes as a fresh one.
        found = json.loads(text)
    known: dict[str, str] = {}
    return list(_shared(found, known))


def _shared(value: Any, known: dict[str, str]) -> Any:
    """The same value with one object for each text, so that pickle always stores it once."""
    if isinstance(value, str):
        return known.setdefault(value, value)
    if isinstance(value, list):
        return [_shared(item, known) for item in value]
    if isinstance(value, dict):
        return {sys.intern(key): _shared(item, known) for key, item in value.items()}
    return value
