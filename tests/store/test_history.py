import json
import zlib
from pathlib import Path

import pytest

from aqr_exp.errors import AqrExpError
from aqr_exp.store.history import append_line, read_lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "history.jsonl"
    for step in (1, 2, 3):
        append_line(made, {"attempt": 1, "kind": "train", "step": step, "loss": 0.125})
    return made


def test_a_line_ends_with_the_crc_of_what_stands_before_it(tmp_path: Path) -> None:
    append_line(tmp_path / "h", {"attempt": 1, "step": 7})
    crc = zlib.crc32(b'{"attempt": 1, "step": 7')
    assert (tmp_path / "h").read_text() == f'{{"attempt": 1, "step": 7, "crc32": "{crc:08x}"}}\n'
    append_line(tmp_path / "h", {})
    assert read_lines(tmp_path / "h") == [{"attempt": 1, "step": 7}, {}]


def test_any_flipped_bit_is_named_with_its_line(path: Path) -> None:
    whole = path.read_bytes()
    length = len(whole) // 3
    for place in range(length, 2 * length):
        for bit in range(8):
            flipped = bytes([whole[place] ^ 1 << bit])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            with pytest.raises(AqrExpError, match=r"is damaged: line [23] ") as caught:
                read_lines(path)
            assert str(path) in str(caught.value)


def test_a_truncation_loses_lines_and_changes_none(path: Path) -> None:
    whole, entries = path.read_bytes(), read_lines(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        read = read_lines(path)
        assert read == entries[: len(read)]
        # The line break alone may lack.
        assert len(read) == (whole[:length] + b"\n").replace(b"}\n", b"}|").count(b"|")


def test_lines_of_an_older_version_are_read(path: Path) -> None:
    older = {"kind": "train", "step": 0, "loss": 9.5}
    path.write_text(json.dumps(older) + "\n" + path.read_text())
    assert [line["step"] for line in read_lines(path)] == [0, 1, 2, 3]
    assert read_lines(path)[0] == older


def test_a_changed_number_is_called_a_misfit(path: Path) -> None:
    path.write_text(
        path.read_text().replace('"step": 2, "loss": 0.125', '"step": 2, "loss": 0.725')
    )
    with pytest.raises(AqrExpError) as caught:
        read_lines(path)
    assert str(caught.value) == f"{path} is damaged: line 2 does not fit its checksum"


def test_a_line_torn_by_a_kill_is_the_only_loss(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])
    append_line(path, {"attempt": 2, "kind": "train", "step": 4, "loss": 0.5})
    assert [line["step"] for line in read_lines(path)] == [1, 2, 4]
