import numpy as np
from small_scene import BACKWARD, FORWARD

from aqr_exp.analyze.scene_figure import box_lines_px
from aqr_exp.data.geometry import corners_m, footprints_m, project

HALF_TURN = np.pi / 2


def test_footprints_by_hand() -> None:
    along_x = [[10.0, 20.0, 0.0, 4.0, 2.0, 1.0, 0.0]]
    # Front left, front right, rear right, rear left of a box that heads along x, then along y.
    expected = [[12, 21], [12, 19], [8, 19], [8, 21]]
    np.testing.assert_allclose(footprints_m(np.array(along_x))[0], expected, atol=1e-12)
    along_y = [[10.0, 20.0, 0.0, 4.0, 2.0, 1.0, HALF_TURN]]
    expected = [[9, 22], [11, 22], [11, 18], [9, 18]]
    np.testing.assert_allclose(footprints_m(np.array(along_y))[0], expected, atol=1e-12)
    assert footprints_m(np.zeros((0, 7))).shape == (0, 4, 2)


def test_corners_stand_half_below_and_half_above_the_centre() -> None:
    corners = corners_m(np.array([[0.0, 0.0, 5.0, 4.0, 2.0, 3.0, 0.3]]))[0]
    assert corners[:, 2].tolist() == [3.5] * 4 + [6.5] * 4
    np.testing.assert_allclose(corners[:4, :2], corners[4:, :2])


def test_pixels_by_hand() -> None:
    points = np.array([[1.0, 2.0, 0.4], [1.0, -2.0, 0.4], [0.0, 0.05, 0.0]])
    pixels = project(points, FORWARD)
    # u = 60 + 50 / 2, v = 20 - 50 * .4 / 2.
    np.testing.assert_allclose(pixels[0], [85.0, 10.0])
    assert np.isnan(pixels[1:]).all()
    behind = project(points, BACKWARD)
    assert np.isfinite(behind[:, 0]).tolist() == [False, True, False]
    np.testing.assert_allclose(behind[1], [60.0 - 50.0 / 2, 10.0])


def test_edges_with_an_end_behind_the_camera_are_left_out() -> None:
    ahead = [0.0, 5.0, 0.0, 2.0, 2.0, 2.0, 0.0]
    around = [0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 0.0]
    behind = [0.0, -5.0, 0.0, 2.0, 2.0, 2.0, 0.0]
    assert box_lines_px(np.array([ahead]), FORWARD).shape == (12, 2, 2)
    # Of the box around the camera the four corners at y = 1 are in front: a face of four edges.
    assert box_lines_px(np.array([around]), FORWARD).shape == (4, 2, 2)
    assert box_lines_px(np.array([behind]), FORWARD).shape == (0, 2, 2)
    assert box_lines_px(np.array([ahead, around, behind]), FORWARD).shape == (16, 2, 2)
    assert box_lines_px(np.zeros((0, 7)), FORWARD).shape == (0, 2, 2)


def test_every_edge_joins_corners_that_differ_in_one_direction() -> None:
    box = np.array([[0.0, 5.0, 0.0, 2.0, 3.0, 4.0, 0.0]])
    corners = corners_m(box)[0]
    pixels = project(corners, FORWARD)
    place = {
        tuple(np.round(pixel, 9)): corner for pixel, corner in zip(pixels, corners, strict=True)
    }
    lengths = []
    for start, end in box_lines_px(box, FORWARD):
        apart = np.abs(place[tuple(np.round(start, 9))] - place[tuple(np.round(end, 9))])
        assert (apart > 1e-9).sum() == 1
        lengths.append(round(float(apart.sum()), 6))
    assert sorted(lengths) == [2.0] * 4 + [3.0] * 4 + [4.0] * 4
