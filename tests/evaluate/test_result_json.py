import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyquaternion import Quaternion

from aqr_exp.evaluate.metric import global_boxes, sample_result, write_results


def _lidar2global(yaw: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    matrix[:3, 3] = [100.0, 200.0, 1.8]
    return matrix


def test_a_worked_box():
    # A car 4 m long, bottom at z = -1.8, 10 m along the LiDAR's x; the LiDAR looks a quarter turn left.
    box = np.array([[10.0, 0.0, -1.8, 4.0, 2.0, 1.5, 0.25, 3.0, 0.0]])
    (result,) = sample_result("abc", box, np.array([0.5]), np.array([0]), _lidar2global(np.pi / 2))
    np.testing.assert_allclose(result["translation"], [100.0, 210.0, 0.75], atol=1e-9)
    assert result["size"] == [2.0, 4.0, 1.5]
    turned = Quaternion(result["rotation"]).yaw_pitch_roll[0]
    assert turned == pytest.approx(np.pi / 2 + 0.25)
    np.testing.assert_allclose(result["velocity"], [0.0, 3.0], atol=1e-9)
    assert result["detection_name"] == "car"
    assert result["attribute_name"] == "vehicle.moving"
    assert result["detection_score"] == 0.5
    assert result["sample_token"] == "abc"


@given(yaw=st.floats(-3, 3), turn=st.floats(-3, 3), x=st.floats(-50, 50), y=st.floats(-50, 50))
def test_global_boxes_come_back_by_the_inverse(yaw, turn, x, y):
    box = np.array([[x, y, -1.0, 4.0, 2.0, 1.5, yaw, 1.0, -2.0]])
    matrix = _lidar2global(turn)
    centres, yaws, velocities = global_boxes(box, matrix)
    back = np.linalg.inv(matrix) @ [*centres[0], 1.0]
    np.testing.assert_allclose(back[:3], [x, y, -0.25], atol=1e-9)
    assert np.cos(yaws[0] - turn - yaw) == pytest.approx(1.0)
    assert np.hypot(*velocities[0]) == pytest.approx(np.hypot(1.0, 2.0))


def test_a_sample_without_detections_is_still_in_the_file(tmp_path):
    path = tmp_path / "it's a" / "result.json"
    empty = sample_result("abc", np.zeros((0, 9)), np.zeros(0), np.zeros(0), np.eye(4))
    write_results(path, {"abc": empty})
    content = json.loads(path.read_text())
    assert content["results"] == {"abc": []}
    assert content["meta"]["use_lidar"] is True
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_box_that_is_no_number_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "result.json"
    write_results(path, {"abc": []})
    box = np.array([[np.nan, 0.0, -1.8, 4.0, 2.0, 1.5, 0.25, 3.0, 0.0]])
    broken = sample_result("abc", box, np.array([0.5]), np.array([0]), np.eye(4))
    with pytest.raises(ValueError, match="Out of range float values"):
        write_results(path, {"abc": broken})
    assert json.loads(path.read_text())["results"] == {"abc": []}
