import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.errors import AqrExpError
from aqr_exp.files.atomic import plain, replace_bytes, replace_json, replace_text
from aqr_exp.files.reading import read_json


def test_replaces_whole_files_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace_text(path, "old")
    replace_text(path, "new")
    assert path.read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    path = tmp_path / "metrics.json"
    replace_text(path, "old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left on device"):
        replace_text(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["metrics.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_json(path, {"mAP": 0.5})
    with pytest.raises(TypeError, match="a set cannot be written as JSON"):
        replace_json(path, {"mAP": {1}})
    assert read_json(path) == {"mAP": 0.5}


def test_nan_and_infinities_become_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_json(path, {"a": float("nan"), "b": [np.float32("inf"), np.int64(3)], "c": Path("x")})
    assert json.loads(path.read_text()) == {"a": None, "b": [None, 3], "c": "x"}
    assert "NaN" not in path.read_text()


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_plain_values_survive_json(value: object) -> None:
    reduced = plain(value)
    assert json.loads(json.dumps(reduced, allow_nan=False)) == reduced


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is damaged: Input data was truncated"),
        (b'{"a": 1', "is damaged: Input data was truncated"),
        (b"[1]", "is damaged: Expected `object`, got `array`"),
        (b'{"a": "\xff"}', "is damaged: not UTF-8 at byte 7"),
        (b"\xff\xfe", "is damaged: not UTF-8 at byte 0"),
    ],
)
def test_a_damaged_file_is_named_with_its_fault(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(AqrExpError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} {fault}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AqrExpError) as caught:
        read_json(tmp_path / "state.json")
    assert str(caught.value) == f"{tmp_path / 'state.json'} is missing"


@pytest.mark.parametrize("durable", [True, False])
def test_what_must_survive_a_crash_is_on_the_disk_before_it_has_its_name(
    durable, tmp_path, monkeypatch
):
    path, calls = tmp_path / "it's; here.json", []
    fsync, rename = os.fsync, os.replace

    def noted_fsync(number):
        (file,) = tmp_path.iterdir()
        calls.append(("fsync", file.read_bytes()))
        fsync(number)

    def noted_replace(source, target):
        calls.append(("replace", Path(source).parent, Path(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    replace_bytes(path, b"whole", durable=durable)
    named = ("replace", tmp_path, path)
    assert calls == ([("fsync", b"whole"), named] if durable else [named])
    assert [*tmp_path.iterdir()] == [path]
