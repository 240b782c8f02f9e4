import json
from pathlib import Path

import pytest

from aqr_exp.data import info_files
from aqr_exp.data.info_files import content_fingerprint, write_fingerprint


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
    before = content_fingerprint(root, "v1.0-x", ["one"])
    assert content_fingerprint(root, "v1.0-x", ["one"]) == before
    text = (root / name).read_text()
    (root / name).write_text("P" + text[1:])
    assert content_fingerprint(root, "v1.0-x", ["one"]) != before


def test_what_no_run_reads_does_not_count(root: Path) -> None:
    before = content_fingerprint(root, "v1.0-x", ["one"])
    (root / "README.txt").write_text("words")
    (root / "maps" / "m.png").write_text("other")
    assert content_fingerprint(root, "v1.0-x", ["one"]) == before


def test_large_data_count_by_name_and_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info_files, "_HASH_WHOLE_BYTES", 1)
    before = content_fingerprint(root, "v1.0-x", ["one"])
    (root / "samples" / "CAM_FRONT" / "a.jpg").write_text("Picture")
    assert content_fingerprint(root, "v1.0-x", ["one"]) == before
    (root / "samples" / "CAM_FRONT" / "a.jpg").write_text("pictures")
    assert content_fingerprint(root, "v1.0-x", ["one"]) != before


def test_file_says_splits_and_whether_synthetic(root: Path) -> None:
    write_fingerprint(root, "v1.0-x", {"one": 7})
    written = json.loads((root / "aqr_infos" / "fingerprint.json").read_text())
    assert written == {
        "fingerprint": content_fingerprint(root, "v1.0-x", ["one"]),
        "version": "v1.0-x",
        "splits": {"one": 7},
        "synthetic": True,
    }
    (root / "v1.0-x" / "log.json").write_text('[{"logfile": "n015-2018-07-24-11-22-45+0800"}]')
    write_fingerprint(root, "v1.0-x", {"one": 7})
    assert not json.loads((root / "aqr_infos" / "fingerprint.json").read_text())["synthetic"]
