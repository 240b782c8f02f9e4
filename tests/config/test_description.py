"""Descriptions of data sets: what one says, and what is refused in one line with file and key."""

import os

import pytest
import yaml

from aqr_exp.config.description import read_description
from aqr_exp.config.identity import as_dict
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.errors import RequestError

GOOD = """\
classes:
- {name: van, categories: [vehicle.van, vehicle.minibus], range_m: 40, attributes: [moving, resting]}
- {name: sign, categories: [object.sign], range_m: 20, heading: half, velocity: false, small: true}
cameras: [CAM_WEST, CAM_EAST]
lidar: LIDAR_ROOF
point_range_m: [-50, -50, -5, 50, 50, 3]
"""


def _read(tmp_path, text):
    (tmp_path / "dataset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_description(tmp_path)


def test_it_says_classes_and_sensors(tmp_path):
    found = _read(tmp_path, GOOD)
    assert found.names == ("van", "sign")
    assert found.class_of == {
        "vehicle.van": "van",
        "vehicle.minibus": "van",
        "object.sign": "sign",
    }
    assert found.attributes == ("moving", "resting")
    assert found.sensors == ("LIDAR_ROOF", "CAM_WEST", "CAM_EAST")
    assert found.views == ("west", "east")
    van, sign = found.classes
    assert [van.attribute(speed) for speed in (0.2, 0.3)] == ["resting", "moving"]
    assert sign.attribute(5.0) == ""
    assert (sign.heading, sign.velocity, sign.small, sign.range_m) == ("half", False, True, 20.0)


def test_without_one_and_with_nuscenes_own_the_data_are_nuscenes(tmp_path):
    assert read_description(tmp_path) is None
    assert _read(tmp_path, yaml.safe_dump(as_dict(NUSCENES))) is None


def _with(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


WRONG = {
    "no mapping": ("[1, 2]", "holds no keys"),
    "empty": ("", "is empty: it needs classes and cameras"),
    "no YAML": ("classes: [", "is not YAML"),
    "not UTF-8": (b"classes: \xff", "is not UTF-8 text"),
    "binary": (b"\x00\x01", "is not YAML"),
    "a planted tag": (
        _with("lidar: LIDAR_ROOF", "lidar: !!python/object/apply:os.system ['true']"),
        ":5: lidar: has the tag 'python/object/apply:os.system': write plain values",
    ),
    "an alias": (GOOD + "x: &a 1\ny: *a\n", "alias '*a': a description has none"),
    "a key twice": (GOOD + "lidar: LIDAR_TOP\n", ":7: lidar: is given twice"),
    "no word as a key": (GOOD + "1: 2\n", "has a key that is no word"),
    "an unknown key": (GOOD + "lidr: X\n", "unknown key 'lidr': did you mean 'lidar'?"),
    "a class's unknown key": (
        _with("range_m: 40", "rangem: 40"),
        "unknown key 'classes[0].rangem': did you mean 'classes[0].range_m'?",
    ),
    "no classes": (_with(GOOD[: GOOD.index("cameras")], "classes: []\n"), "classes: must be from 1"),
    "a range of zero": (
        _with("range_m: 40", "range_m: 0"),
        "classes[0].range_m=0: must be a number from 1 to 1000",
    ),
    "a range that is no number": (_with("range_m: 40", "range_m: .nan"), "classes[0].range_m=nan"),
    "a range beyond the points": (
        _with("range_m: 40", "range_m: 80"),
        "classes[0].range_m=80: reaches beyond point_range_m, whose corners are 70.7 m away",
    ),
    "a class twice": (
        _with("name: sign", "name: van"),
        "classes[1]='van': is named twice: classes[0] too",
    ),
    "a category twice": (
        _with("[object.sign]", "[vehicle.van]"),
        "classes[1].categories[0]='vehicle.van': is named twice: classes[0].categories[0] too",
    ),
    "a class without categories": (
        _with("[object.sign]", "[]"),
        "classes[1].categories=[]: must name one category at least",
    ),
    "a path as a name": (_with("name: sign", "name: ../x"), "classes[1]='../x': is no name"),
    "a condition in a name": (_with("name: sign", "name: a@night"), "is no name for a class's name"),
    "a path as a camera": (_with("CAM_EAST", "a/b"), "cameras[1]='a/b': is no name for a camera"),
    "a camera twice": (_with("CAM_EAST", "CAM_WEST"), "cameras[1]='CAM_WEST': is named twice"),
    "cameras of one typed name": (_with("CAM_EAST", "west"), "cameras: two differ in case or CAM_"),
    "no cameras": (_with("[CAM_WEST, CAM_EAST]", "[]"), "cameras: must be from 1 to 100"),
    "the LiDAR among them": (_with("LIDAR_ROOF", "CAM_EAST"), "lidar=CAM_EAST: is one of the cameras"),
    "another heading": (_with("heading: half", "heading: hlf"), "did you mean 'half'?"),
    "an attribute twice": (
        _with("[moving, resting]", "[moving, moving]"),
        "classes[0].attributes[1]='moving': is named twice",
    ),
    "a volume inside out": (_with("50, 50, 3]", "50, 50, -6]"), "the lower bounds first"),
    "a volume of five": (_with("-5, 50, 50, 3", "-5, 50, 50"), "point_range_m=[-50.0, -50.0, -5.0"),
    "racks without a category": (
        _with("small: true", "outside_racks: true"),
        "classes[1].outside_racks=true: needs the category of racks",
    ),
    "too large": ("#" * 1_000_001, "is larger than 1000000 bytes: no description is"),
    "nested deeply": ("[" * 5000, "dataset.yaml"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_in_one_line_with_file_and_key(tmp_path, name):
    text, words = WRONG[name]
    with pytest.raises(RequestError) as caught:
        _read(tmp_path, text)
    for fault in caught.value.faults:
        assert "dataset.yaml" in str(fault)
        assert "\n" not in fault.line
        assert len(fault.line) <= 200
    assert words in str(caught.value)


def test_it_is_read_again_when_it_changes(tmp_path):
    assert _read(tmp_path, GOOD).names == ("van", "sign")
    assert _read(tmp_path, GOOD.replace("van,", "bus,")).names == ("bus", "sign")


def test_a_fifo_a_folder_and_a_dangling_link_are_named(tmp_path):
    path = tmp_path / "dataset.yaml"
    os.mkfifo(path)
    with pytest.raises(RequestError, match=r"dataset.yaml: is no file"):
        read_description(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RequestError, match=r"dataset.yaml: is no file"):
        read_description(tmp_path)
    path.rmdir()
    path.symlink_to("gone")
    with pytest.raises(RequestError, match=r"dataset.yaml: is a link to nothing"):
        read_description(tmp_path)
