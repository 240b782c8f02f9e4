import re

import pytest
import torch
from small_map import LAYOUT, keys, places_of

from aqr_exp.aqr.layout import QueryCells, locate_queries
from aqr_exp.aqr.windows import gather_windows


def windows_of(*queries, bev_size=1, camera_size=1, view_policy="first"):
    return gather_windows(
        places_of(*queries),
        LAYOUT,
        bev_size=bev_size,
        camera_size=camera_size,
        view_policy=view_policy,
    )


@pytest.mark.parametrize(
    ("cell", "size", "wanted"),
    [
        ((0.0, 0.0), 3, [0, 1, 8, 9]),
        ((5.0, 7.0), 3, [38, 39, 46, 47]),
        ((0.5, 7.9), 3, [6, 7, 14, 15]),
        ((5.9, 0.1), 3, [32, 33, 40, 41]),
        ((2.5, 3.5), 3, [10, 11, 12, 18, 19, 20, 26, 27, 28]),
        ((0.0, 3.0), 3, [2, 3, 4, 10, 11, 12]),
        ((2.0, 7.0), 3, [14, 15, 22, 23, 30, 31]),
        ((0.0, 0.0), 2, [0, 1, 8, 9]),
        ((5.0, 7.0), 2, [47]),
        ((5.0, 0.0), 2, [40, 41]),
        ((2.0, 3.0), 2, [19, 20, 27, 28]),
        ((0.0, 0.0), 4, [0, 1, 2, 8, 9, 10, 16, 17, 18]),
        ((5.0, 7.0), 4, [38, 39, 46, 47]),
        ((0.0, 7.0), 4, [6, 7, 14, 15, 22, 23]),
        ((2.0, 7.0), 1, [23]),
    ],
)
def test_bev_windows_by_hand(cell, size, wanted):
    windows = windows_of((cell, {}), bev_size=size)
    assert keys(windows) == (wanted, [])
    assert windows.lidar_slots == size**2
    assert windows.keys == 108


@pytest.mark.parametrize(
    ("view", "cell", "size", "wanted"),
    [
        (0, (0.0, 0.0), 3, [48, 49, 53, 54]),
        (1, (3.9, 4.9), 3, [81, 82, 86, 87]),
        (2, (0.0, 4.0), 2, [92, 97]),
        (2, (3.0, 2.0), 4, [99, 100, 101, 102, 104, 105, 106, 107]),
        (1, (1.0, 2.0), 3, [69, 70, 71, 74, 75, 76, 79, 80, 81]),
    ],
)
def test_camera_windows_by_hand(view, cell, size, wanted):
    for policy in ("first", "all"):
        windows = windows_of((None, {view: cell}), camera_size=size, view_policy=policy)
        assert keys(windows) == ([], wanted)


def test_invalid_slots_hold_key_zero_and_slots_keep_their_place():
    windows = windows_of(((0.0, 0.0), {}), bev_size=3)
    assert windows.index[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 8, 9, 0]
    assert windows.valid[0, 0].int().tolist() == [0, 0, 0, 0, 1, 1, 0, 1, 1, 0]


def test_offsets_name_the_row_and_column_of_each_slot():
    windows = windows_of(((2.0, 2.0), {0: (0.0, 0.0)}), bev_size=3, camera_size=2)
    bev = [[row, column] for row in (-1, 0, 1) for column in (-1, 0, 1)]
    camera = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert windows.offset.tolist() == bev + camera


def test_a_query_that_no_camera_sees_has_no_camera_window():
    for policy in ("first", "all"):
        windows = windows_of(((2.0, 2.0), {}), camera_size=4, view_policy=policy)
        assert windows.index.shape == (1, 1, 1 + 16)
        assert keys(windows) == ([18], [])


def test_a_query_off_the_bev_map_has_no_bev_window():
    windows = windows_of((None, {0: (0.0, 0.0)}), bev_size=5)
    assert keys(windows) == ([], [48])


def test_a_query_in_two_views():
    queries = (
        (None, {1: (0.0, 0.0), 2: (3.0, 4.0)}),
        (None, {2: (1.0, 1.0)}),
        (None, {}),
    )
    first = windows_of(*queries, camera_size=2, view_policy="first")
    assert first.index.shape == (1, 3, 1 + 4)
    assert [keys(first, query)[1] for query in range(3)] == [
        [68, 69, 73, 74],
        [94, 95, 99, 100],
        [],
    ]
    every = windows_of(*queries, camera_size=2, view_policy="all")
    assert every.index.shape == (1, 3, 1 + 2 * 4)
    assert [keys(every, query)[1] for query in range(3)] == [
        [68, 69, 73, 74, 107],
        [94, 95, 99, 100],
        [],
    ]
    assert every.offset.tolist() == [[0, 0]] + 2 * [[0, 0], [0, 1], [1, 0], [1, 1]]
    # The one visible window comes first, the slots of the missing one follow.
    assert every.valid[0, 1, 1:].int().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_the_slots_are_for_the_query_in_most_views_of_the_batch():
    one = places_of((None, {0: (0.0, 0.0)}))
    three = places_of((None, dict.fromkeys(range(3), (0.0, 0.0))))
    both = QueryCells(
        bev=torch.cat((one.bev, three.bev)),
        bev_inside=torch.cat((one.bev_inside, three.bev_inside)),
        camera=torch.cat((one.camera, three.camera)),
        seen=torch.cat((one.seen, three.seen)),
    )
    windows = gather_windows(both, LAYOUT, bev_size=1, camera_size=1, view_policy="all")
    assert windows.index.shape == (2, 1, 4)
    assert keys(windows, sample=0)[1] == [48]
    assert keys(windows, sample=1)[1] == [48, 68, 88]


def test_a_window_may_exceed_the_shorter_side_of_its_map():
    windows = windows_of(((2.0, 3.0), {0: (1.0, 2.0)}), bev_size=8, camera_size=5)
    assert keys(windows) == (list(range(48)), list(range(48, 68)))


@pytest.mark.parametrize("view_policy", ["first", "all"])
def test_no_queries_have_no_windows(view_policy):
    windows = windows_of(bev_size=3, camera_size=2, view_policy=view_policy)
    assert windows.index.shape == (1, 0, 9 + 4)


def test_augmented_matrices_decide_the_windows():
    """Sample 0: image mirrored. Sample 1: scene turned by 180 degrees, its point and matrix with it."""
    # Depth x, u = 20 - 20 y / x, v = 16 - 20 z / x; the two other views look away.
    ahead = torch.tensor([[20.0, -20, 0, 0], [16, 0, -20, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    away = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1], [0, 0, 0, 1]])
    mirror = torch.tensor([[-1.0, 0, 40, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    matrices = torch.stack(
        (torch.stack((mirror @ ahead, away, away)), torch.stack((away, ahead @ turn, away)))
    )
    points = torch.tensor([[[2.0, -1.0, 0.2]], [[-2.0, 1.0, 0.2]]])
    places = locate_queries(points, matrices, LAYOUT)
    windows = gather_windows(places, LAYOUT, bev_size=1, camera_size=1, view_policy="first")
    # u = 30, v = 14: token (1, 3); mirrored u = 10: token (1, 1).
    assert keys(windows, sample=0) == ([2 * 8 + 6], [48 + 5 + 1])
    assert keys(windows, sample=1) == ([4 * 8 + 2], [68 + 5 + 3])


def test_padded_denoising_slots_leave_the_queries_alone():
    query = ((2.5, 3.5), {1: (1.5, 2.5)})
    corner = ((0.0, 0.0), {})  # reference (0, 0, 0)
    windows = windows_of(corner, corner, query, bev_size=3, camera_size=2)
    alone = windows_of(query, bev_size=3, camera_size=2)
    assert keys(windows, 0) == keys(windows, 1) == ([0, 1, 8, 9], [])
    assert torch.equal(windows.index[:, 2], alone.index[:, 0])
    assert torch.equal(windows.valid[:, 2], alone.valid[:, 0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bev_size": 0}, "the BEV window must be at least 1 cell wide, not 0"),
        ({"camera_size": -3}, "the camera window must be at least 1 cell wide, not -3"),
        (
            {"bev_size": 9},
            "the BEV window of 9 cells is larger than its map of 6 x 8 cells: at most 8",
        ),
        (
            {"camera_size": 6},
            "the camera window of 6 cells is larger than its map of 4 x 5 cells: at most 5",
        ),
        ({"view_policy": "last"}, "unknown view policy 'last': one of first, all"),
    ],
)
def test_windows_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        windows_of(((0.0, 0.0), {}), **change)


def test_places_of_another_number_of_views_are_refused():
    places = places_of(((0.0, 0.0), {}))
    fewer = QueryCells(
        bev=places.bev,
        bev_inside=places.bev_inside,
        camera=places.camera[:, :2],
        seen=places.seen[:, :2],
    )
    with pytest.raises(ValueError, match="the places are of 2 views, the layout of 3"):
        gather_windows(fewer, LAYOUT, bev_size=1, camera_size=1, view_policy="first")
