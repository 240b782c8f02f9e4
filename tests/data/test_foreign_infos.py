"""Info files of mmdet3d and CMT: brought in with their boxes in our order, as the points have it."""

import copy
import math
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aqr_exp.cli.main import main
from aqr_exp.data.foreign_infos import _instance, _missed, _turned, read_annotations
from aqr_exp.data.info_files import read_info_file
from aqr_exp.data.infos import FILE_CLASSES
from aqr_exp.errors import RequestError

SPLITS = ["synth_train", "synth_val"]


@pytest.fixture(scope="module")
def ours(synth_root: Path) -> dict[str, Any]:
    return read_info_file(synth_root / "aqr_infos" / "synth_train.pkl")


def as_17(box: list[float]) -> list[float]:
    """A box as the converter of mmdet3d 0.17 wrote it: w, l, h, and -yaw - pi / 2."""
    x, y, z, length, width, height, yaw = box
    return [x, y, z, width, length, height, -yaw - math.pi / 2]


def first_form(ours: dict[str, Any], *, turned: bool) -> list[dict[str, Any]]:
    """The samples as mmdet3d 0.17 to 1.0 and CMT list them, with NumPy's arrays."""
    names = dict(enumerate(FILE_CLASSES))
    infos = []
    for info in ours["data_list"]:
        items = info["instances"]
        boxes = [as_17(item["bbox_3d"]) if turned else item["bbox_3d"] for item in items]
        infos.append(
            {
                "token": info["token"],
                "lidar_path": "./data/nuscenes/samples/LIDAR_TOP/some.pcd.bin",
                "gt_boxes": np.array(boxes).reshape(-1, 7),
                "gt_names": np.array(
                    [names.get(item["bbox_label_3d"], "animal") for item in items], dtype=str
                ),
                "gt_velocity": np.array([item["velocity"] for item in items]).reshape(-1, 2),
                "num_lidar_pts": np.array([item["num_lidar_pts"] for item in items]),
                "num_radar_pts": np.array([item["num_radar_pts"] for item in items]),
                "valid_flag": np.array([item["bbox_3d_isvalid"] for item in items]),
                "sweeps": [],
            }
        )
    return infos


def second_form(ours: dict[str, Any], *, turned: bool) -> dict[str, Any]:
    """The samples as mmdet3d 1.1 to 1.4 lists them, with NumPy's numbers and labels of another order."""
    content = copy.deepcopy(ours)
    classes = tuple(reversed(FILE_CLASSES))
    content["metainfo"] = {"CLASSES": classes, "version": "v1.0-trainval"}
    for info in content["data_list"]:
        for item in info["instances"]:
            label = item["bbox_label_3d"]
            item["bbox_label_3d"] = -1 if label < 0 else classes.index(FILE_CLASSES[label])
            item["num_lidar_pts"] = np.int64(item["num_lidar_pts"])
            item["bbox_3d"] = as_17(item["bbox_3d"]) if turned else item["bbox_3d"]
            del item["token"], item["attr_label"]
    return content


FORMS = {
    "0.17": lambda ours: first_form(ours, turned=True),
    "0.17 with metadata": lambda ours: {
        "infos": first_form(ours, turned=True),
        "metadata": {"version": "v1.0-trainval"},
    },
    "CMT and 1.0": lambda ours: {"infos": first_form(ours, turned=False), "metadata": {}},
    "1.1": lambda ours: second_form(ours, turned=False),
    "1.1 made of 0.17": lambda ours: second_form(ours, turned=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_boxes_of_the_tables(
    form: str, ours: dict[str, Any], nusc: Any, tmp_path: Path
) -> None:
    path = tmp_path / "nuscenes_infos_train.pkl"
    path.write_bytes(pickle.dumps(FORMS[form](ours)))
    found, note = read_annotations(path, nusc, SPLITS)
    assert note.endswith(": turned") == ("0.17" in form)
    boxes = 0
    for info in ours["data_list"]:
        for item, wanted in zip(found[info["token"]], info["instances"], strict=True):
            assert item["bbox_3d"][:6] == wanted["bbox_3d"][:6]
            away = math.remainder(item["bbox_3d"][6] - wanted["bbox_3d"][6], math.tau)
            assert abs(away) < 1e-12
            assert -math.pi <= item["bbox_3d"][6] <= math.pi
            for key in ("bbox_label_3d", "bbox_label", "num_lidar_pts", "bbox_3d_isvalid"):
                assert item[key] == wanted[key]
                assert type(item[key]) is type(wanted[key])
            np.testing.assert_equal(item["velocity"], wanted["velocity"])  # NaN where unknown
            boxes += 1
    assert boxes > 50


def test_the_points_of_a_real_frame_tell_the_order(real_frame_dir: Path) -> None:
    """Of 66 boxes with points 58 hold exactly their number in the order they were annotated in."""
    (sample,) = pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())["data_list"]
    cloud = next(real_frame_dir.glob("*LIDAR_TOP*"))
    nusc = SimpleNamespace(
        dataroot=str(real_frame_dir),
        sample=[{"token": sample["token"], "data": {"LIDAR_TOP": "a"}}],
        get_sample_data_path=lambda _: str(cloud),
    )
    items = [
        _instance(
            ["car"], i["bbox_3d"], "car", i["velocity"], i["num_lidar_pts"], i["num_radar_pts"]
        )
        for i in sample["instances"]
    ]
    missed, wanted = _missed({sample["token"]: items}, nusc)
    assert ((missed == 0).sum(axis=1).tolist(), len(wanted)) == ([58, 52], 66)
    assert ((missed[0] < missed[1]).sum(), (missed[1] < missed[0]).sum()) == (10, 1)
    old = [{**item, "bbox_3d": as_17(item["bbox_3d"])} for item in items]
    other, _ = _missed({sample["token"]: old}, nusc)
    np.testing.assert_array_equal(other, missed[::-1])
    back = np.array([_turned(item)["bbox_3d"] for item in old])
    np.testing.assert_allclose(back[:, :6], [item["bbox_3d"][:6] for item in items])


@pytest.fixture
def bare(synth_root: Path, tmp_path: Path) -> Path:
    """A copy of the data set without anything derived from it."""
    root = tmp_path / "root"
    ignore = shutil.ignore_patterns("aqr_infos")
    shutil.copytree(synth_root, root, copy_function=os.link, ignore=ignore)
    return root


def test_prepare_brings_a_file_in_and_check_knows_it(
    bare: Path, ours: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.pkl"
    theirs = first_form(ours, turned=True)
    columns = (
        "gt_boxes",
        "gt_names",
        "gt_velocity",
        "num_lidar_pts",
        "num_radar_pts",
        "valid_flag",
    )
    theirs[0] |= {key: theirs[0][key][:1] for key in columns}
    path.write_bytes(pickle.dumps(theirs))
    arguments = ["data", "prepare", "--root", str(bare), "--no-objects"]
    assert main([*arguments, "--infos", str(path)]) == 0
    assert f"{path}: of " in capsys.readouterr().err
    stored = (bare / "aqr_infos" / "synth_train.pkl").read_bytes()
    content = read_info_file(bare / "aqr_infos" / "synth_train.pkl")
    for info, wanted in zip(content["data_list"], ours["data_list"], strict=True):
        assert len(info["instances"]) == (
            1 if info is content["data_list"][0] else len(wanted["instances"])
        )
        boxes = np.array([item["bbox_3d"] for item in wanted["instances"]])[
            : len(info["instances"])
        ]
        found = np.array([item["bbox_3d"] for item in info["instances"]])
        np.testing.assert_allclose(np.cos(found), np.cos(boxes), atol=1e-12)
        # All but the boxes is the tables' own: their rounding and their faults stay outside.
        assert {**info, "instances": 0} == {**wanted, "instances": 0}
    other = read_info_file(bare / "aqr_infos" / "synth_val.pkl")
    assert "foreign_instances" in content["metainfo"]
    assert "foreign_instances" not in other["metainfo"]
    assert main(["data", "check", "--root", str(bare), "--all"]) == 0
    assert main(arguments) == 0  # what was brought in stays
    assert (bare / "aqr_infos" / "synth_train.pkl").read_bytes() == stored


def wrong_files(ours: dict[str, Any]) -> dict[str, tuple[bytes, str]]:
    infos = first_form(ours, turned=False)
    shifted = copy.deepcopy(infos)
    for info in shifted:
        info["gt_boxes"] += 3.0
    unequal = [{**infos[0], "num_lidar_pts": np.arange(2)}, *infos[1:]]
    endless = copy.deepcopy(infos)
    endless[0]["gt_boxes"][0, 3] = np.inf
    return {
        "pointer": (
            b"version https://git-lfs.github.com/spec/v1\n",
            " is a Git LFS pointer: `git lfs",
        ),
        "call": (pickle.dumps(os.getcwd), " is damaged: holds 'posix.getcwd', which is no data"),
        "number": (pickle.dumps(3), " is no info file of mmdet3d or CMT: sample 0: TypeError"),
        "database": (
            pickle.dumps({"car": []}),
            " is no info file of mmdet3d or CMT: sample 0: KeyError",
        ),
        "part": (
            pickle.dumps(infos[:2]),
            ": its 2 samples are not all those of synth_train or synth_val",
        ),
        "elsewhere": (
            pickle.dumps(shifted),
            "in the order of mmdet3d 0.17: it is of other data",
        ),
        "unequal": (
            pickle.dumps(unequal),
            "ValueError 'zip() argument 4 is shorter than arguments 1-3",
        ),
        "endless": (pickle.dumps(endless), "a box is not of seven finite numbers"),
    }


@pytest.mark.parametrize(
    "name",
    ["pointer", "call", "number", "database", "part", "elsewhere", "unequal", "endless"],
)
def test_a_file_that_cannot_be_used_is_one_line(
    name: str, ours: dict[str, Any], nusc: Any, tmp_path: Path
) -> None:
    content, said = wrong_files(ours)[name]
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(RequestError) as caught:
        read_annotations(path, nusc, SPLITS)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert said in line
    assert len(line) - len(str(path)) < 200
    with pytest.raises(RequestError, match=r"gone\.pkl is missing"):
        read_annotations(tmp_path / "gone.pkl", nusc, SPLITS)
