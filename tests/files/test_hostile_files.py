"""Anything may lie where a file is expected: readers end at once and name it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.errors import AqrExpError
from aqr_exp.files.arrays import read_arrays
from aqr_exp.files.atomic import FORGOTTEN_S, clear_litter, draft_of, replace_text
from aqr_exp.files.cache import read_cache
from aqr_exp.files.checksum import read_checked_json
from aqr_exp.files.reading import SMALL_BYTES, file_sha256, open_regular, read_content, read_json


def put_socket(path: Path) -> None:
    folder = Path.cwd()
    os.chdir(path.parent)  # a socket's whole path may be too long for its name
    try:
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    finally:
        os.chdir(folder)


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a socket": put_socket,
    "a folder": Path.mkdir,
    "a symbolic link": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_named_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state.json"
    KINDS[kind](path)
    told = f"{path} is damaged: it is {kind}, not a file"
    for read in (read_content, read_json, lambda path: read_checked_json(path, "run/state.json")):
        with pytest.raises(AqrExpError) as refused:
            read(path)
        assert str(refused.value) == told
    with pytest.raises(AqrExpError, match=f"it is {kind}, not a file"):
        read_arrays(path, "anything")
    with pytest.raises(OSError, match=f"it is {kind}, not a file"):
        file_sha256(path)
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR):
        with pytest.raises(OSError, match=f"it is {kind}, not a file"):
            open_regular(path, flags)
    assert read_cache(path, list[int]) is None


def test_a_device_is_not_read() -> None:
    with pytest.raises(AqrExpError, match="/dev/zero is damaged: it is a device, not a file"):
        read_content(Path("/dev/zero"))


def test_within_a_store_a_link_is_not_followed_and_elsewhere_it_is(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text('{"a": 1}')
    link.symlink_to(target)
    assert read_json(link) == {"a": 1}
    with pytest.raises(AqrExpError, match=r"link\.json is damaged: it is a symbolic link"):
        read_checked_json(link, "run/link.json")


def test_a_file_that_is_far_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    began = time.process_time()
    with pytest.raises(AqrExpError) as refused:
        read_checked_json(path, "run/state.json")
    assert str(refused.value) == (
        f"{path} is damaged: {10 << 30} bytes, at most {SMALL_BYTES} were expected"
    )
    assert time.process_time() - began < 1.0
    with path.open("wb") as file:
        file.truncate(2 << 30)
    assert read_cache(path, list[int]) is None


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("form", ["{}", '{{"a": {}}}', "[1,{}]", '{{"a":[\n{} ]}}'])
def test_a_number_that_nothing_can_hold_is_damage(tmp_path: Path, form: str, sign: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(form.format(sign + "1" * 400))
    with pytest.raises(AqrExpError) as refused:
        read_json(path, object)
    assert str(refused.value) == f"{path} is damaged: a number of 400 digits"


def test_the_longest_numbers_and_digits_in_texts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    text = "9" * 400
    path.write_text(f'{{"a": {2**63 - 1}, "b": {-(2**63)}, "c": "a {text}, b", "d": 0.{text}}}')
    assert read_json(path) == {"a": 2**63 - 1, "b": -(2**63), "c": f"a {text}, b", "d": 1.0}


def draft_by(pid: int, path: Path) -> Path:
    """The draft that another process of this machine would have begun."""
    own = draft_of(path)
    return own.with_name(own.name.replace(f".{os.getpid()}.", f".{pid}."))


def test_litter_of_the_dead_goes_when_somebody_writes_there(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, dead_folder = (draft_by(ended.pid, tmp_path / name) for name in ("state.json", "a-s0"))
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "kept").touch()
    linked = draft_by(ended.pid, tmp_path / "linked")
    linked.symlink_to(outside)
    living = draft_by(os.getppid(), tmp_path / "state.json")
    of_root = draft_by(1, tmp_path / "state.json")
    elsewhere = tmp_path / f".state.json.{ended.pid}.{'ab' * 8}.tmp"
    forgotten, older = tmp_path / ".metrics.json.12.0a1b2c3d.tmp", tmp_path / ".a-s0.0a1b2c3d.tmp"
    foreign = tmp_path / "notes.tmp"
    for file in (dead, living, of_root, elsewhere, forgotten, foreign):
        file.touch()
    for folder in (dead_folder, older):
        folder.mkdir()
        (folder / "spec.yaml").touch()
    for path in (forgotten, older, living):
        os.utime(path, (0, time.time() - FORGOTTEN_S - 60))
    replace_text(tmp_path / "new.json", "{}")
    kept = {living.name, of_root.name, elsewhere.name, foreign.name, "new.json"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert (outside / "kept").exists()


@pytest.mark.parametrize("number", ["0", "99999999999999999999", "x"])
def test_a_draft_of_no_process_is_left_for_a_day(tmp_path: Path, number: str) -> None:
    own = draft_of(tmp_path / "state.json")
    strange = own.with_name(own.name.replace(f".{os.getpid()}.", f".{number}."))
    strange.touch()
    clear_litter(tmp_path)
    assert strange.exists()
