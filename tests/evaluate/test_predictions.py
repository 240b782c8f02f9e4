import json
import time
from typing import Any

import pytest
from detection_cases import CASES, predictions_in_memory
from devkit_verdict import Verdict, write_file
from made_up_tables import sample_token
from small_world import Results, World, detection

from aqr_exp.errors import RequestError
from aqr_exp.evaluate.predictions import read_predictions

SPLIT = "mini_val"


@pytest.fixture
def results(world: World) -> Results:
    return CASES["found"](world.boxes, world.samples[SPLIT])


def _refused(world: World, path: Any, *parts: str) -> None:
    """One line that names the file and everything in `parts`."""
    with pytest.raises(RequestError) as caught:
        read_predictions(path, world.truth(SPLIT))
    message = str(caught.value)
    assert message.startswith(f"{path}"), message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_file_and_a_folder(world, tmp_path):
    _refused(world, tmp_path / "nothing.json", "is missing")
    _refused(world, tmp_path, "is damaged: it is a folder, not a file")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file(world, results, tmp_path, share):
    path = write_file(tmp_path / "result.json", results)
    text = path.read_text()
    path.write_text(text[: int(share * len(text))])
    _refused(world, path, "is no result file: Input data was truncated")


def test_a_truncated_file_with_unknown_velocities(world, results, tmp_path):
    path = write_file(
        tmp_path / "result.json", CASES["unknown velocities"](world.boxes, world.samples[SPLIT])
    )
    path.write_text(path.read_text()[:-2])
    _refused(world, path, "is no result file: Expecting ',' delimiter: line 1 column")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("[]", "Expected `object`, got `array`"),
        ('{"results": {}}', "missing required field `meta`"),
        ('{"meta": {}}', "missing required field `results`"),
        ('{"meta": {}, "results": []}', "Expected `object`, got `array` - at `$.results`"),
        ('{"meta": NaN}', "Expected `object` - at `$.results`"),
        ('{"results": NaN}', "missing required field `meta`"),
        ("NaN", "missing required field `meta`"),
        ('{"meta": {}, "results": {"a": nope}}', "JSON is malformed: invalid character (byte 31)"),
        ('{"meta": {}, "results": ' + "[" * 100_000, "is no result file"),
        (b'{"meta": {}, "results": {"\xff\xfe": []}}', "'utf-8' codec can't decode"),
        (b"\x00" * 50, "JSON is malformed"),
    ],
)
def test_what_is_no_result_file(world, tmp_path, content, fault):
    path = tmp_path / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    _refused(world, path, fault)


def test_a_missing_sample_as_the_devkit_refuses_it(world, results, tmp_path):
    results.pop(sample_token(3))
    path = write_file(tmp_path / "result.json", results)
    with pytest.raises(AssertionError, match="doesn't match samples in predictions"):
        Verdict(world.nusc, path, SPLIT)
    _refused(world, path, f"sample {sample_token(3)} is missing")
    results.pop(sample_token(5))
    path = write_file(tmp_path / "result.json", results)
    _refused(world, path, f"sample {sample_token(3)} is missing (and 1 more)")


def test_a_foreign_sample_as_the_devkit_refuses_it(world, results, tmp_path):
    results["of another split"] = []
    path = write_file(tmp_path / "result.json", results)
    with pytest.raises(AssertionError, match="doesn't match samples in predictions"):
        Verdict(world.nusc, path, SPLIT)
    _refused(world, path, f"sample of another split is not of the split {SPLIT}")


def test_501_boxes_as_the_devkit_refuses_them(world, results, tmp_path):
    token = sample_token(2)
    results[token] = [detection(2, "car", (400, 900, 1), 0.5)] * 501
    path = write_file(tmp_path / "result.json", results)
    with pytest.raises(AssertionError, match="Only <= 500 boxes"):
        Verdict(world.nusc, path, SPLIT)
    _refused(world, path, f"sample {token} has 501 boxes (at most 500)")
    results[token].pop()
    kept = read_predictions(write_file(path, results), world.truth(SPLIT))
    assert (kept.boxes.sample == 2).sum() == 500


@pytest.mark.parametrize(
    ("change", "fault", "official"),
    [
        ({"detection_name": "tram"}, "detection_name: Invalid enum value 'tram'", True),
        ({"attribute_name": "car.fast"}, "attribute_name: Invalid enum value 'car.fast'", True),
        ({"translation": [1.0, 2.0]}, "translation: Expected `array` of length 3", True),
        ({"translation": [1.0, 2.0, None]}, "translation[2]: Expected `float`, got `null`", True),
        ({"size": "big"}, "size: Expected `array`, got `str`", True),
        (
            {"translation": [1.0, 2.0, float("nan")]},
            "translation=[ 1.  2. nan] (allowed: fin",
            True,
        ),
        ({"size": [1.0, float("nan"), 1.0]}, "size=[ 1. nan  1.] (allowed: finite", True),
        ({"rotation": [1.0, 0.0, 0.0, float("nan")]}, "rotation=[ 1.  0.  0. nan] (allow", True),
        ({"detection_score": float("nan")}, "detection_score=nan (allowed: 0 to 1)", True),
        # The devkit lets these pass; nuScenes says what they must be.
        ({"detection_score": 1.5}, "detection_score=1.5 (allowed: 0 to 1)", False),
        ({"detection_score": -0.1}, "detection_score=-0.1 (allowed: 0 to 1)", False),
        ({"detection_score": True}, "detection_score: Expected `float`, got `bool`", False),
        ({"velocity": [float("inf"), 0.0]}, "velocity=[inf  0.] (allowed: finite numbers", False),
        ({"translation": [float("inf"), 0, 0]}, "translation=[inf  0.  0.] (allowed: fi", False),
        ({"sample_token": "another"}, "its sample_token is another", False),
    ],
)
def test_a_box_that_is_not_allowed(world, results, tmp_path, change, fault, official):
    token = sample_token(4)
    results[token] = [detection(4, "car", (400, 900, 1), 0.5) for _ in range(3)]
    results[token][2].update(change)
    path = write_file(tmp_path / "result.json", results)
    if official:
        with pytest.raises((AssertionError, TypeError, KeyError)):
            Verdict(world.nusc, path, SPLIT)
    _refused(world, path, f"sample {token}, box 2", fault)
    with pytest.raises(RequestError, match=f"these detections: sample {token}, box 2"):
        predictions_in_memory(results, world.truth(SPLIT))


def test_unknown_names_come_with_the_known_ones(world, results, tmp_path):
    token = sample_token(4)
    results[token] = [detection(4, "tram", (400, 900, 1), 0.5)]
    path = write_file(tmp_path / "result.json", results)
    _refused(world, path, "(allowed: car, truck, construction_vehicle, bus, trailer, barrier,")


@pytest.mark.parametrize("name", ["sample_token", "detection_score", "velocity", "attribute_name"])
def test_a_box_that_lacks_something(world, results, tmp_path, name):
    results[sample_token(4)] = [detection(4, "car", (400, 900, 1), 0.5)]
    del results[sample_token(4)][0][name]
    path = write_file(tmp_path / "result.json", results)
    _refused(world, path, f"box 0: Object missing required field `{name}`")


def test_what_else_a_box_holds_is_passed_over(world, results, tmp_path):
    results[sample_token(4)] = [detection(4, "car", (400, 900, 1), 0.5, tracking_id="7", ego=[1])]
    kept = read_predictions(write_file(tmp_path / "r.json", results), world.truth(SPLIT))
    assert (kept.boxes.sample == 4).sum() == 1


def test_any_single_change_of_a_byte_is_refused_or_read(world, results, tmp_path):
    """Never a crash: what comes is an answer or the one kind of error, and it comes soon."""
    path = write_file(tmp_path / "result.json", {k: v[:2] for k, v in results.items()})
    content = path.read_bytes()
    json.loads(content)
    truth = world.truth(SPLIT)
    refused, started = 0, time.monotonic()
    for place in range(0, len(content), max(1, len(content) // 200)):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]
        )
        try:
            read_predictions(path, truth)
        except RequestError as error:
            refused += str(error).startswith(str(path))
    assert refused > 50
    assert time.monotonic() - started < 300
