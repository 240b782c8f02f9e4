import json
from pathlib import Path

import pytest

from aqr_exp.config import data_files
from aqr_exp.data.info_files import Part, prepared_part, write_fingerprint

NAMED = {"samples/CAM_FRONT/a.jpg", "sweeps/LIDAR_TOP/b.pcd.bin", "samples/CAM_FRONT/not here.jpg"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "samples/CAM_FRONT/a.jpg": "picture",
        "sweeps/LIDAR_TOP/b.pcd.bin": "points",
        "v1.0-x/log.json": '[{"logfile": "synthetic-n001"}]',
        "aqr_infos/one.pkl": "infos",
        "maps/m.png": "map",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def content_fingerprint(root: Path) -> str:
    infos = [root / "aqr_infos" / "one.pkl"]
    return data_files.content_fingerprint(root, "v1.0-x", infos)


@pytest.mark.parametrize(
    "name",
    [
        "samples/CAM_FRONT/a.jpg",
        "sweeps/LIDAR_TOP/b.pcd.bin",
        "v1.0-x/log.json",
        "aqr_infos/one.pkl",
    ],
)
def test_every_byte_a_run_reads_counts(root: Path, name: str) -> None:
    before = content_fingerprint(root)
    assert content_fingerprint(root) == before
    text = (root / name).read_text()
    (root / name).write_text("P" + text[1:])
    assert content_fingerprint(root) != before


def test_what_no_run_reads_does_not_count(root: Path) -> None:
    before = content_fingerprint(root)
    (root / "README.txt").write_text("words")
    (root / "maps" / "m.png").write_text("other")
    assert content_fingerprint(root) == before


def test_large_data_count_by_name_and_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_files, "HASH_WHOLE_BYTES", 1)
    before = content_fingerprint(root)
    (root / "samples" / "CAM_FRONT" / "a.jpg").write_text("Picture")
    assert content_fingerprint(root) == before
    (root / "samples" / "CAM_FRONT" / "a.jpg").write_text("pictures")
    assert content_fingerprint(root) != before


def test_file_says_splits_and_whether_synthetic(root: Path) -> None:
    write_fingerprint(root, "v1.0-x", {"one": 7})
    written = json.loads((root / "aqr_infos" / "fingerprint.json").read_text())
    assert written == {
        "fingerprint": content_fingerprint(root),
        "version": "v1.0-x",
        "splits": {"one": 7},
        "synthetic": True,
    }
    (root / "v1.0-x" / "log.json").write_text('[{"logfile": "n015-2018-07-24-11-22-45+0800"}]')
    write_fingerprint(root, "v1.0-x", {"one": 7})
    assert not json.loads((root / "aqr_infos" / "fingerprint.json").read_text())["synthetic"]


def named_fingerprint(root: Path) -> str:
    return data_files.content_fingerprint(root, "v1.0-x", [root / "aqr_infos" / "one.pkl"], NAMED)


def test_files_that_no_table_names_do_not_count(root: Path) -> None:
    before = named_fingerprint(root)
    assert before == content_fingerprint(root)
    for name in ("samples/CAM_FRONT/.DS_Store", "samples/stray.txt", "v1.0-x/._log.json"):
        (root / name).write_text("left by a file manager")
    assert named_fingerprint(root) == before


def test_links_to_another_disk_count_as_what_they_lead_to(root: Path) -> None:
    before = named_fingerprint(root)
    (root / "samples" / "CAM_FRONT").rename(root / "disk")
    (root / "samples" / "CAM_FRONT").symlink_to(root / "disk")
    assert named_fingerprint(root) == before
    (root / "disk" / "a.jpg").write_text("Picture")
    assert named_fingerprint(root) != before


def test_file_says_which_part_of_the_version_was_prepared(root: Path) -> None:
    assert prepared_part(root) == Part()
    part = Part(scenes=("scene-0001", "scene-0007"), keyframes_only=True)
    write_fingerprint(root, "v1.0-x", {"one": 7}, NAMED, part)
    assert prepared_part(root) == part
    assert str(part) == "2 scenes only, keyframes only"
