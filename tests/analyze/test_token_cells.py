import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_scene import LAYOUT

from aqr_exp.analyze.scene_figure import (
    bev_cells,
    bev_corners_m,
    camera_cells,
    camera_corners_px,
    split_by_sensor,
    value_map,
)
from aqr_exp.aqr.layout import TokenLayout

SIZES = st.integers(1, 7)


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.data())
def test_cells_are_the_layouts_turned_round(
    rows: int, columns: int, views: int, camera_rows: int, camera_columns: int, data: st.DataObject
) -> None:
    layout = TokenLayout(
        bev_rows=rows,
        bev_columns=columns,
        bev_origin_m=(0.0, 0.0),
        bev_pitch_m=(1.0, 1.0),
        views=views,
        camera_rows=camera_rows,
        camera_columns=camera_columns,
        image_size_px=(16.0, 16.0),
    )
    keys = np.arange(layout.keys)
    lidar, camera = split_by_sensor(layout, keys)
    assert len(lidar) == layout.bev_keys
    for key, (row, column) in zip(lidar, bev_cells(layout, keys[lidar]), strict=True):
        assert layout.bev_key(int(row), int(column)) == key
    for key, cell in zip(camera, camera_cells(layout, keys[camera]), strict=True):
        assert layout.camera_key(*map(int, cell)) == key


def test_places_by_hand() -> None:
    # Key 23 is row 2, column 3: its corner lies at (-5 + 3, -4 + 2) metres.
    cells = bev_cells(LAYOUT, np.array([0, 23, 79]))
    assert cells.tolist() == [[0, 0], [2, 3], [7, 9]]
    assert bev_corners_m(LAYOUT, cells).tolist() == [[-5, -4], [-2, -2], [4, 3]]
    # 80 BEV keys, then views of 4 x 6: 80 + 24 + 6 + 5 is view 1, row 1, column 5; patches 20 x 10.
    cells = camera_cells(LAYOUT, np.array([80, 115, 223]))
    assert cells.tolist() == [[0, 0, 0], [1, 1, 5], [5, 3, 5]]
    assert camera_corners_px(LAYOUT, cells).tolist() == [[0, 0], [100, 10], [100, 30]]


def test_pitches_of_both_axes_are_kept_apart() -> None:
    layout = TokenLayout(
        bev_rows=3,
        bev_columns=2,
        bev_origin_m=(10.0, 100.0),
        bev_pitch_m=(0.5, 2.0),
        views=1,
        camera_rows=2,
        camera_columns=5,
        image_size_px=(100.0, 50.0),
    )
    assert bev_corners_m(layout, np.array([[2, 1]])).tolist() == [[10.5, 104.0]]
    assert camera_corners_px(layout, np.array([[0, 1, 4]])).tolist() == [[40.0, 50.0]]


@pytest.mark.parametrize("key", [-1, 224])
def test_a_key_that_is_none_is_named(key: int) -> None:
    with pytest.raises(ValueError, match=rf"^key {key} is none of the 224 keys$"):
        split_by_sensor(LAYOUT, np.array([3, key]))


def test_a_map_holds_values_at_cells_alone() -> None:
    found = value_map(2, 3, np.array([[0, 2], [1, 0]]), np.array([0.5, -1.0]))
    np.testing.assert_array_equal(found, [[np.nan, np.nan, 0.5], [-1.0, np.nan, np.nan]])
