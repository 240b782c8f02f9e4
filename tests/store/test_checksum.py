import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqr_exp.errors import AqrExpError
from aqr_exp.files.checksum import (
    Checked,
    Covers,
    check_checksum_line,
    read_checked_json,
    replace_checked_json,
    with_checksum_line,
)
from aqr_exp.store.run_files import read_spec_text
from aqr_exp.store.run_folder import RunFolder

MISFIT = "is damaged: its content does not fit its checksum"
PLACE = "baseline-ab-s0/metrics.json"
METRICS = {"mAP": 0.335, "AP/car": 0.5, "synthetic": True, "split": "val", "aqr/final_scale": None}
SPEC = "variant: {name: baseline}\nseed: 3\n"


def _every_flip(content: bytes) -> list[bytes]:
    return [
        content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]


def test_the_checksum_is_the_sha256_of_its_place_and_of_what_stands_before_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, {"mAP": 0.5}, PLACE)
    digest = hashlib.sha256(PLACE.encode() + b'\0{\n "mAP": 0.5').hexdigest()
    tail = f'"checksum": "sha256:{digest} of {PLACE}"'
    assert path.read_text() == f'{{\n "mAP": 0.5,\n {tail}\n}}\n'
    read = read_checked_json(path, PLACE)
    assert (read.value, read.verified) == ({"mAP": 0.5}, True)


def test_an_empty_object_has_one_too(tmp_path: Path) -> None:
    replace_checked_json(tmp_path / "a", {}, PLACE)
    assert list(json.loads((tmp_path / "a").read_text())) == ["checksum"]
    assert read_checked_json(tmp_path / "a", PLACE).value == {}


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, METRICS, PLACE)
    for damaged in _every_flip(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(AqrExpError, match=f"^{re.escape(str(path))} is damaged: "):
            read_checked_json(path, PLACE)


def test_any_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, METRICS, PLACE)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(AqrExpError, match="is damaged: "):
            read_checked_json(path, PLACE)


def test_a_changed_digit_is_called_a_misfit(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, METRICS, PLACE)
    path.write_text(path.read_text().replace("0.335", "0.385"))
    with pytest.raises(AqrExpError) as caught:
        read_checked_json(path, PLACE)
    assert str(caught.value) == f"{path} {MISFIT}"


@settings(max_examples=30)
@given(
    st.dictionaries(
        st.text().filter(lambda key: key != "checksum"),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**63 - 1)
            | st.floats(allow_nan=False, width=32),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("checked") / "a.json"
    replace_checked_json(path, value, PLACE)
    read = read_checked_json(path, PLACE)
    assert read.verified
    infinite = [float("inf"), float("-inf")]
    if not any(str(each) in repr(value) for each in infinite):
        assert read.value == value


def test_the_key_is_kept_for_the_checksum(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the key 'checksum' is kept"):
        replace_checked_json(tmp_path / "a", {"checksum": 1}, PLACE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ['{"mAP": 0.5}', '{"records_sha256": "0123"}\n', "{}"])
def test_a_file_of_an_older_version_is_read_and_not_verified(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    read = read_checked_json(path, PLACE)
    assert (read.value, read.verified) == (json.loads(content), False)


def test_no_json_number_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"mAP": NaN}')
    with pytest.raises(AqrExpError) as caught:
        read_checked_json(path, PLACE)
    assert str(caught.value) == f"{path} is damaged: JSON is malformed: invalid character (byte 8)"


def test_any_name_can_be_a_place(tmp_path: Path) -> None:
    """Quotes, escapes, letters of all sorts and the longest name of a folder."""
    for name in (
        'a "b" \\ c',
        "\x1b[31m",
        "\u00e9" * 127,
        "x" * 255,
        "of the lines below",
        ' of "',
    ):
        place = f"{name}/metrics.json"
        replace_checked_json(tmp_path / "a", METRICS, place)
        assert read_checked_json(tmp_path / "a", place) == Checked(
            value=METRICS, covers=Covers.PLACE
        )
        with pytest.raises(AqrExpError) as caught:
            read_checked_json(tmp_path / "a", PLACE)
        assert str(caught.value).isprintable()
        (tmp_path / "b").write_text(with_checksum_line(SPEC, place))
        content = (tmp_path / "b").read_bytes()
        assert check_checksum_line(tmp_path / "b", place, content) is Covers.PLACE


@pytest.mark.parametrize(
    "place",
    ["baseline-ab-s1/metrics.json", "baseline-ab-s0-a2/metrics.json", "baseline-ab-s0/state.json"],
)
def test_what_belongs_elsewhere_is_damage_that_says_where(tmp_path: Path, place: str) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, METRICS, place)
    with pytest.raises(AqrExpError) as caught:
        read_checked_json(path, PLACE)
    assert (
        str(caught.value) == f"{path} is damaged: it is {place}: put it, or its folder, back there"
    )


def test_a_place_that_is_written_over_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, METRICS, "baseline-ab-s1/metrics.json")
    path.write_text(path.read_text().replace("baseline-ab-s1", "baseline-ab-s0"))
    with pytest.raises(AqrExpError, match=MISFIT):
        read_checked_json(path, PLACE)


def test_an_older_checksum_is_of_the_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace_checked_json(path, {"mAP": 0.5}, None)
    digest = hashlib.sha256(b'{\n "mAP": 0.5').hexdigest()
    assert path.read_text() == f'{{\n "mAP": 0.5,\n "checksum": "sha256:{digest}"\n}}\n'
    read = read_checked_json(path, PLACE)
    assert (read.value, read.covers) == ({"mAP": 0.5}, Covers.CONTENT)


def spec_of(folder: Path) -> Path:
    """A specification in its run's folder."""
    path = folder / "spec.yaml"
    path.write_text(with_checksum_line(SPEC, f"{folder.name}/spec.yaml"))
    return path


def test_a_specification_stays_yaml(tmp_path: Path) -> None:
    first, rest = spec_of(tmp_path).read_text().split("\n", 1)
    place = f"{tmp_path.name}/spec.yaml"
    digest = hashlib.sha256(f"{place}\0{SPEC}".encode()).hexdigest()
    assert (first, rest) == (f'# checksum: sha256:{digest} of the lines below, "{place}"', SPEC)
    assert read_spec_text(RunFolder(tmp_path)).verified
    assert RunFolder(tmp_path).read_spec() == {"variant": {"name": "baseline"}, "seed": 3}


def test_any_damage_to_a_specification_is_noticed(tmp_path: Path) -> None:
    path = spec_of(tmp_path)
    whole = path.read_bytes()
    damaged = [*_every_flip(whole), *(whole[:length] for length in range(len(whole)))]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(AqrExpError, match=f"^{re.escape(str(path))} is damaged: "):
            read_spec_text(RunFolder(tmp_path))
        with pytest.raises(AqrExpError, match="is damaged: "):
            RunFolder(tmp_path).read_spec()


@pytest.mark.parametrize(
    "first",
    ["", f"# checksum: sha256:{hashlib.sha256(SPEC.encode()).hexdigest()} of the lines below\n"],
)
def test_a_specification_of_an_older_version_is_read_and_not_verified(
    tmp_path: Path, first: str
) -> None:
    (tmp_path / "spec.yaml").write_text(first + SPEC)
    assert not read_spec_text(RunFolder(tmp_path)).verified
    assert RunFolder(tmp_path).read_spec()["seed"] == 3
