"""Two real keyframes of one car as a nuScenes version of two scenes; never a part of the project."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from made_up_tables import CATEGORIES
from pyquaternion import Quaternion

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.geometry import pose_matrix

VERSION = "v1.0-frames"
TABLES = ("calibrated_sensor", "ego_pose", "instance", "sample", "sample_annotation")
TABLES += ("sample_data", "scene", "sensor")
CATEGORY_OF_CLASS = {name: category for category, name in reversed(NUSCENES.class_of.items())}


def first_frame(folder: Path) -> dict[str, Any]:
    """mmdet3d's demo frame: files, times, matrices and boxes [length, width, height] of its info file."""
    info = pickle.loads(next(folder.glob("*.pkl")).read_bytes())
    (sample,) = info["data_list"]
    names = {label: name for name, label in info["metainfo"]["categories"].items()}
    lidar2ego = _rigid(sample["lidar_points"]["lidar2ego"])
    lidar2global = _rigid(sample["ego2global"]) @ lidar2ego
    sensors = {
        "LIDAR_TOP": _sensor(
            folder / sample["lidar_points"]["lidar_path"],
            sample["timestamp"] * 1e6,
            lidar2ego,
            lidar2global,
        )
    }
    for name, camera in sample["images"].items():
        to_global = lidar2global @ np.linalg.inv(_rigid(camera["lidar2cam"]))
        sensors[name] = _sensor(
            folder / camera["img_path"],
            camera["timestamp"] * 1e6,
            _rigid(camera["cam2ego"]),
            to_global,
            np.array(camera["cam2img"])[:3, :3].tolist(),
        )
    boxes = [
        (
            names.get(item["bbox_label_3d"]),
            item["bbox_3d"],
            item["num_lidar_pts"],
            item["num_radar_pts"],
        )
        for item in sample["instances"]
    ]
    return {"token": sample["token"], "sensors": sensors, "boxes": boxes}


def second_frame(folder: Path) -> dict[str, Any]:
    """A deployment's sample, whose boxes are in the order of mmdet3d before 1.0."""
    sample = yaml.safe_load(next(folder.glob("*.yaml")).read_text())
    pose = pose_matrix(sample["ego2global_rotation"], sample["ego2global_translation"])
    lidar2ego = pose_matrix(sample["lidar2ego_rotation"], sample["lidar2ego_translation"])
    sensors = {
        "LIDAR_TOP": _sensor(folder / "0.bin", sample["timestamp"], lidar2ego, pose @ lidar2ego)
    }
    for name, camera in sample["cams"].items():
        place = pose_matrix(camera["sensor2ego_rotation"], camera["sensor2ego_translation"])
        pose = pose_matrix(camera["ego2global_rotation"], camera["ego2global_translation"])
        sensors[name] = _sensor(
            folder / "imgs" / f"{name}.jpg",
            camera["timestamp"],
            place,
            pose @ place,
            camera["cam_intrinsic"],
        )
    boxes = [
        (name, [*box[:3], box[4], box[3], box[5], -box[6] - np.pi / 2], lidar, radar)
        for name, box, lidar, radar in zip(
            *(sample[key] for key in ("gt_names", "gt_boxes", "num_lidar_pts", "num_radar_pts")),
            strict=True,
        )
    ]
    return {"token": sample["token"], "sensors": sensors, "boxes": boxes}


def _rigid(matrix: Any) -> np.ndarray:
    """A matrix that was stored as float32, with an exact rotation."""
    found = np.array(matrix, dtype=np.float64)
    left, _, right = np.linalg.svd(found[:3, :3])
    found[:3, :3] = left @ right
    return found


def _sensor(
    file: Path, time_us: float, to_ego: np.ndarray, to_global: np.ndarray, intrinsic: Any = ()
) -> dict[str, Any]:
    return {
        "file": file,
        "time": round(time_us),
        "to_ego": to_ego,
        "to_global": to_global,
        "intrinsic": list(intrinsic),
    }


def write_frames(root: Path, *frames: dict[str, Any]) -> None:
    """Copy the files and write the tables: each frame is a scene; `frames_val` has the last."""
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    named = {"category": CATEGORIES, "attribute": NUSCENES.attributes}
    for table, names in named.items():
        tables[table] = [{"token": f"t-{n}", "name": n, "description": ""} for n in names]
    tables["visibility"] = [{"token": "4", "level": "v80-100", "description": ""}]
    tables["map"] = [
        {"token": "map", "log_tokens": ["log"], "category": "x", "filename": "maps/map.png"}
    ]
    tables["log"] = [
        {
            "token": "log",
            "logfile": "n015",
            "vehicle": "n015",
            "date_captured": "2018-07-24",
            "location": "singapore-onenorth",
        }
    ]
    for name in ("LIDAR_TOP", *CAMERA_NAMES):
        kind = "lidar" if name == "LIDAR_TOP" else "camera"
        tables["sensor"].append({"token": name, "channel": name, "modality": kind})
    for number, frame in enumerate(frames):
        _add_frame(tables, root, number, frame)
    (root / "maps").mkdir()
    import cv2

    cv2.imwrite(str(root / "maps" / "map.png"), np.zeros((4, 4), np.uint8))
    (root / VERSION).mkdir()
    scenes = [row["name"] for row in tables["scene"]]
    splits = {"frames_train": scenes, "frames_val": scenes[-1:]}
    for name, rows in [*tables.items(), ("splits", splits)]:
        (root / VERSION / f"{name}.json").write_text(json.dumps(rows))


def _add_frame(
    tables: dict[str, list[dict[str, Any]]], root: Path, number: int, frame: dict[str, Any]
) -> None:
    token, lidar = frame["token"], frame["sensors"]["LIDAR_TOP"]
    tables["scene"].append(
        {
            "token": f"scene-{number}",
            "name": f"frame-{number}",
            "description": "a real frame",
            "log_token": "log",
            "nbr_samples": 1,
            "first_sample_token": token,
            "last_sample_token": token,
        }
    )
    tables["sample"].append(
        {
            "token": token,
            "timestamp": lidar["time"],
            "scene_token": f"scene-{number}",
            "prev": "",
            "next": "",
        }
    )
    for name, sensor in frame["sensors"].items():
        mine = f"{number}-{name}"
        suffix = ".pcd.bin" if name == "LIDAR_TOP" else ".jpg"
        path = f"samples/{name}/n015-{number}__{name}__{sensor['time']}{suffix}"
        (root / "samples" / name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sensor["file"], root / path)
        pose = sensor["to_global"] @ np.linalg.inv(sensor["to_ego"])
        places = {"calibrated_sensor": sensor["to_ego"], "ego_pose": pose}
        for table, matrix in places.items():
            tables[table].append({"token": mine, **_placed(matrix)})
        tables["calibrated_sensor"][-1] |= {
            "sensor_token": name,
            "camera_intrinsic": sensor["intrinsic"],
        }
        tables["ego_pose"][-1]["timestamp"] = sensor["time"]
        tables["sample_data"].append(
            {
                "token": mine,
                "sample_token": token,
                "ego_pose_token": mine,
                "calibrated_sensor_token": mine,
                "timestamp": sensor["time"],
                "fileformat": "pcd" if name == "LIDAR_TOP" else "jpg",
                "is_key_frame": True,
                "height": 0 if name == "LIDAR_TOP" else 900,
                "width": 0 if name == "LIDAR_TOP" else 1600,
                "filename": path,
                "prev": "",
                "next": "",
            }
        )
    for place, (name, box, points, echoes) in enumerate(frame["boxes"]):
        matrix = np.eye(4)
        turn = Quaternion(axis=[0, 0, 1], radians=box[6])
        matrix[:3, :3], matrix[:3, 3] = turn.rotation_matrix, box[:3]
        mine = f"{number}-{place}"
        category = CATEGORY_OF_CLASS.get(name, "animal")
        tables["instance"].append(
            {
                "token": mine,
                "category_token": f"t-{category}",
                "nbr_annotations": 1,
                "first_annotation_token": mine,
                "last_annotation_token": mine,
            }
        )
        tables["sample_annotation"].append(
            {
                "token": mine,
                "sample_token": token,
                "instance_token": mine,
                "visibility_token": "4",
                "attribute_tokens": [],
                "size": [box[4], box[3], box[5]],
                **_placed(lidar["to_global"] @ matrix),
                "prev": "",
                "next": "",
                "num_lidar_pts": int(points),
                "num_radar_pts": int(echoes),
            }
        )


def _placed(matrix: np.ndarray) -> dict[str, list[float]]:
    turn = Quaternion(matrix=matrix[:3, :3], rtol=1e-4, atol=1e-6)
    return {"translation": matrix[:3, 3].tolist(), "rotation": turn.normalised.elements.tolist()}
