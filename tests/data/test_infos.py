import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES, CLASS_NAMES
from aqr_exp.data.info_files import MAX_SWEEPS
from aqr_exp.data.infos import sample_info, write_infos


@pytest.fixture(scope="module")
def infos(synth_root: Path) -> dict[str, Any]:
    content: dict[str, Any] = pickle.loads(
        (synth_root / "aqr_infos" / "synth_train.pkl").read_bytes()
    )
    return content


def stock_dataset(root: Path, **changes: Any) -> Any:
    from mmdet3d.datasets import NuScenesDataset

    prefixes = {name: f"samples/{name}" for name in CAMERA_NAMES}
    return NuScenesDataset(
        data_root=str(root),
        ann_file="aqr_infos/synth_train.pkl",
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP", **prefixes},
        metainfo={"classes": CLASS_NAMES},
        modality={"use_lidar": True, "use_camera": True},
        **changes,
    )


def test_metainfo_names_labels_and_version(infos: dict[str, Any]) -> None:
    from mmdet3d.datasets import NuScenesDataset

    # The stock data set maps labels from its own order, whatever the file says.
    assert tuple(infos["metainfo"]["categories"]) == NuScenesDataset.METAINFO["classes"]
    assert list(infos["metainfo"]["categories"].values()) == list(range(10))
    assert set(infos["metainfo"]["categories"]) == set(CLASS_NAMES)
    assert infos["metainfo"]["dataset"] == "nuscenes"
    assert infos["metainfo"]["version"] == "v1.0-synth"
    assert infos["metainfo"]["info_version"] == "1.1"


def test_stock_dataset_opens_them_and_finds_every_file(synth_root: Path) -> None:
    dataset = stock_dataset(synth_root)
    assert len(dataset) == 6
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        assert Path(info["lidar_points"]["lidar_path"]).is_file()
        assert all(Path(camera["img_path"]).is_file() for camera in info["images"].values())
        assert info["lidar_sweeps"]
        assert all(Path(s["lidar_points"]["lidar_path"]).is_file() for s in info["lidar_sweeps"])


def test_stock_dataset_returns_the_tables_boxes(synth_root: Path, nusc: Any) -> None:
    """Its LiDAR-frame boxes, moved to the global frame by the devkit, are the annotations."""
    from nuscenes.eval.detection.utils import category_to_detection_name
    from nuscenes.utils.data_classes import Box
    from pyquaternion import Quaternion

    dataset = stock_dataset(synth_root)
    compared = 0
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        sample = nusc.get("sample", info["token"])
        lidar = nusc.get("sample_data", sample["data"]["LIDAR_TOP"])
        calibration = nusc.get("calibrated_sensor", lidar["calibrated_sensor_token"])
        pose = nusc.get("ego_pose", lidar["ego_pose_token"])
        rows = [nusc.get("sample_annotation", token) for token in sample["anns"]]
        rows = [row for row in rows if row["num_lidar_pts"] > 0]
        boxes, labels = info["ann_info"]["gt_bboxes_3d"], info["ann_info"]["gt_labels_3d"]
        assert len(boxes) == len(rows) > 10
        centres, values = boxes.gravity_center.numpy(), boxes.tensor.numpy()
        for row, label, centre, value in zip(rows, labels, centres, values, strict=True):
            length, width, height, yaw = (float(number) for number in value[3:7])
            box = Box(
                [float(number) for number in centre],
                [width, length, height],
                Quaternion(axis=(0, 0, 1), radians=yaw),
                velocity=(*(float(number) for number in value[7:9]), 0.0),
            )
            for record in (calibration, pose):
                box.rotate(Quaternion(record["rotation"]))
                box.translate(np.array(record["translation"]))
            assert CLASS_NAMES[label] == category_to_detection_name(row["category_name"])
            assert box.center == pytest.approx(row["translation"], abs=1e-3)
            assert [width, length, height] == pytest.approx(row["size"], abs=1e-5)
            turned = Quaternion(row["rotation"]).inverse * box.orientation
            assert abs(turned.yaw_pitch_roll[0]) < 1e-5
            speed = nusc.box_velocity(row["token"])
            if not np.isnan(speed[0]):
                assert box.velocity[:2] == pytest.approx(speed[:2], abs=1e-3)
            compared += 1
    assert compared > 100


def _time(nusc: Any, annotation: dict[str, Any]) -> float:
    return float(nusc.get("sample", annotation["sample_token"])["timestamp"]) / 1e6


def test_velocity_is_the_motion_and_nan_where_the_devkit_has_none(
    infos: dict[str, Any], nusc: Any
) -> None:
    unknown = moving = 0
    for info in infos["data_list"]:
        rotation = (
            np.asarray(info["ego2global"])[:3, :3]
            @ np.asarray(info["lidar_points"]["lidar2ego"])[:3, :3]
        )
        for instance in info["instances"]:
            row = nusc.get("sample_annotation", instance["token"])
            if not row["prev"] and not row["next"]:
                assert np.isnan(instance["velocity"]).all()
                unknown += 1
                continue
            # One-sided at the ends of a track, central inside.
            first = nusc.get("sample_annotation", row["prev"] or row["token"])
            last = nusc.get("sample_annotation", row["next"] or row["token"])
            seconds = _time(nusc, last) - _time(nusc, first)
            step = np.subtract(last["translation"], first["translation"]) / seconds
            assert instance["velocity"] == pytest.approx((rotation.T @ step)[:2], abs=1e-4)
            moving += float(np.hypot(*step[:2])) > 1.0
    assert moving > 20
    assert unknown > 0


def test_lidar_to_image_agrees_with_the_devkits_own_boxes(infos: dict[str, Any], nusc: Any) -> None:
    compared = 0
    for info in infos["data_list"]:
        sample = nusc.get("sample", info["token"])
        for name, camera in info["images"].items():
            assert camera["sample_data_token"] == sample["data"][name]
            _, boxes, intrinsic = nusc.get_sample_data(sample["data"][name])
            assert np.allclose(camera["cam2img"], intrinsic)
            centres = {box.token: box.center for box in boxes}
            for instance in info["instances"]:
                if instance["token"] in centres:
                    moved = np.asarray(camera["lidar2cam"]) @ [*instance["bbox_3d"][:3], 1.0]
                    assert moved[:3] == pytest.approx(centres[instance["token"]], abs=1e-6)
                    compared += 1
    assert compared > 100


def test_sweeps_are_newest_first_and_lead_back_to_the_keyframe(
    infos: dict[str, Any], synth_root: Path
) -> None:
    """What stands still coincides after moving a sweep's points into the keyframe's frame."""
    for info in infos["data_list"]:
        sweeps = info["lidar_sweeps"]
        assert 2 <= len(sweeps) <= MAX_SWEEPS
        times = [info["timestamp"], *(sweep["timestamp"] for sweep in sweeps)]
        assert np.allclose(np.diff(times), -1 / 6, atol=1e-5)
        for sweep in sweeps:
            sensor2global = np.asarray(sweep["ego2global"]) @ np.asarray(
                sweep["lidar_points"]["lidar2ego"]
            )
            key2global = np.asarray(info["ego2global"]) @ np.asarray(
                info["lidar_points"]["lidar2ego"]
            )
            back = sensor2global @ np.asarray(sweep["lidar_points"]["lidar2sensor"])
            assert np.allclose(back, key2global, atol=1e-6)
            assert (synth_root / sweep["lidar_points"]["lidar_path"]).is_file()


def test_validity_attributes_and_scene_words(infos: dict[str, Any], nusc: Any) -> None:
    attributes = infos["metainfo"]["attributes"]
    assert attributes[-1] == "none"
    described = set()
    for info in infos["data_list"]:
        described.add(info["scene_description"].split(",")[0])
        assert info["scene_name"] == nusc.get("scene", info["scene_token"])["name"]
        for instance in info["instances"]:
            row = nusc.get("sample_annotation", instance["token"])
            assert instance["bbox_3d_isvalid"] == (row["num_lidar_pts"] > 0)
            names = [nusc.get("attribute", token)["name"] for token in row["attribute_tokens"]]
            assert attributes[instance["attr_label"]] == (names[0] if names else "none")
    assert described == {"Night", "Rain"}


def test_other_categories_get_label_minus_one(nusc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    token = nusc.sample[0]["anns"][0]
    monkeypatch.setitem(nusc.get("sample_annotation", token), "category_name", "animal")
    info = sample_info(nusc, nusc.sample[0], 0)
    labels = {instance["token"]: instance["bbox_label_3d"] for instance in info["instances"]}
    assert labels[token] == -1
    assert sum(label == -1 for label in labels.values()) == 1


def test_unknown_split_is_refused_and_leaves_nothing(synth_root: Path) -> None:
    before = sorted(path.name for path in (synth_root / "aqr_infos").iterdir())
    with pytest.raises(ValueError, match="Custom split synth_tset requested"):
        write_infos(synth_root, "v1.0-synth", ["synth_tset"])
    assert sorted(path.name for path in (synth_root / "aqr_infos").iterdir()) == before
