"""Two small cameras, so that every pixel can be worked out by hand.

Both stand at the origin. View 0 looks along +x: depth x, u = 24 - 24 y / x, v = 16 - 24 z / x. View 1
looks along +y with a wider lens: depth y, u = 24 + 12 x / y, v = 16 - 12 z / y. A token is 8 x 8
pixels of a 32 x 48 image.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.layout import TokenLayout, locate_queries

VIEWS = torch.tensor(
    [
        [[24.0, -24, 0, 0], [16, 0, -24, 0], [1, 0, 0, 0], [0, 0, 0, 1]],
        [[12.0, 24, 0, 0], [0, 16, -12, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
    ]
)
# x from -4 to 4 m in 8 columns of 1 m, y from -3 to 3 m in 12 rows of half a metre.
LAYOUT = TokenLayout(
    bev_rows=12,
    bev_columns=8,
    bev_origin_m=(-4.0, -3.0),
    bev_pitch_m=(1.0, 0.5),
    views=2,
    camera_rows=4,
    camera_columns=6,
    image_size_px=(32, 48),
)


def locate(*points, matrices=VIEWS, layout=LAYOUT):
    return locate_queries(torch.tensor([points]), matrices[None], layout)


def test_a_point_by_hand():
    places = locate((2.0, -0.5, 0.25))
    # Row (-.5 + 3) / .5, column 2 + 4; u = 24 + 6 = 30, v = 16 - 3 = 13.
    assert places.bev.tolist() == [[[5.0, 6.0]]]
    assert places.bev_inside.tolist() == [[True]]
    assert places.camera[0, 0].tolist() == [[13 / 8, 30 / 8]]
    # y < 0: behind view 1.
    assert places.seen[0].tolist() == [[True], [False]]
    assert places.camera[0, 1].tolist() == [[0.0, 0.0]]


def test_a_point_in_two_views():
    places = locate((2.0, 1.5, 0.0))
    assert places.seen[0].tolist() == [[True], [True]]
    # u = 24 - 18 = 6 in view 0, and 24 + 16 = 40 in view 1.
    assert places.camera[0].tolist() == [[[2.0, 0.75]], [[2.0, 5.0]]]


def test_a_point_that_no_camera_sees():
    places = locate((-3.0, -1.0, 0.0), (1.0, 0.0, 5.0))
    assert not places.seen.any()
    assert not places.camera.any()
    assert places.bev_inside.all()


def test_a_point_behind_a_camera_is_unseen_though_its_quotient_is_inside_the_image():
    # (-2, .5): u d = -60 and d = -2 would give u = 30.
    assert not locate((-2.0, 0.5, 0.0)).seen[0, 0].any()


def test_a_point_in_the_camera_plane_is_unseen():
    places = locate((0.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert not places.seen.any()
    assert torch.isfinite(places.camera).all()


def test_image_borders_near_ones_in_far_ones_out():
    # At x = 1: u = 24 - 24 y is 0 at y = 1 and 48 at y = -1; v = 16 - 24 z is 0 at z = 2/3.
    places = locate((1.0, 1.0, 0.0), (1.0, -1.0, 0.0), (3.0, 0.0, 2.0), (3.0, 0.0, -2.0))
    assert places.seen[0, 0].tolist() == [True, False, True, False]
    assert places.camera[0, 0, 0].tolist() == [2.0, 0.0]
    assert places.camera[0, 0, 2].tolist() == [0.0, 3.0]


def test_bev_borders_near_ones_in_far_ones_out():
    places = locate((-4.0, -3.0, 0.0), (4.0, 0.0, 0.0), (0.0, 3.0, 0.0), (3.99, 2.99, 9.0))
    assert places.bev_inside.tolist() == [[True, False, False, True]]
    assert places.bev[0, 0].tolist() == [0.0, 0.0]
    assert places.bev[0, 1:3].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", range(3))
def test_points_that_are_nowhere(value, axis):
    point = [1.0, 0.25, 0.1]
    point[axis] = value
    places = locate((1.0, 0.25, 0.1), point)
    assert places.seen[0, 0, 0]
    assert not places.seen[0, :, 1].any()
    # Height plays no part in the BEV map.
    assert places.bev_inside[0].tolist() == [True, axis == 2]
    assert torch.isfinite(places.bev).all()
    assert torch.isfinite(places.camera).all()


def test_points_that_are_very_far():
    far = 3e38
    places = locate((far, 0.25, 0.1), (-far, 0.25, 0.1), (1.0, far, 0.1), (1.0, 1.0, far))
    # Height plays no part in the BEV map.
    assert places.bev_inside.tolist() == [[False, False, False, True]]
    # On the axis of a camera far away is still inside its image, far above it is not.
    assert places.seen[0].tolist() == [[True, False, False, False], [False, False, True, False]]
    assert places.camera[0, 0, 0].tolist() == [2.0, 3.0]


def test_a_place_that_rounds_onto_the_far_border_is_outside():
    layout = TokenLayout(
        bev_rows=1,
        bev_columns=1,
        bev_origin_m=(-1e-9, 0.0),
        bev_pitch_m=(1.0 + 1e-8, 1.0),
        views=1,
        camera_rows=1,
        camera_columns=1,
        image_size_px=(1, 1),
    )
    # In doubles the column is 1 - 9e-9, below the border; as a float it is 1, which is no column.
    places = locate((1.0, 0.5, 0.0), matrices=VIEWS[:1], layout=layout)
    assert (1.0 + 1e-9) / (1.0 + 1e-8) < 1.0
    assert not places.bev_inside.any()


def test_the_published_grid_has_its_true_pitch():
    # 1,024 voxels of .1 m from -54 m at stride 8: 128 cells of .8 m, which end at +48.4 m.
    layout = TokenLayout(
        bev_rows=128,
        bev_columns=128,
        bev_origin_m=(-54.0, -54.0),
        bev_pitch_m=(0.1 * 8, 0.1 * 8),
        views=2,
        camera_rows=20,
        camera_columns=50,
        image_size_px=(320, 800),
    )
    places = locate((0.0, 48.0, 0.0), (48.39, -54.0, 0.0), (48.41, 0.0, 0.0), layout=layout)
    # The range divided by 128 would say 64 at 0 m and 120 at 48 m.
    assert places.bev[0, 0].floor().tolist() == [127.0, 67.0]
    assert places.bev[0, 1].floor().tolist() == [0.0, 127.0]
    assert places.bev_inside.tolist() == [[True, True, False]]


def test_two_augmentations_in_one_batch():
    """Sample 0 has its image halved and mirrored; sample 1 has its scene turned by 90 degrees."""
    halved = torch.diag(torch.tensor([0.5, 0.5, 1.0, 1.0]))
    mirror = torch.tensor([[-1.0, 0, 48, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    quarter = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    matrices = torch.stack((mirror @ halved @ VIEWS, VIEWS @ quarter.inverse()))
    points = torch.tensor([[[2.0, -0.5, 0.25]], [[0.5, 2.0, 0.25]]])  # the same point, turned
    places = locate_queries(points, matrices, LAYOUT)
    # u = 30 becomes 15, mirrored 33; v = 13 becomes 6.5.
    assert places.camera[0, 0].tolist() == [[6.5 / 8, 33 / 8]]
    assert places.bev[0].tolist() == [[5.0, 6.0]]
    # The camera turned with the scene; the BEV map did not.
    assert places.camera[1, 0].tolist() == [[13 / 8, 30 / 8]]
    assert places.bev[1].tolist() == [[10.0, 4.5]]
    assert places.seen[:, :, 0].tolist() == [[True, False], [True, False]]


def test_padded_denoising_slots_lie_at_the_range_s_corner():
    # Reference (0, 0, 0) is the low corner of the range, a point like any other.
    padded, query = (-4.0, -3.0, -2.0), (2.0, -0.5, 0.25)
    places = locate_queries(
        torch.tensor([[padded, query], [query, query]]), VIEWS.expand(2, -1, -1, -1), LAYOUT
    )
    assert places.bev[0, 0].tolist() == [0.0, 0.0]
    assert places.bev_inside[0, 0]
    assert not places.seen[0, :, 0].any()
    for same in (places.bev[0, 1], places.bev[1, 0], places.bev[1, 1]):
        assert same.tolist() == [5.0, 6.0]


def test_autocast_does_not_move_a_place():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, 200, 3, generator=generator) * 8 - 4
    plain = locate_queries(points, VIEWS[None], LAYOUT)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = locate_queries(points, VIEWS[None], LAYOUT)
    assert plain.seen.any()
    assert torch.equal(plain.camera, mixed.camera)
    assert torch.equal(plain.bev, mixed.bev)


def test_no_gradient_flows():
    points = torch.rand(1, 4, 3, requires_grad=True)
    places = locate_queries(points, VIEWS[None], LAYOUT)
    assert not places.bev.requires_grad
    assert not places.camera.requires_grad


def test_no_queries_have_no_places():
    places = locate_queries(torch.zeros(2, 0, 3), VIEWS.expand(2, -1, -1, -1), LAYOUT)
    assert places.bev.shape == (2, 0, 2)
    assert places.seen.shape == (2, 2, 0)


def test_matrices_of_another_number_of_views_are_refused():
    with pytest.raises(ValueError, match="lidar2img has 1 views, the layout 2"):
        locate((0.0, 0.0, 0.0), matrices=VIEWS[:1])


coordinates = st.floats(-6.0, 6.0, width=32)


@given(
    st.lists(st.tuples(coordinates, coordinates, coordinates), min_size=1, max_size=6),
    st.lists(st.floats(-30.0, 30.0, width=32), min_size=32, max_size=32),
)
def test_places_agree_with_a_plain_loop(points, entries):
    matrices = np.array(entries).reshape(2, 4, 4)
    places = locate(*points, matrices=torch.from_numpy(matrices))
    for query, (x, y, z) in enumerate(points):
        row, column = np.float32((y + 3.0) / 0.5), np.float32((x + 4.0) / 1.0)
        inside = 0 <= row < 12 and 0 <= column < 8
        assert places.bev_inside[0, query] == inside
        assert places.bev[0, query].tolist() == ([row, column] if inside else [0.0, 0.0])
        for view in range(2):
            u, v, depth, _ = (
                sum(a * b for a, b in zip(line, (x, y, z, 1.0), strict=True))
                for line in matrices[view]
            )
            if abs(depth) < 1e-6:
                continue  # the order of a sum decides its sign
            row, column = v / depth / 8, u / depth / 8
            if min(abs(row), abs(row - 4), abs(column), abs(column - 6)) < 1e-4:
                continue  # so it does exactly on a border
            seen = depth > 0 and 0 <= row < 4 and 0 <= column < 6
            assert places.seen[0, view, query] == seen
            wanted = [row, column] if seen else [0.0, 0.0]
            assert places.camera[0, view, query].tolist() == pytest.approx(wanted, abs=1e-4)
