import json
import os
from pathlib import Path

import pytest

from aqr_exp.errors import RequestError
from aqr_exp.files.text import json_text, printable, printable_lines, typed_path

HOSTILE = "a\x1b]0;x\x07b\x9b2J\u202ec\r\n\x00d\x7f\u2028e\udc80f"
SPELLED = r"a\x1b]0;x\x07b\x9b2J\u202ec \x00d\x7f e\udc80f"


def test_what_steers_a_terminal_is_spelled_out() -> None:
    assert printable(HOSTILE) == SPELLED
    assert printable("mAP ± 0.1, größer, 夜") == "mAP ± 0.1, größer, 夜"
    assert printable_lines("one\r\n  two\tx\x1b[2J\n") == "one\n  two x\\x1b[2J\n"
    assert printable_lines("±\nb") == "±\nb"


def test_json_has_the_same_values_and_no_raw_marks() -> None:
    value = {"reason": HOSTILE, "kept": "größer\n", "wide": "\U000e0041"}
    text = json_text(value)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert "größer" in text


def test_a_typed_path_is_absolute_or_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert typed_path("~/nuscenes", "--root") == Path("/home/ada/nuscenes")
    with pytest.raises(RequestError) as refused:
        typed_path("~nosuchuser/x", "AQR_EXP_RESULTS")
    assert str(refused.value) == (
        "AQR_EXP_RESULTS=~nosuchuser/x: there is no such home folder: write the whole path"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RequestError) as refused:
        typed_path("data", "--root")
    assert str(refused.value) == (
        "--root=data: the current folder does not exist any more: change to one that does"
    )
    os.chdir(tmp_path)
