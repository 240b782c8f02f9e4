"""Against shapely's polygons and a box's frame by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon

from aqr_exp.data.geometry import (
    corners_m,
    depths_m,
    footprints_m,
    inside_boxes,
    overlaps_any,
    project,
)

COORDINATE = st.floats(-6, 6)
SIZE = st.floats(0.3, 6)
BOX = st.tuples(COORDINATE, COORDINATE, COORDINATE, SIZE, SIZE, SIZE, st.floats(-4, 4))


@given(one=BOX, others=st.lists(BOX, min_size=1, max_size=4))
def test_overlap_is_shapelys(one, others):
    rectangle = Polygon(footprints_m(np.array([one]))[0])
    areas = [
        rectangle.intersection(Polygon(corners)).area for corners in footprints_m(np.array(others))
    ]
    if all(area > 1e-6 or area == 0.0 for area in areas):
        assert overlaps_any(np.array(one), np.array(others)) == any(areas)


def test_boxes_that_touch_do_not_overlap_and_heights_do_not_matter():
    box = np.array([0.0, 0, 0, 4, 2, 1, 0])
    beside = np.array([[0.0, 2.0, 0, 4, 2, 1, 0]])
    above = np.array([[0.0, 1.9, 50, 4, 2, 1, 0]])
    assert not overlaps_any(box, beside)
    assert overlaps_any(box, above)
    assert not overlaps_any(box, np.empty((0, 7)))


@given(box=BOX, seed=st.integers(0, 1000))
def test_a_point_is_inside_by_its_place_in_the_boxs_frame(box, seed):
    x, y, z, length, width, height, yaw = box
    share = np.random.default_rng(seed).uniform(-0.75, 0.75, (200, 3))
    share = share[(np.abs(np.abs(share) - 0.5) > 1e-6).all(axis=1)]
    local = share * [length, width, height]
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    points = np.column_stack([local[:, :2] @ turn.T, local[:, 2]]) + np.array([x, y, z])
    expected = (np.abs(share) < 0.5).all(axis=1)
    np.testing.assert_array_equal(inside_boxes(points, np.array([box]))[0], expected)
    assert inside_boxes(points, np.empty((0, 7))).shape == (0, len(points))


def test_depth_and_pixel_of_a_worked_point():
    # Looking along y from (1, 0, 0): right is x, down is -z; focal length 100, centre (50, 40).
    lidar2cam = np.array([[1.0, 0, 0, -1], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    lidar2img = (
        np.array([[100.0, 0, 50, 0], [0, 100, 40, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ lidar2cam
    )
    points = np.array([[3.0, 10.0, -1.0], [0.0, -5.0, 0.0]])
    np.testing.assert_allclose(depths_m(points, lidar2img), [10.0, -5.0])
    pixels = project(points, lidar2img)
    np.testing.assert_allclose(pixels[0], [70.0, 50.0])
    assert np.isnan(pixels[1]).all()


def test_a_box_has_its_eight_corners():
    corners = corners_m(np.array([[1.0, 2, 3, 4, 2, 6, np.pi / 2]]))[0]
    assert sorted(map(tuple, np.round(corners, 9))) == sorted(
        (x, y, z) for x in (0.0, 2.0) for y in (0.0, 4.0) for z in (0.0, 6.0)
    )
    assert corners[0] == pytest.approx([0.0, 4.0, 0.0])  # front left, below
