"""Preparing a data set: the same bytes however often it was killed; objects as the sensors saw them."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import objects_folder
from aqr_exp.data import infos as info_makers
from aqr_exp.data.gt_database.build import database_is_ready
from aqr_exp.data.infos import write_infos

SPLITS = ["synth_train", "synth_val"]


@pytest.fixture
def bare(synth_root: Path, tmp_path: Path) -> Path:
    """A copy of the data set without anything derived from it."""
    root = tmp_path / "bare; it's"
    ignore = shutil.ignore_patterns("aqr_infos")
    shutil.copytree(synth_root, root, copy_function=os.link, ignore=ignore)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """All but the records, which hold times."""
    found = (path for path in sorted(folder.rglob("*")) if path.name != "files.json")
    files = [path for path in found if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_stopped_after_any_scene_it_goes_on_and_the_bytes_are_the_same(
    bare: Path, synth_root: Path, nusc: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    made: list[str] = []
    original = info_makers.sample_info

    def counted(nusc: Any, sample: dict[str, Any], index: int) -> dict[str, Any]:
        made.append(sample["token"])
        return original(nusc, sample, index)

    monkeypatch.setattr(info_makers, "sample_info", counted)
    for stop in (1, 2, 3):

        def progress(done: int, _: int, stop: int = stop) -> None:
            if done == stop:
                raise Killed

        with pytest.raises(Killed):
            write_infos(bare, "v1.0-synth", SPLITS, nusc=nusc, progress=progress)
        assert not (bare / "aqr_infos" / "fingerprint.json").exists()
    samples = write_infos(bare, "v1.0-synth", SPLITS, nusc=nusc)
    assert samples == {"synth_train": 6, "synth_val": 3}
    assert len(made) == len(set(made)) == 9  # nothing was made twice
    for name in ("synth_train.pkl", "synth_val.pkl", "fingerprint.json"):
        stored = (synth_root / "aqr_infos" / name).read_bytes()
        assert (bare / "aqr_infos" / name).read_bytes() == stored
    assert sorted(path.name for path in (bare / "aqr_infos").iterdir()) == [
        "files.json",
        "fingerprint.json",
        "synth_train.pkl",
        "synth_val.pkl",
    ]


def test_parts_of_other_tables_are_not_used(bare: Path, nusc: Any) -> None:
    def stop(_: int, __: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_infos(bare, "v1.0-synth", SPLITS, nusc=nusc, progress=stop)
    (part,) = (bare / "aqr_infos" / ".parts-v1.0-synth").glob("scene-*.json")
    part.write_text("[]")
    tables = bare / "v1.0-synth" / "scene.json"
    os.utime(tables, ns=(0, tables.stat().st_mtime_ns + 1))
    assert write_infos(bare, "v1.0-synth", SPLITS, nusc=nusc)["synth_train"] == 6
    os.utime(tables, ns=(0, tables.stat().st_mtime_ns - 1))


PREPARE = "import sys; from aqr_exp.cli.main import main; sys.exit(main(sys.argv[1:]))"


def test_killed_while_objects_are_cut_it_goes_on(bare: Path, prepared_root: Path) -> None:
    """A real SIGKILL, as soon as the first scene's objects are there."""
    command = [sys.executable, "-c", PREPARE, "data", "prepare", "--root", str(bare)]
    process = subprocess.Popen(
        [*command, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = objects_folder(bare, "synth_train")
    parts = folder.with_name(f".{folder.name}.parts")
    while process.poll() is None and not list(parts.glob("*.npz")):
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    if done:  # else it finished before the signal came
        assert not database_is_ready(bare, "synth_train")
    result = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["splits"] == {"synth_train": 6, "synth_val": 3}
    assert printed["counts"]["CAM_FRONT"] == 9
    assert sum(printed["objects"]["synth_train"].values()) > 50
    assert database_is_ready(bare, "synth_train")
    assert not parts.exists()

    unbroken = contents(objects_folder(prepared_root, "synth_train"))
    assert contents(folder) == unbroken
    assert set(unbroken) == {
        "00000.pack",
        "00001.pack",
        "frames.npy",
        "index.json",
        "objects.npy",
        "patches.npy",
    }


def test_what_is_done_is_not_done_again(
    bare: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["data", "prepare", "--root", str(bare), "--no-objects"]) == 0
    first = capsys.readouterr()
    assert "    9 sample\n" in first.out
    assert first.out.endswith("6 samples of synth_train\n        3 samples of synth_val\n")
    assert first.err.endswith(f"{bare}: v1.0-synth is complete and prepared\n")
    assert not objects_folder(bare, "synth_train").exists()
    monkeypatch.setattr(info_makers, "sample_info", lambda *_: 1 / 0)
    assert main(["data", "prepare", "--root", str(bare), "--no-objects"]) == 0
    assert capsys.readouterr().out == first.out


def test_incomplete_data_are_refused_by_name_before_anything_is_written(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next((bare / "samples" / "CAM_BACK").iterdir())
    image.unlink()
    assert main(["data", "prepare", "--root", str(bare)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"aqr-exp: samples/CAM_BACK/{image.name}: the file of CAM_BACK ")
    assert line.endswith(" is missing")
    assert not (bare / "aqr_infos").exists()


def test_one_folder_serves_one_version(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bare.parent)
    (bare / "aqr_infos").mkdir()
    identity = {
        "fingerprint": "0123456789abcdef",
        "version": "v1.0-mini",
        "splits": {"mini_train": 1},
        "synthetic": False,
    }
    (bare / "aqr_infos" / "fingerprint.json").write_text(json.dumps(identity))
    assert main(["data", "prepare", "--root", bare.name]) == 2
    assert ": prepared for v1.0-mini: one folder" in capsys.readouterr().err


def test_nuscenes_own_versions_take_the_predefined_splits(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables of a copy are called v1.0-mini and its scenes as two of mini_train, one of mini_val."""
    from nuscenes.utils.splits import mini_train, mini_val

    folder = (bare / "v1.0-synth").rename(bare / "v1.0-mini")
    names = {
        "scene-0001": mini_train[0],
        "scene-0002": mini_train[1],
        "scene-0003": mini_val[0],
    }
    content = json.loads((folder / "scene.json").read_text())
    for row in content:
        row["name"] = names[row["name"]]
    for name, value in (("scene.json", content), ("splits.json", {})):
        (folder / name).unlink()
        (folder / name).write_text(json.dumps(value))
    assert main(["data", "prepare", "--root", str(bare), "--no-objects"]) == 0
    expected = "6 samples of mini_train\n        3 samples of mini_val\n"
    assert capsys.readouterr().out.endswith(expected)
    infos = pickle.loads((bare / "aqr_infos" / "mini_val.pkl").read_bytes())
    assert {info["scene_name"] for info in infos["data_list"]} == {mini_val[0]}
    assert main(["data", "check", "--root", str(bare), "--all"]) == 0


def test_objects_are_what_the_sensors_saw(prepared_root: Path, nusc: Any) -> None:
    """Points against the devkit's own points in the annotation's box, pictures against the image."""
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    from aqr_exp.data.classes import CLASS_NAMES
    from aqr_exp.data.gt_database.store import GtDatabase

    store = GtDatabase(objects_folder(prepared_root, "synth_train"))
    infos = pickle.loads((prepared_root / "aqr_infos" / "synth_train.pkl").read_bytes())
    compared = pictured = 0
    for place in range(0, len(store.objects), 5):
        row = store.objects[place]
        item = store.read(place, sweeps=10)
        info = infos["data_list"][int(row["frame"])]
        lidar = info["lidar_points"]["sample_data_token"]
        path, boxes, _ = nusc.get_sample_data(lidar)
        away = [np.abs(box.center - item.box[:3]).max() for box in boxes]
        box = boxes[int(np.argmin(away))]
        assert min(away) < 1e-6
        cloud = LidarPointCloud.from_file(path).points[:3]
        near = cloud[:, np.hypot(*(cloud[:2] - box.center[:2, None])) < 15]
        expected = near[:, points_in_box(box, near)].T
        own = item.points[item.points[:, 5] == 0]
        assert len(own) == row["points"][0]
        if abs(len(own) - len(expected)) == 0:  # points on the very border may fall either way
            np.testing.assert_allclose(own[:, :3], expected, atol=1e-5)
            compared += 1
        assert (np.diff(item.points[:, 5]) >= 0).all()
        for sweeps in (0, 1):  # those of the keyframe and of so many sweeps, and no others
            read = store.read(place, sweeps=sweeps).points
            assert len(read) == row["points"][: sweeps + 1].sum()
            assert (read[:, 5] <= sweeps).all()
        assert item.label == CLASS_NAMES.index(CLASS_NAMES[int(row["label"])])
        for patch in item.patches:
            image = _stored_image(prepared_root, info, patch.view)
            height, width = patch.image.shape[:2]
            there = image[patch.top : patch.top + height, patch.left : patch.left + width]
            assert there.shape == patch.image.shape
            away_grey = np.abs(there.astype(float) - patch.image).mean()
            assert away_grey < 6.0  # JPEG of a JPEG
            pictured += 1
    assert compared > 10
    assert pictured > 10
    assert store.index["classes"] == {
        name: int((store.objects["label"] == label).sum()) for label, name in enumerate(CLASS_NAMES)
    }


def _stored_image(root: Path, info: dict[str, Any], view: int) -> np.ndarray:
    import cv2

    from aqr_exp.data.classes import CAMERA_NAMES

    name = CAMERA_NAMES[view]
    image = cv2.imread(str(root / "samples" / name / info["images"][name]["img_path"]))
    assert image is not None
    return np.asarray(image)
