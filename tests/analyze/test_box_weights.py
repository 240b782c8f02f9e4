import json

import numpy as np
import pytest

from aqr_exp.analyze.bias_report import (
    BoxWeight,
    mean_weights,
    nearest_queries,
)
from aqr_exp.analyze.samples import condition_of, read_scene_conditions
from aqr_exp.errors import AqrExpError


def box(unit="a", label="car", distance=5.0, condition="clear", weights=(0.5, -0.5)):
    return BoxWeight(
        unit=unit, label=label, distance_m=distance, condition=condition, weights=weights
    )


def test_the_nearest_query_stands_for_a_box_unless_all_are_far():
    boxes = np.array([[0.0, 0.0], [10.0, 0.0], [30.0, 0.0]])
    queries = np.array([[9.0, 2.0], [0.0, 2.4], [-1.0, 0.0]])
    # 2.24 m to the first query; the third box is 21 m from everything.
    assert nearest_queries(boxes, queries).tolist() == [2, 0, -1]
    assert nearest_queries(np.zeros((0, 2)), queries).tolist() == []


def test_a_scene_counts_once_in_each_group():
    boxes = [
        box("a", weights=(1.0, 0.0)),
        box("a", weights=(0.0, 1.0)),
        box("b", weights=(0.2, 0.4)),
        box("b", "bus", weights=(-1.0, -1.0)),
    ]
    groups = mean_weights(boxes, "class")
    assert list(groups) == ["car", "bus"]
    np.testing.assert_allclose(groups["car"], [[0.5, 0.5], [0.2, 0.4]])
    np.testing.assert_allclose(groups["bus"], [[-1.0, -1.0]])


def test_distance_bands_take_their_lower_end():
    groups = mean_weights(
        [box(distance=d) for d in (0.0, 9.99, 10.0, 53.9, 54.0, 80.0)], "distance"
    )
    assert {name: len(rows) for name, rows in groups.items()} == {
        "0 to 10": 1, "10 to 20": 1, "40 to 54": 1,
    }  # fmt: skip


def test_unknown_conditions_are_no_group():
    assert mean_weights([box(condition=None)], "condition") == {}
    known = [box(condition="rain"), box(condition="night")]
    assert list(mean_weights(known, "condition")) == ["night", "rain"]


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("Parking lot, Night", "night"),
        ("Rain, wait at intersection", "rain"),
        ("night, after rain, difficult lighting", "night and rain"),
        ("Turn right, train station", "clear"),
    ],
)
def test_conditions_are_the_words_of_the_description(words, condition):
    assert condition_of(words) == condition


def test_scenes_are_read_from_the_tables(tmp_path):
    tables = tmp_path / "v1"
    assert read_scene_conditions(tmp_path, "v1") == {}
    tables.mkdir()
    scene = {"token": "s", "name": "scene-0001", "description": "Night drive"}
    sample = {"token": "t", "scene_token": "s", "timestamp": 0}
    (tables / "scene.json").write_text(json.dumps([scene]))
    (tables / "sample.json").write_text(json.dumps([sample]))
    words = read_scene_conditions(tmp_path, "v1")["t"]
    assert (words.scene, words.condition) == ("s", "night")
    (tables / "sample.json").write_text("[{")
    with pytest.raises(AqrExpError, match=r"sample\.json is damaged"):
        read_scene_conditions(tmp_path, "v1")
