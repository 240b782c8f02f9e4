import math

import pytest
import torch

from aqr_exp.aqr.layout import TokenLayout

SMALL = {
    "bev_rows": 3,
    "bev_columns": 4,
    "bev_origin_m": (-2.0, -1.5),
    "bev_pitch_m": (1.0, 1.0),
    "views": 2,
    "camera_rows": 2,
    "camera_columns": 5,
    "image_size_px": (32, 80),
}


@pytest.mark.parametrize(
    ("bev", "camera", "keys"), [(128, (20, 50), 22_384), (180, (40, 100), 56_400)]
)
def test_the_published_settings_have_their_numbers_of_keys(bev, camera, keys):
    layout = TokenLayout(
        bev_rows=bev,
        bev_columns=bev,
        bev_origin_m=(-54.0, -54.0),
        bev_pitch_m=(0.8, 0.8),
        views=6,
        camera_rows=camera[0],
        camera_columns=camera[1],
        image_size_px=(camera[0] * 16, camera[1] * 16),
    )
    assert layout.bev_keys == bev**2
    assert layout.keys - layout.bev_keys == 6 * camera[0] * camera[1]
    assert layout.keys == keys
    assert layout.camera_pitch_px == (16, 16)


def test_camera_pitch_is_height_then_width():
    layout = TokenLayout(**{**SMALL, "image_size_px": (48, 100)})
    assert layout.camera_pitch_px == (24, 20)


def test_cells_count_through_all_keys_in_token_order():
    layout = TokenLayout(**SMALL)
    bev = [layout.bev_key(row, column) for row in range(3) for column in range(4)]
    camera = [
        layout.camera_key(view, row, column)
        for view in range(2)
        for row in range(2)
        for column in range(5)
    ]
    assert bev + camera == list(range(32))
    assert layout.keys == 32


def test_tensors_of_cells_become_tensors_of_keys():
    layout = TokenLayout(**SMALL)
    rows, columns = torch.tensor([0, 2]), torch.tensor([3, 1])
    assert layout.bev_key(rows, columns).tolist() == [3, 9]
    # 12 BEV keys, 10 keys a view, 5 a row.
    assert layout.camera_key(torch.tensor([1, 0]), rows - 1, columns).tolist() == [20, 18]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bev_rows", 0, "bev_rows must be at least 1, not 0"),
        ("bev_columns", -4, "bev_columns must be at least 1, not -4"),
        ("views", 0, "views must be at least 1, not 0"),
        ("camera_rows", 0, "camera_rows must be at least 1, not 0"),
        ("camera_columns", 0, "camera_columns must be at least 1, not 0"),
        (
            "bev_pitch_m",
            (0.8, 0.0),
            r"bev_pitch_m must be positive and finite, not \(0.8, 0.0\)",
        ),
        (
            "image_size_px",
            (math.inf, 80),
            r"image_size_px must be positive and finite, not \(inf, 80\)",
        ),
        ("bev_origin_m", (0.0, math.nan), r"bev_origin_m must be finite, not \(0.0, nan\)"),
    ],
)
def test_a_map_without_extent_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        TokenLayout(**{**SMALL, name: value})
