"""The unmodified nuScenes devkit opens, renders and evaluates the synthetic data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES, CLASS_NAMES

VAL = "synth_val"


@pytest.fixture(autouse=True)
def headless(monkeypatch: pytest.MonkeyPatch) -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *_, **__: None)
    yield
    plt.close("all")


def test_splits_are_custom_splits(nusc: Any) -> None:
    from nuscenes.utils.splits import get_scenes_of_split

    assert get_scenes_of_split("synth_train", nusc) == ["scene-0001", "scene-0002"]
    assert get_scenes_of_split(VAL, nusc) == ["scene-0003"]


@pytest.mark.parametrize("channel", ["LIDAR_TOP", "CAM_FRONT", "CAM_BACK_LEFT"])
def test_it_renders_sample_data(nusc: Any, channel: str, tmp_path: Path) -> None:
    nusc.render_sample_data(
        nusc.sample[1]["data"][channel], out_path=str(tmp_path / "out.png"), verbose=False
    )
    assert (tmp_path / "out.png").stat().st_size > 5000


def test_it_renders_points_in_the_image_boxes_and_merged_sweeps(nusc: Any, tmp_path: Path) -> None:
    sample = nusc.sample[1]
    nusc.render_pointcloud_in_image(
        sample["token"], camera_channel="CAM_FRONT", out_path=str(tmp_path / "points.png")
    )
    nusc.render_annotation(sample["anns"][0], out_path=str(tmp_path / "box.png"))
    nusc.render_sample_data(
        sample["data"]["LIDAR_TOP"], nsweeps=3, out_path=str(tmp_path / "sweeps.png"), verbose=False
    )
    for name in ("points", "box", "sweeps"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def submission(nusc: Any, scenes: set[str]) -> dict[str, Any]:
    """The ground truth as a detector would submit it."""
    from nuscenes.eval.detection.utils import category_to_detection_name

    attributes = {row["token"]: row["name"] for row in nusc.attribute}
    results: dict[str, list[dict[str, Any]]] = {}
    for sample in nusc.sample:
        if nusc.get("scene", sample["scene_token"])["name"] not in scenes:
            continue
        boxes = results.setdefault(sample["token"], [])
        for token in sample["anns"]:
            row = nusc.get("sample_annotation", token)
            names = [attributes[each] for each in row["attribute_tokens"]]
            boxes.append(
                {
                    "sample_token": sample["token"],
                    "translation": row["translation"],
                    "size": row["size"],
                    "rotation": row["rotation"],
                    "velocity": np.nan_to_num(nusc.box_velocity(token)[:2]).tolist(),
                    "detection_name": category_to_detection_name(row["category_name"]),
                    "detection_score": 0.9,
                    "attribute_name": names[0] if names else "",
                }
            )
    meta = {
        f"use_{name}": name in {"camera", "lidar"}
        for name in ["camera", "lidar", "radar", "map", "external"]
    }
    return {"meta": meta, "results": results}


def test_ground_truth_as_predictions_scores_one(
    nusc: Any, synth_root: Path, tmp_path: Path
) -> None:
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    path = tmp_path / "result.json"
    path.write_text(json.dumps(submission(nusc, {"scene-0003"})))
    evaluation = DetectionEval(
        nusc,
        config_factory("detection_cvpr_2019"),
        str(path),
        VAL,
        output_dir=str(tmp_path / "out"),
        verbose=False,
    )
    metrics, _ = evaluation.evaluate()
    counted = {box.detection_name for box in evaluation.gt_boxes.all}
    assert counted == set(CLASS_NAMES)
    assert metrics.mean_ap == pytest.approx(1.0)
    assert metrics.nd_score == pytest.approx(1.0, abs=1e-6)


def test_boxes_and_pixels_and_points_agree(nusc: Any) -> None:
    """A visible object's points, moved by the devkit, fall on its projected box in the image."""
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box, view_points

    compared = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        cloud = LidarPointCloud.from_file(path)
        matrices = {
            name: nusc.get(
                "calibrated_sensor",
                nusc.get("sample_data", sample["data"][name])["calibrated_sensor_token"],
            )
            for name in CAMERA_NAMES
        }
        for box in boxes:
            inside = cloud.points[:3, points_in_box(box, cloud.points[:3])]
            if inside.shape[1] < 5:
                continue
            for name in CAMERA_NAMES:
                _, in_camera, _ = nusc.get_sample_data(
                    sample["data"][name], selected_anntokens=[box.token]
                )
                if not in_camera or in_camera[0].corners()[2].min() < 1.0:
                    continue
                intrinsic = np.array(matrices[name]["camera_intrinsic"])
                corners = view_points(in_camera[0].corners(), intrinsic, normalize=True)[:2]
                points = _to_camera(nusc, sample, name, inside)
                pixels = view_points(points, intrinsic, normalize=True)[:2]
                assert (pixels >= corners.min(axis=1, keepdims=True) - 1).all()
                assert (pixels <= corners.max(axis=1, keepdims=True) + 1).all()
                compared += 1
    assert compared > 50


def _to_camera(nusc: Any, sample: Any, camera: str, points: np.ndarray) -> np.ndarray:
    """LiDAR points [3, P] to a camera's frame, by the tables' rotations alone."""
    from pyquaternion import Quaternion

    chain = []
    for channel in ("LIDAR_TOP", camera):
        row = nusc.get("sample_data", sample["data"][channel])
        chain.append(nusc.get("calibrated_sensor", row["calibrated_sensor_token"]))
        chain.append(nusc.get("ego_pose", row["ego_pose_token"]))
    for record in chain[:2]:
        turn = Quaternion(record["rotation"]).rotation_matrix
        points = turn @ points + np.array(record["translation"])[:, None]
    for record in chain[:1:-1]:
        turn = Quaternion(record["rotation"]).rotation_matrix
        points = turn.T @ (points - np.array(record["translation"])[:, None])
    return points
