import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aqr_exp.synth.annotations import visibility_token, vocabulary_tables
from aqr_exp.synth.sets import SETS, SynthSet
from aqr_exp.synth.settings import SynthSettings

TABLES = [
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "log",
    "map",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
    "visibility",
]

FOREIGN = {
    "calibrated_sensor": {"sensor_token": "sensor"},
    "instance": {
        "category_token": "category",
        "first_annotation_token": "sample_annotation",
        "last_annotation_token": "sample_annotation",
    },
    "sample": {"scene_token": "scene", "prev": "sample", "next": "sample"},
    "sample_annotation": {
        "sample_token": "sample",
        "instance_token": "instance",
        "visibility_token": "visibility",
        "prev": "sample_annotation",
        "next": "sample_annotation",
    },
    "sample_data": {
        "sample_token": "sample",
        "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
        "prev": "sample_data",
        "next": "sample_data",
    },
    "scene": {
        "log_token": "log",
        "first_sample_token": "sample",
        "last_sample_token": "sample",
    },
}


@pytest.fixture(scope="module")
def tables(synth_root: Path) -> dict[str, list[dict[str, Any]]]:
    folder = synth_root / "v1.0-synth"
    assert sorted(path.stem for path in folder.iterdir()) == sorted([*TABLES, "splits"])
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in TABLES}


def test_every_token_is_unique_and_every_reference_resolves(tables) -> None:
    known = {name: {row["token"] for row in rows} for name, rows in tables.items()}
    for name, rows in tables.items():
        assert len(known[name]) == len(rows) > 0
        assert name == "visibility" or all(re.fullmatch("[0-9a-f]{32}", t) for t in known[name])
        for field, target in FOREIGN.get(name, {}).items():
            values = {row[field] for row in rows} - ({""} if field in {"prev", "next"} else set())
            assert values <= known[target], (name, field)
    for row in tables["sample_annotation"]:
        assert set(row["attribute_tokens"]) <= known["attribute"]
    for row in tables["map"]:
        assert set(row["log_tokens"]) <= known["log"]


@pytest.mark.parametrize("name", ["sample", "sample_data", "sample_annotation"])
def test_chains_run_forwards_and_back(tables, name: str) -> None:
    rows = {row["token"]: row for row in tables[name]}
    assert any(row["next"] for row in rows.values())
    for row in rows.values():
        if row["next"]:
            assert rows[row["next"]]["prev"] == row["token"]
            if name != "sample_annotation":
                assert rows[row["next"]]["timestamp"] > row["timestamp"]
            if name == "sample_data":
                later = rows[row["next"]]
                assert later["calibrated_sensor_token"] == row["calibrated_sensor_token"]


def test_tracks_run_forwards_are_counted_and_always_have_points(tables) -> None:
    rows = {row["token"]: row for row in tables["sample_annotation"]}
    order = {row["token"]: row["timestamp"] for row in tables["sample"]}
    for instance in tables["instance"]:
        token, times = instance["first_annotation_token"], []
        while token:
            last = token
            assert rows[token]["instance_token"] == instance["token"]
            times.append(order[rows[token]["sample_token"]])
            token = rows[token]["next"]
        assert last == instance["last_annotation_token"]
        assert len(times) == instance["nbr_annotations"]
        assert (np.diff(times) > 0).all()
    assert all(row["num_lidar_pts"] > 0 for row in rows.values())


def test_keyframes_at_2_hz_with_sweeps_between_and_before(
    tables, tiny_settings: SynthSettings
) -> None:
    sensors = {row["token"]: row["channel"] for row in tables["sensor"]}
    channels = {row["token"]: sensors[row["sensor_token"]] for row in tables["calibrated_sensor"]}
    scene_of = {row["token"]: row["scene_token"] for row in tables["sample"]}
    for scene in tables["scene"]:
        mine = [
            row for row in tables["sample_data"] if scene_of[row["sample_token"]] == scene["token"]
        ]
        lidar = [row for row in mine if channels[row["calibrated_sensor_token"]] == "LIDAR_TOP"]
        times = np.array([row["timestamp"] for row in lidar])
        assert np.allclose(np.diff(times), 500_000 / 3, atol=1)
        flags = [row["is_key_frame"] for row in lidar]
        assert flags == [False, False, True] * tiny_settings.keyframes
        keyframes = [row for row in mine if row["is_key_frame"]]
        assert len(keyframes) == 7 * tiny_settings.keyframes
        for row in keyframes:
            (sample,) = (s for s in tables["sample"] if s["token"] == row["sample_token"])
            assert row["timestamp"] == sample["timestamp"]


def test_every_file_is_there_and_is_what_its_row_says(tables, synth_root: Path) -> None:
    named = {row["filename"] for row in tables["sample_data"]}
    stored = {
        path.relative_to(synth_root).as_posix()
        for folder in ("samples", "sweeps")
        for path in (synth_root / folder).rglob("*.*")
    }
    assert named == stored
    for row in tables["sample_data"]:
        path = synth_root / row["filename"]
        assert row["filename"].startswith("samples/" if row["is_key_frame"] else "sweeps/")
        if row["fileformat"] == "jpg":
            assert cv2.imread(str(path)).shape == (row["height"], row["width"], 3)
        else:
            assert path.name.endswith(".pcd.bin")
            points = np.fromfile(path, dtype=np.float32).reshape(-1, 5)
            assert len(points) > 1000
            assert set(np.unique(points[:, 4])) <= set(range(32))
    for row in tables["map"]:
        assert (synth_root / row["filename"]).is_file()


def test_it_says_synthetic_wherever_it_could_be_mistaken(tables, synth_root: Path) -> None:
    assert all("synthetic" in row["description"] for row in tables["scene"])
    for row in tables["log"]:
        assert all("synthetic" in row[field] for field in ("logfile", "vehicle", "location"))
    assert all("synthetic" in row["filename"] for row in tables["sample_data"])
    assert "SYNTHETIC" in (synth_root / "README.txt").read_text()


def test_conditions_are_in_the_descriptions(tables) -> None:
    words = " ".join(row["description"] for row in tables["scene"])
    assert "Night" in words
    assert "Rain" in words


def test_the_ego_drives_on_its_map(tables, synth_root: Path) -> None:
    log = {row["token"]: row["log_token"] for row in tables["scene"]}
    maps = {
        log: cv2.imread(str(synth_root / row["filename"]), cv2.IMREAD_GRAYSCALE)
        for row in tables["map"]
        for log in row["log_tokens"]
    }
    scene_of = {row["token"]: row["scene_token"] for row in tables["sample"]}
    poses = {row["token"]: row for row in tables["ego_pose"]}
    for row in tables["sample_data"]:
        picture = maps[log[scene_of[row["sample_token"]]]]
        x, y, _ = poses[row["ego_pose_token"]]["translation"]
        assert picture[picture.shape[0] - 1 - int(y / 0.1), int(x / 0.1)] == 255


def test_points_are_counted_from_the_returns(tables, synth_root: Path, nusc) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    counted = inside = 0
    for sample in nusc.sample:
        path, boxes, _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        cloud = LidarPointCloud.from_file(path)
        for box in boxes:
            box.wlh = box.wlh + 0.1
            counted += nusc.get("sample_annotation", box.token)["num_lidar_pts"]
            within = points_in_box(box, cloud.points[:3])
            # Ground returns at its foot lie inside of the enlarged box, too.
            above = cloud.points[2] > box.center[2] - box.wlh[2] / 2 + 0.12
            inside += int((within & above).sum())
    assert inside / counted == pytest.approx(1.0, abs=0.06)


def test_visibility_levels_by_hand() -> None:
    shares = (0.0, 0.39, 0.4, 0.6, 0.79, 0.8, 1.0)
    assert [visibility_token(share) for share in shares] == ["1", "1", "2", "3", "3", "4", "4"]


def test_vocabulary_is_nuscenes() -> None:
    rows = vocabulary_tables(SETS["synth"])
    assert len(rows["category"]) == 23
    assert len(rows["attribute"]) == 8
    assert [row["token"] for row in rows["visibility"]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("chosen", SETS.values(), ids=SETS)
def test_a_set_has_words_for_all_it_annotates(chosen: SynthSet) -> None:
    drawn = {name for kind in chosen.kinds for name in kind.categories}
    assert drawn
    assert drawn <= {*chosen.described.class_of} <= {*chosen.words}
    assert {*chosen.described.attributes} <= {*chosen.attributes}
    assert {each.channel for each in chosen.cameras} == {*chosen.described.cameras}
