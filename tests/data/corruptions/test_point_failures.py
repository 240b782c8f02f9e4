"""Failures of the LiDAR, counted by hand."""

import numpy as np
import pytest

from aqr_exp.data.corruptions.cases import RINGS, CorruptionCase
from aqr_exp.data.corruptions.effects import POINT_CORRUPTIONS, Cloud
from aqr_exp.data.corruptions.multicorrupt import rotation

BOX = [10.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0]


def _cloud(places, boxes=()) -> Cloud:
    points = np.zeros((len(places), 5), dtype=np.float32)
    points[:, :3] = places
    points[:, 3] = np.arange(len(places))
    points[:, 4] = 0.05
    return Cloud(points=points, boxes_m=np.array(boxes, dtype=float).reshape(-1, 7))


def _fail(cloud: Cloud, failure: str, severity: str, sample: str = "a token") -> np.ndarray:
    case = CorruptionCase(corruption=failure, severity=severity)
    before = cloud.points.copy()
    failed = POINT_CORRUPTIONS[failure](cloud, case, case.rng(sample))
    np.testing.assert_array_equal(cloud.points, before)
    assert failed.dtype == np.float32
    return failed


def test_dropped_points_lie_at_the_origin_or_are_gone():
    cloud = _cloud([[1, 2, 3], [4, 5, 6]])
    assert _fail(cloud, "lidar_drop", "empty").shape == (0, 5)
    at_origin = _fail(cloud, "lidar_drop", "origin")
    assert at_origin.tolist() == [[0] * 5] * 2  # intensity and time as well


@pytest.mark.parametrize(("severity", "kept"), [("0.7", 300), ("0.8", 200), ("0.9", 100)])
def test_an_exact_share_of_points_stays_in_order_and_from_everywhere(severity, kept):
    cloud = _cloud(np.zeros((1000, 3)))
    numbers = _fail(cloud, "points_drop", severity)[:, 3]
    assert len(numbers) == kept
    assert (np.diff(numbers) > 0).all()
    # The mean of k of 0..999 drawn without replacement has sd 289 sqrt((1000 - k) / (999 k)).
    sd = 288.7 * np.sqrt((1000 - kept) / (999 * kept))
    assert abs(numbers.mean() - 499.5) < 4 * sd


def test_points_dropped_from_an_empty_cloud_leave_it_empty():
    assert _fail(_cloud(np.zeros((0, 3))), "points_drop", "0.9").shape == (0, 5)


def test_the_field_of_view_is_an_azimuth_from_forward():
    degrees = np.array([0, 59, 61, -59, -61, 89, 91, -89, -91, 180])
    ahead = np.radians(degrees)
    cloud = _cloud(np.stack([10 * np.sin(ahead), 10 * np.cos(ahead), 0 * ahead], axis=1))
    assert degrees[_fail(cloud, "limited_fov", "60")[:, 3].astype(int)].tolist() == [0, 59, -59]
    assert degrees[_fail(cloud, "limited_fov", "90")[:, 3].astype(int)].tolist() == [
        0, 59, 61, -59, -61, 89, -89,
    ]  # fmt: skip


def test_objects_lose_all_their_points_in_half_of_the_frames():
    cloud = _cloud([[10, 0, 0], [12, 1, 1], [12.1, 0, 0], [0, 0, 0]], [BOX])
    counts = [len(_fail(cloud, "object_failure", "0.5", f"token {i}")) for i in range(400)]
    assert set(counts) == {2, 4}
    # Standard deviation of a rate of .5 over 400 draws: .025; four of them.
    assert np.mean(np.array(counts) == 2) == pytest.approx(0.5, abs=0.1)


def test_a_frame_without_objects_loses_nothing():
    cloud = _cloud([[10, 0, 0]])
    assert all(len(_fail(cloud, "object_failure", "0.5", str(i))) == 1 for i in range(20))


@pytest.mark.parametrize(
    ("severity", "rate", "degrees"), [("1", 0.2, 1.0), ("2", 0.4, 2.0), ("3", 0.6, 3.0)]
)
def test_misaligned_points_are_turned_about_each_axis_and_moved_by_two_metres(
    severity, rate, degrees
):
    cloud = _cloud([[0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    moved = [_fail(cloud, "spatial_misalignment", severity, f"token {i}") for i in range(400)]
    hit = [points for points in moved if not np.array_equal(points, cloud.points)]
    assert len(hit) / 400 == pytest.approx(rate, abs=0.1)
    signs, azimuths = set(), []
    for points in hit:
        shift = points[0, :3].astype(float)
        assert np.linalg.norm(shift) == pytest.approx(2.0, abs=1e-5)
        assert shift[2] == 0
        turn = (points[1:, :3] - shift).T / 10
        # Of Rz Ry Rx: the first column's z is -sin y, and so on.
        about_y = -np.degrees(np.arcsin(turn[2, 0]))
        about_x = np.degrees(np.arctan2(turn[2, 1], turn[2, 2]))
        about_z = np.degrees(np.arctan2(turn[1, 0], turn[0, 0]))
        np.testing.assert_allclose(np.abs([about_x, about_y, about_z]), degrees, atol=1e-3)
        signs.add(tuple(np.sign([about_x, about_y, about_z])))
        azimuths.append(np.arctan2(shift[0], shift[1]))
        np.testing.assert_array_equal(points[:, 3:], cloud.points[:, 3:])
    assert len(signs) == 8
    assert min(azimuths) < -2
    assert max(azimuths) > 2


def test_a_quarter_turn_goes_round_the_right_hand():
    turn = rotation(np.radians([0, 0, 90]))
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    both = rotation(np.radians([90, 0, 90]))  # y goes to z about x, and z stays about z
    np.testing.assert_allclose(both @ [0, 1, 0], [0, 0, 1], atol=1e-12)


def test_rings_are_the_stated_ones():
    assert RINGS["16"] == (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)
    assert RINGS["8"] == (1, 5, 9, 13, 17, 21, 25, 29)
    assert RINGS["4"] == (1, 9, 17, 25)
