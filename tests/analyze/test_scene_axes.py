from typing import Any

import numpy as np
import pytest
from small_scene import LAYOUT, small_scene

from aqr_exp.analyze.scene_figure import draw_bev, draw_image, image_axes, inside_image, mark
from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.report.figures.style import new_figure


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"images": []}, "0 images for the layout's 6 views"),
        ({"lidar2img": np.zeros((5, 4, 4))}, "5 matrices for the layout's 6 views"),
        ({"view_names": ["a"]}, "1 view names for the layout's 6 views"),
    ],
)
def test_a_scene_has_everything_for_each_view(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{fault}$"):
        small_scene(**changes)


def test_from_above_everything_is_in_metres() -> None:
    axes = new_figure(5.0, 5.0).subplots()
    draw_bev(axes, small_scene(), title="above")
    assert axes.get_title(loc="left") == "above"
    assert (axes.get_xlim(), axes.get_ylim()) == ((-5.0, 5.0), (-4.0, 4.0))
    assert axes.get_aspect() == 1.0
    points, outlines, headings = axes.collections
    assert points.get_offsets().tolist() == [[0.0, 3.0], [1.0, -2.0]]
    (outline,) = outlines.get_paths()
    # 4 m long along y and 2 m wide, around (0, 3).
    assert outline.get_extents().get_points() == pytest.approx(np.array([[-1, 1], [1, 5]]))
    np.testing.assert_allclose(headings.get_segments()[0], [[0, 3], [0, 5]], atol=1e-12)
    assert axes.get_xlabel() == "x (m), right"
    assert axes.get_ylabel() == "y (m), forward"


def test_cameras_stand_as_one_looks_around() -> None:
    figure = new_figure(6.0, 4.0)
    axes = dict(zip(CAMERA_NAMES, image_axes(figure, CAMERA_NAMES), strict=True))
    figure.draw_without_rendering()
    places = {name: item.get_position() for name, item in axes.items()}
    for row in ("FRONT", "BACK"):
        left, middle, right = (places[f"CAM_{row}{side}"].x0 for side in ("_LEFT", "", "_RIGHT"))
        assert left < middle < right
    assert places["CAM_FRONT"].y0 > places["CAM_BACK"].y0
    assert places["CAM_FRONT"].x0 == places["CAM_BACK"].x0


@pytest.mark.parametrize(("views", "shown"), [(1, 3), (4, 6), (3, 3)])
def test_other_rigs_stand_three_a_row(views: int, shown: int) -> None:
    figure = new_figure(6.0, 4.0)
    names = [f"view {index}" for index in range(views)]
    axes = image_axes(figure, names)
    assert len(axes) == views
    assert len(figure.axes) == shown
    assert [item.get_visible() for item in figure.axes] == [True] * views + [False] * (
        shown - views
    )
    assert axes == figure.axes[:views]


def test_an_image_covers_the_networks_input_whatever_its_size() -> None:
    axes = new_figure(5.0, 5.0).subplots()
    draw_image(axes, small_scene(), 0)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.0, 120.0), (40.0, 0.0))
    assert tuple(axes.images[0].get_extent()) == (0, 120.0, 40.0, 0)
    assert axes.get_title(loc="left") == "front"
    (edges,) = axes.collections
    assert len(edges.get_segments()) == 12


def test_marks_near_the_right_border_have_their_name_on_the_left() -> None:
    axes = new_figure(5.0, 5.0).subplots()
    axes.set_xlim(0, 100)
    mark(axes, np.array([10.0, 0.5]), "one", "red")
    mark(axes, np.array([90.0, 0.5]), "two", "red")
    assert [text.get_ha() for text in axes.texts] == ["left", "right"]


def test_what_is_inside_an_image() -> None:
    inside = ((0.0, 0.0), (119.9, 39.9))
    outside = ((120.0, 0.0), (0.0, 40.0), (-0.1, 1.0), (np.nan, np.nan))
    assert all(inside_image(LAYOUT, np.array(pixel)) for pixel in inside)
    assert not any(inside_image(LAYOUT, np.array(pixel)) for pixel in outside)
