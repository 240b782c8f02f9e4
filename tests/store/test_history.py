import json
import tracemalloc
import zlib
from pathlib import Path

import pytest

from aqr_exp.errors import AqrExpError
from aqr_exp.store.history import append_line, lines_in, mean_of_last, read_lines, with_crc

PLACE = "baseline-ab-s0/history.jsonl"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "history.jsonl"
    for step in (1, 2, 3):
        append_line(made, {"attempt": 1, "kind": "train", "step": step, "loss": 0.125}, PLACE)
    return made


def test_a_line_ends_with_the_crc_of_its_place_and_of_what_stands_before_it(tmp_path: Path) -> None:
    append_line(tmp_path / "h", {"attempt": 1, "step": 7}, PLACE)
    crc = zlib.crc32(b'baseline-ab-s0/history.jsonl{"attempt": 1, "step": 7')
    assert (tmp_path / "h").read_text() == f'{{"attempt": 1, "step": 7, "crc32": "{crc:08x}"}}\n'
    append_line(tmp_path / "h", {}, PLACE)
    assert read_lines(tmp_path / "h", PLACE) == [{"attempt": 1, "step": 7}, {}]


def test_any_flipped_bit_is_named_with_its_line(path: Path) -> None:
    whole = path.read_bytes()
    length = len(whole) // 3
    for place in range(length, 2 * length):
        for bit in range(8):
            flipped = bytes([whole[place] ^ 1 << bit])
            path.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            with pytest.raises(AqrExpError, match=r"is damaged: line [23] ") as caught:
                read_lines(path, PLACE)
            assert str(path) in str(caught.value)


def test_a_truncation_loses_lines_and_changes_none(path: Path) -> None:
    whole, entries = path.read_bytes(), read_lines(path, PLACE)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        read = read_lines(path, PLACE)
        assert read == entries[: len(read)]
        # The line break alone may lack.
        assert len(read) == (whole[:length] + b"\n").replace(b"}\n", b"}|").count(b"|")


def test_lines_of_older_versions_are_read_in_their_runs_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    first = {"kind": "train", "step": 0, "loss": 9.5}
    second = {"attempt": 1, "kind": "train", "step": 1, "loss": 0.125}
    crc = zlib.crc32(json.dumps(second)[:-1].encode())
    lines = [json.dumps(first), json.dumps(second)[:-1] + f', "crc32": "{crc:08x}"}}']
    assert lines[1] == with_crc(json.dumps(second))
    path.write_text("\n".join(lines) + "\n")
    assert read_lines(path, None) == [first, second]
    for line in lines:
        path.write_text(line + "\n")
        with pytest.raises(AqrExpError, match="line 1 does not fit its checksum"):
            read_lines(path, PLACE)


@pytest.mark.parametrize("place", ["baseline-ab-s1/history.jsonl", None])
def test_a_line_of_another_run_does_not_fit(path: Path, place: str | None) -> None:
    with pytest.raises(AqrExpError, match="is damaged: line 1 does not fit its checksum"):
        read_lines(path, place)


def test_a_changed_number_is_called_a_misfit(path: Path) -> None:
    path.write_text(
        path.read_text().replace('"step": 2, "loss": 0.125', '"step": 2, "loss": 0.725')
    )
    with pytest.raises(AqrExpError) as caught:
        read_lines(path, PLACE)
    assert str(caught.value) == f"{path} is damaged: line 2 does not fit its checksum"


def test_a_line_torn_by_a_kill_is_the_only_loss(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])
    append_line(path, {"attempt": 2, "kind": "train", "step": 4, "loss": 0.5}, PLACE)
    assert [line["step"] for line in read_lines(path, PLACE)] == [1, 2, 4]


def test_a_line_that_nobody_wrote_is_refused_without_reading_it_whole(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b'{"kind": "warning", "message": "')
        file.truncate(file.tell() + (100 << 20))
    tracemalloc.start()
    with pytest.raises(
        AqrExpError, match=r"history\.jsonl is damaged: line 4 is longer than 1048576"
    ):
        read_lines(path, PLACE)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_a_long_history_is_gone_through_one_line_at_a_time(path: Path) -> None:
    with path.open("ab") as file:
        file.write(path.read_bytes() * 1_000)
    tracemalloc.start()
    assert sum(line["step"] for line in lines_in(path, PLACE)) == 6 * 1_001
    assert tracemalloc.get_traced_memory()[1] < 1 << 17
    tracemalloc.stop()


def test_the_mean_of_the_last_evaluations_is_of_those_epochs_alone(path: Path) -> None:
    for epoch, score in ((1, 0.125), (2, 0.25), (3, 0.375), (4, 0.75)):
        append_line(path, {"kind": "val", "epoch": epoch, "mAP": score, "NDS": 0.5}, PLACE)
    # Evaluated once more after a resume.
    append_line(path, {"kind": "val", "epoch": 3, "stage": 1, "mAP": 0.5, "NDS": 0.25}, PLACE)
    history = read_lines(path, PLACE)
    assert mean_of_last(history, [3, 4]) == {"mAP_last2": 0.625, "NDS_last2": 0.375}
    assert mean_of_last(history, [4]) == {"mAP_last1": 0.75, "NDS_last1": 0.5}
    assert mean_of_last(history, []) == {}


def test_a_mean_of_which_an_evaluation_is_missing_is_none(path: Path) -> None:
    append_line(path, {"kind": "val", "epoch": 4, "mAP": 0.75, "NDS": None}, PLACE)
    history = read_lines(path, PLACE)
    assert mean_of_last(history, [3, 4]) == {"mAP_last2": None, "NDS_last2": None}
    assert mean_of_last(history, [4]) == {"mAP_last1": 0.75, "NDS_last1": None}
