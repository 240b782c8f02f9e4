"""Data sets on a disk that fills: one line, nothing half-written, and it goes on when there is room."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from in_a_child import aqr_exp, fill, on_a_disk

from aqr_exp.cli.main import main

NO_SPACE = "no space left on device (free some space, then type it again)"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_preparing_goes_on_when_there_is_room(synth_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "disk" / "root"
    root.parent.mkdir()
    typed = ("data", "prepare", "--root", str(root), "--workers", "2")

    def full() -> Any:
        shutil.copytree(synth_root, root, ignore=shutil.ignore_patterns("aqr_infos"))
        before = names(root)
        filler = fill(root.parent)
        ended, left = [aqr_exp(*typed)], [names(root)]
        for room in (16_000, 300_000):  # for the lease alone, and for parts of the info files
            os.truncate(filler, max(0, filler.stat().st_size - room))
            ended.append(aqr_exp(*typed))
            left.append([name for name in names(root) if not name.startswith("aqr_infos/.")])
        filler.unlink()
        return before, ended, left, aqr_exp(*typed), names(root)

    before, ended, left, last, after = on_a_disk(root.parent, "64m", full)
    for one in ended[:2]:
        assert one.code == 2
        assert one.fault.endswith(NO_SPACE)
    assert left[0] == before
    # What has been written whole by then is kept, and is no prepared data set yet.
    for found in left[1:]:
        assert not {"aqr_infos/fingerprint.json", "aqr_infos/files.json"}.intersection(found)
    assert last.code == 0
    assert not [name for name in after if name.endswith(".tmp")]
    assert "aqr_infos/synth_train.objects/index.json" in after


def test_making_data_leaves_nothing_on_a_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    scenes = ("--train-scenes", "1", "--val-scenes", "1", "--keyframes", "1", "--workers", "2")
    typed = ("data", "synth", *scenes, "--root", str(disk / "above" / "synth"))

    def full() -> Any:
        (disk / "above").mkdir()
        return aqr_exp(*typed), names(disk)

    ended, left = on_a_disk(disk, "256k", full)
    assert ended.code == 2
    assert ended.fault == f"aqr-exp: {disk / 'above' / 'synth'}: {NO_SPACE}"
    assert left == ["above"], "an empty folder that was there stays"


def test_making_data_that_is_refused_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.PATIENCE_S", 0.1)
    there = tmp_path / "there"
    there.mkdir()
    held = there / ".synth.lease"
    held.mkdir()
    (held / "stray").mkdir()
    (held / "stray" / "file").touch()
    assert main(["data", "synth", "--root", str(there / "synth")]) == 2
    assert "is worked on by" in capsys.readouterr().err
    assert names(there) == [".synth.lease", ".synth.lease/stray", ".synth.lease/stray/file"]
