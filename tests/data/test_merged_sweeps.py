"""Sweeps that `data prepare` merged: the same points to the bit, or refused and made anew."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import sweeps_folder, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.data.checks.data_root import check_root
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.info_files import read_info_file
from aqr_exp.data.merged_sweeps import file_name, merge_sample, merged_faults, read_merged
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.train.runner_config import register_plugins

SPLITS = ("synth_train", "synth_val")


def prepare(root: Path, *options: str) -> int:
    return main(
        ["data", "prepare", "--root", str(root), "--no-objects", "--workers", "1", *options]
    )


@pytest.fixture(scope="module")
def merged_root(synth_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `synth_root` with merged sweeps; read only."""
    root = tmp_path_factory.mktemp("merged") / "it's merged"
    shutil.copytree(synth_root, root, copy_function=os.link)
    assert prepare(root, "--merge-sweeps") == 0
    return root


@pytest.fixture
def copy(merged_root: Path, tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    shutil.copytree(merged_root, root, copy_function=os.link)
    return root


def clouds(
    root: Path, *typed: str, split: str = "synth_train", training: bool = False
) -> list[Any]:
    from mmdet3d.registry import DATASETS

    register_plugins()
    config = load_run("baseline", [f"data.root={str(root)!r}", *typed])
    settings = dataset_config(config, split, training=training)
    (first,) = [step for step in settings["pipeline"] if step["type"] == "LoadLidarSweeps"]
    assert first.get("merged") in {None, str(sweeps_folder(root, split))}
    assert ("merged" in first) == sweeps_folder(root, split).exists()
    data = DATASETS.build(settings)
    return [data[SampleKey(at, 0, at)]["inputs"]["points"].numpy() for at in range(len(data))]


@pytest.mark.parametrize("ego", ["true", "false"])
@pytest.mark.parametrize("sweeps", [0, 1, 10])
def test_points_are_equal_to_the_bit(
    synth_root: Path, merged_root: Path, sweeps: int, ego: str
) -> None:
    typed = [f"data.sweeps={sweeps}", f"data.ego_points={ego}"]
    for split, training in (("synth_train", True), ("synth_val", False)):
        one, other = (
            clouds(root, *typed, split=split, training=training)
            for root in (synth_root, merged_root)
        )
        assert len(one) > 2
        for plain, merged in zip(one, other, strict=True):
            np.testing.assert_array_equal(plain.view(np.int32), merged.view(np.int32))


def test_they_are_what_is_read(copy: Path) -> None:
    before = clouds(copy, "data.sweeps=1")
    path = sweeps_folder(copy, "synth_train") / file_name(0)
    content = bytearray(path.read_bytes())
    content[96 + 3 : 96 + 4] = b"\xc4"  # the first x: far to the left, out of range
    path.unlink()
    path.write_bytes(content)
    after = clouds(copy, "data.sweeps=1")
    assert len(after[0]) == len(before[0]) - 1
    assert all(len(one) == len(other) for one, other in zip(after[1:], before[1:], strict=True))


def test_rows_whose_last_digits_depend_on_the_others_are_read_from_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aqr_exp.data import geometry

    drawn = np.random.default_rng(0).uniform(-5, 5, (40, 5)).astype(np.float32)
    drawn.tofile(tmp_path / "a.bin")
    cloud = {"lidar_path": str(tmp_path / "a.bin"), "lidar2sensor": np.eye(4).tolist()}
    sample = {
        "timestamp": 1.0,
        "lidar_points": cloud,
        "lidar_sweeps": [{"timestamp": 0.5, "lidar_points": cloud}],
    }
    near = int((np.abs(drawn[:, :2]) < 1).all(axis=1).sum())
    assert near
    path = tmp_path / file_name(0)
    path.parent.mkdir()
    path.write_bytes(merge_sample(sample))
    kept = read_merged(tmp_path, 0, 1, ego_points=False)
    assert kept is not None
    assert len(kept) == 80 - near
    plain = geometry.to_keyframe
    monkeypatch.setattr(  # as a kernel whose sums depend on the number of rows
        geometry, "to_keyframe", lambda points, pose: plain(points, pose) + len(points) * 1e-3
    )
    path.write_bytes(merge_sample(sample))
    assert read_merged(tmp_path, 0, 1, ego_points=False) is None
    whole = read_merged(tmp_path, 0, 1, ego_points=True)
    assert whole is not None
    assert len(whole) == 80
    first = read_merged(tmp_path, 0, 0, ego_points=True)
    assert first is not None
    np.testing.assert_array_equal(first[:, :4], drawn[:, :4])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def negative(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8:16] = (-5).to_bytes(8, "little", signed=True)
    path.write_bytes(content)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, empty, negative, fifo, gone])
def test_a_damaged_file_is_named_when_it_is_read(
    copy: Path, damage: Callable[[Path], None]
) -> None:
    folder = sweeps_folder(copy, "synth_train")
    path = folder / file_name(1)
    shutil.copyfile(path, path.with_suffix(".own"))
    path.with_suffix(".own").replace(path)
    damage(path)
    with pytest.raises(AqrExpError, match=r"sweeps/000001\.bin (is damaged|cannot be read)"):
        read_merged(folder, 1, 2, ego_points=True)


def flip(root: Path) -> str:
    path = sweeps_folder(root, "synth_val") / file_name(0)
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.unlink()
    path.write_bytes(content)
    return "sweeps/000000.bin was replaced since it was prepared"


def missing(root: Path) -> str:
    (sweeps_folder(root, "synth_val") / file_name(0)).unlink()
    return "sweeps/000000.bin is missing"


def unfinished(root: Path) -> str:
    (sweeps_folder(root, "synth_val") / "index.json").unlink()
    return "index.json is missing"


def unrecorded(root: Path) -> str:
    (sweeps_folder(root, "synth_val") / "files.json").unlink()
    return "files.json"


def stale(root: Path) -> str:
    path = sweeps_folder(root, "synth_val") / "index.json"
    content = path.read_text()
    path.unlink()
    path.write_text(content.replace('"infos_sha256": "', '"infos_sha256": "0'))
    return "of other data than"


@pytest.mark.parametrize("damage", [flip, missing, unfinished, unrecorded, stale])
def test_what_is_wrong_is_refused_found_and_made_anew(
    copy: Path, damage: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = damage(copy)
    config = load_run("baseline", [f"data.root={str(copy)!r}"])
    with pytest.raises(AqrExpError) as caught:
        with_data_identity(config)
    assert words.split()[-1] in str(caught.value)
    assert "\n" not in str(caught.value)
    found = check_root(copy, "v1.0-synth", 10).faults
    assert [fault.kind for fault in found] == ["merged sweeps"]
    assert found[0].file.startswith("aqr_infos/synth_val.sweeps")
    assert found[0].cause.endswith("run `aqr-exp data prepare`")
    before = (sweeps_folder(copy, "synth_train") / file_name(0)).stat()
    assert prepare(copy) == 0
    capsys.readouterr()
    assert not [fault for split in SPLITS for fault in merged_faults(copy, split)]
    assert with_data_identity(config).data.fingerprint
    after = (sweeps_folder(copy, "synth_train") / file_name(0)).stat()
    assert after.st_ino == before.st_ino  # what was sound is kept


def test_clouds_that_change_are_merged_anew(copy: Path) -> None:
    info = read_info_file(copy / "aqr_infos" / "synth_train.pkl")["data_list"][0]
    cloud = copy / "samples" / "LIDAR_TOP" / info["lidar_points"]["lidar_path"]
    points = np.fromfile(cloud, np.float32)
    points[0] = 7.25  # metres: as many bytes, and the info files name the same
    cloud.unlink()
    points.tofile(cloud)
    with pytest.raises(RequestError, match="was replaced since it was prepared"):
        with_data_identity(load_run("baseline", [f"data.root={str(copy)!r}"]))
    assert prepare(copy) == 0
    folder = sweeps_folder(copy, "synth_train")
    found = read_merged(folder, 0, 0, ego_points=True)
    assert found is not None
    assert found[0, 0] == 7.25


def test_a_merge_that_was_killed_continues(synth_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "half"
    shutil.copytree(synth_root, root, copy_function=os.link)
    assert prepare(root, "--merge-sweeps") == 0
    final = sweeps_folder(root, "synth_train")
    wanted = {path.name: path.read_bytes() for path in final.glob("sweeps/*.bin")}
    parts = final.with_name(f".{final.name}.parts")
    final.rename(parts)
    index = (parts / "index.json").read_text()
    (parts / "index.json").unlink()
    (parts / "stamp.json").write_text(index)
    kept, lost = parts / file_name(0), parts / file_name(1)
    inode = kept.stat().st_ino
    lost.unlink()
    assert prepare(root, "--merge-sweeps") == 0
    assert (final / file_name(0)).stat().st_ino == inode
    assert {path.name: path.read_bytes() for path in final.glob("sweeps/*.bin")} == wanted
    assert sorted(path.name for path in final.iterdir()) == ["files.json", "index.json", "sweeps"]
    assert not parts.exists()


def test_without_asking_nothing_is_merged(synth_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "plain"
    shutil.copytree(synth_root, root, copy_function=os.link)
    assert prepare(root) == 0
    assert not list((root / "aqr_infos").glob("*.sweeps"))


@pytest.mark.parametrize(("name", "severity"), [("beams", "16"), ("stuck_lidar", "2")])
def test_corruptions_of_files_and_of_time_read_what_they_would_without(
    synth_root: Path, merged_root: Path, name: str, severity: str
) -> None:
    from mmdet3d.registry import DATASETS

    register_plugins()

    def points(root: Path) -> list[Any]:
        config = load_run("baseline", [f"data.root={str(root)!r}", "data.sweeps=1"])
        case = CorruptionCase(name, severity)
        settings = dataset_config(config, "synth_train", training=False, corruption=case)
        data = DATASETS.build(settings)
        return [data[SampleKey(at, 0, at)]["inputs"]["points"].numpy() for at in range(len(data))]

    plain, changed = clouds(merged_root, "data.sweeps=1"), points(merged_root)
    assert any(len(one) != len(other) for one, other in zip(plain, changed, strict=True))
    for one, other in zip(points(synth_root), changed, strict=True):
        np.testing.assert_array_equal(one, other)
