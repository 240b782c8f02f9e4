"""Files of a prepared data set that are no longer what was prepared."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_data import FILES, write_data

from aqr_exp.config import data_files
from aqr_exp.config.data_files import record_files
from aqr_exp.config.inputs import (
    data_changes,
    identity_path,
    read_data_identity,
    record_path,
    with_data_identity,
)
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError

CLOUD, IMAGE, INFOS = (
    "samples/LIDAR_TOP/cloud.bin",
    "samples/CAM_FRONT/image.jpg",
    "aqr_infos/synth_train.pkl",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AQR_EXP_DATA", str(tmp_path))
    write_data(tmp_path / "synth")
    return tmp_path / "synth"


@pytest.fixture
def config(root: Path) -> RunConfig:
    return load_run("baseline")


def changes(root: Path) -> list[str]:
    return data_changes(root, read_data_identity(root))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5])


def other_content_at_the_same_time(path: Path) -> None:
    found = path.stat()
    path.write_bytes(b"?" * found.st_size)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def other_file_of_the_same_size(path: Path) -> None:
    found = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(b"?" * found.st_size)
    os.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns))
    beside.rename(path)


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_in_its_place(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


REPLACED = "was replaced since it was prepared"
DAMAGES: dict[Callable[[Path], None], str] = {
    empty: "has 0 bytes, {size} when prepared",
    cut: "has 5 bytes, {size} when prepared",
    other_content_at_the_same_time: REPLACED,
    other_file_of_the_same_size: REPLACED,
    Path.unlink: "is missing",
    folder_in_its_place: "is no regular file",
    pipe_in_its_place: "is no regular file",
    link_to_nowhere: "is missing",
}


@pytest.mark.parametrize("name", [name for name in FILES if "RADAR" not in name])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_changed_file_is_named_with_what_changed(
    root: Path, name: str, damage: Callable[[Path], None]
) -> None:
    assert changes(root) == []
    damage(root / name)
    assert changes(root) == [f"{name} {DAMAGES[damage].format(size=len(FILES[name]))}"]


def test_a_run_is_refused_in_one_line(config: RunConfig, root: Path) -> None:
    filled = with_data_identity(config)
    cut(root / INFOS)
    Path.unlink(root / CLOUD)
    for one in (config, filled):
        with pytest.raises(RequestError) as refused:
            with_data_identity(one)
        assert str(refused.value) == (
            f"data.root={root}: {INFOS} has 5 bytes, {len(FILES[INFOS])} when prepared (and 1 more): "
            "restore it, or make the data anew (`aqr-exp data synth --force`)"
        )


def test_what_no_run_reads_is_not_looked_at(root: Path) -> None:
    empty(root / "samples/RADAR_FRONT/echo.pcd")
    (root / "samples/LIDAR_TOP/more.bin").write_text("of no sample")
    assert changes(root) == []


def test_long_names_of_files_are_cut_in_the_middle(config: RunConfig, root: Path) -> None:
    name = "n015-2018-07-24-11-22-45+0800__CAM_FRONT__1532402927612460.jpg"
    (root / "samples/CAM_FRONT" / name).write_text("a picture")
    record_files(record_path(root), root, [root / "samples/CAM_FRONT" / name])
    empty(root / "samples/CAM_FRONT" / name)
    with pytest.raises(RequestError) as refused:
        with_data_identity(config)
    text = str(refused.value).removeprefix(f"data.root={root}")
    assert text.startswith(
        ": samples/CAM_FRONT/n015-2018-07...AM_FRONT__1532402927612460.jpg has 0 b"
    )
    assert len(text) <= 160


def test_a_copy_is_read_once_and_known_by_its_times_from_then_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, copy_function=shutil.copyfile)  # with other times
    monkeypatch.setattr(data_files, "settled", lambda _: True)
    hashed: list[Path] = []
    real = data_files.file_sha256
    monkeypatch.setattr(data_files, "file_sha256", lambda path: hashed.append(path) or real(path))
    assert changes(copy) == []
    assert len(hashed) == len(FILES)  # the radar is not read; the identity is
    hashed.clear()
    assert changes(copy) == []
    assert hashed == []
    cut(copy / IMAGE)
    assert changes(copy) == [f"{IMAGE} has 5 bytes, {len(FILES[IMAGE])} when prepared"]


def test_a_file_that_was_just_written_is_hashed_again(root: Path) -> None:
    """Within a tick of the clock of a file system a second change does not show in the times."""
    recorded = json.loads(record_path(root).read_text())
    size, written, changed, digest = recorded["aqr_infos"]["synth_val.pkl"]
    assert (size, changed, len(digest)) == (len(FILES["aqr_infos/synth_val.pkl"]), 0, 64)
    assert abs(time.time_ns() - written) < 600e9


def test_large_data_are_known_by_sizes_and_times_and_their_tables_by_content(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "HASH_WHOLE_BYTES", 1)
    write_data(root)
    assert changes(root) == []
    found = (root / IMAGE).stat()
    os.utime(root / IMAGE, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert changes(root) == [f"{IMAGE} {REPLACED}"]
    os.utime(root / IMAGE, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert changes(root) == []
    other_content_at_the_same_time(root / "v1.0-synth/log.json")
    other_content_at_the_same_time(root / INFOS)
    assert sorted(changes(root)) == [f"{INFOS} {REPLACED}", f"v1.0-synth/log.json {REPLACED}"]


def test_data_that_an_older_version_prepared_are_hashed_and_then_recorded(root: Path) -> None:
    record_path(root).unlink()
    assert changes(root) == []
    assert INFOS.partition("/")[2] in json.loads(record_path(root).read_text())["aqr_infos"]
    record_path(root).write_text("{")  # damaged
    cut(root / INFOS)
    (found,) = changes(root)
    assert found.startswith("the content is ")
    digits = read_data_identity(root)["fingerprint"]
    assert found.endswith(f", and {digits} was prepared")


def test_an_identity_that_was_edited_is_not_believed(root: Path) -> None:
    path = identity_path(root)
    path.write_text(path.read_text().replace('"synthetic": true', '"synthetic": false'))
    (found,) = changes(root)
    assert found.startswith("aqr_infos/fingerprint.json has ")
    record_path(root).unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fingerprint": "f" * 16}))
    assert changes(root)[0].endswith(f"and {'f' * 16} was prepared")


def test_a_folder_that_cannot_be_written_is_compared_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, text: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    copy = root.with_name("copy")
    shutil.copytree(root, copy, copy_function=shutil.copyfile)
    before = record_path(copy).read_bytes()
    monkeypatch.setattr(data_files, "replace_text", refuse)
    assert changes(copy) == []
    record_path(root).unlink()
    assert changes(root) == []
    assert record_path(copy).read_bytes() == before


def test_every_file_of_a_folder_that_is_gone_is_named(root: Path) -> None:
    shutil.rmtree(root / "samples")
    assert sorted(changes(root)) == [f"{IMAGE} is missing", f"{CLOUD} is missing"]
