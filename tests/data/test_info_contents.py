"""Values in an info file that cannot be: named in one line, by every command, before anything starts."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_up_data import made_up_info, write_data

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import info_path
from aqr_exp.data.info_files import read_info_file, write_fingerprint
from aqr_exp.errors import RequestError

Edit = Callable[[dict[str, Any]], object]
BOX = {"bbox_label_3d": 0, "num_lidar_pts": 3, "num_radar_pts": 0}


def boxed(name: str, value: object) -> Edit:
    return lambda sample: sample["instances"][1].update({name: value})


def write(path: Path, edit: Edit) -> None:
    """Three samples with two boxes each, the second of them edited."""
    samples = [made_up_info([BOX, BOX]) for _ in range(3)]
    edit(samples[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"metainfo": {"categories": {"car": 0}}, "data_list": samples}
    path.write_bytes(pickle.dumps(content))


CASES: dict[str, tuple[Edit, str]] = {
    "NaN": (
        boxed("bbox_3d", [math.nan, *[1.0] * 6]),
        "instances[1].bbox_3d[0]: Expected `float` >= -1000000000000.0",
    ),
    "infinite": (
        boxed("bbox_3d", [1.0, math.inf, *[1.0] * 5]),
        "instances[1].bbox_3d[1]: Expected `float` <= 1000000000000.0",
    ),
    "no width": (
        boxed("bbox_3d", [0.0] * 7),
        "instances[1].bbox_3d[3]: Expected `float` > 0.0",
    ),
    "nine numbers": (
        boxed("bbox_3d", [1.0] * 9),
        "instances[1].bbox_3d: Expected `array` of length 7, got 9",
    ),
    "text": (
        boxed("bbox_3d", ["1"] * 7),
        "instances[1].bbox_3d[0]: Expected `float`, got `str`",
    ),
    "no box": (boxed("bbox_3d", None), "instances[1].bbox_3d: Expected `array`, got `null`"),
    "fewer than none": (
        boxed("num_lidar_pts", -1),
        "instances[1].num_lidar_pts: Expected `int` >= 0",
    ),
    "many": (
        boxed("num_radar_pts", 10**40),
        "instances[1].num_radar_pts: Expected `int` <= 1000000000",
    ),
    "no class": (boxed("bbox_label_3d", 7), "instances[1].bbox_label_3d: 7 is no category"),
    "fast": (
        boxed("velocity", [0.0, -math.inf]),
        "instances[1].velocity: (0.0, -inf) is no velocity",
    ),
    "no instances": (
        lambda sample: sample.pop("instances"),
        "Object missing required field `instances`",
    ),
    "blind": (lambda sample: sample["images"].pop("CAM_BACK"), "images: CAM_BACK is missing"),
    "flat": (
        lambda sample: sample.update(ego2global=[[1.0, 0.0, 0.0, 0.0]] * 2),
        "ego2global: Expected `array` of length >= 3",
    ),
    "outside": (
        lambda sample: sample["lidar_points"].update(lidar_path="../../etc/passwd"),
        "'../../etc/passwd' is no file below the data's folder",
    ),
    "absolute": (
        lambda sample: sample["images"]["CAM_FRONT"].update(img_path="/etc/passwd"),
        "'/etc/passwd' is no file below the data's folder",
    ),
    "steering": (
        lambda sample: sample["images"]["CAM_FRONT"].update(img_path="a\x1b[2J.jpg"),
        "'a\\x1b[2J.jpg' is no file below the data's folder",
    ),
    "no sample": (lambda sample: sample.clear(), "Object missing required field `token`"),
}


@pytest.mark.parametrize(("edit", "fault"), CASES.values(), ids=CASES)
def test_a_value_that_cannot_be_is_named_with_its_place(
    tmp_path: Path, edit: Edit, fault: str
) -> None:
    path = tmp_path / "train.pkl"
    write(path, lambda _: None)
    assert len(read_info_file(path)["data_list"]) == 3
    write(path, edit)
    with pytest.raises(RequestError) as caught:
        read_info_file(path)
    assert str(caught.value) == f"{path} is damaged: data_list[1]: {fault}"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"metainfo": {}, "data_list": []}, "metainfo.categories: Expected `object`, got `null`"),
        ({"metainfo": [], "data_list": []}, "metainfo.categories: Expected `object`, got `array`"),
        (
            {"metainfo": {"categories": {}}, "data_list": 3},
            "data_list: Expected `array`, got `int`",
        ),
    ],
)
def test_so_is_a_file_of_another_form(tmp_path: Path, content: object, fault: str) -> None:
    path = tmp_path / "train.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(RequestError) as caught:
        read_info_file(path)
    assert str(caught.value) == f"{path} is damaged: {fault}"


def test_velocities_may_be_unknown_and_classes_ignored(tmp_path: Path) -> None:
    path = tmp_path / "train.pkl"
    write(path, boxed("velocity", [math.nan, math.nan]))
    read_info_file(path)
    write(path, boxed("bbox_label_3d", -1))
    read_info_file(path)


COMMANDS = (
    ("run", "baseline"),
    ("run", "baseline", "--dry-run"),
    ("run", "baseline", "schedule.cbgs=true", "--dry-run"),
    ("sweep", "baseline", "seed=0,1"),
    ("data", "show", "1"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_refuse_it_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("aqr_exp.cli.run.outline_of", lambda *_, **__: [{"faults": []}])
    root = tmp_path / "data" / "synth"
    write_data(root)
    path = info_path(root, "synth_train")
    write(path, boxed("bbox_3d", [math.nan] * 7))
    write_fingerprint(root, "v1.0-synth", {"synth_train": 10, "synth_val": 4})
    assert main([*arguments]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "data_list" in line]
    assert len(told) == 1, "one line"
    assert " is damaged: data_list[1]: instances[1].bbox_3d[0]: Expected" in told[0]
    assert len(told[0]) <= 200 + len(str(tmp_path))
    assert not (tmp_path / "results" / "runs").exists()
