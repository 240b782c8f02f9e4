import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.layout import TokenLayout
from aqr_exp.aqr.places import QueryPlaces, locate_queries
from aqr_exp.aqr.windows import cells_for, gather_windows, window_offsets

# Keys: BEV 6 x 8 (0 .. 47), then views of 4 x 5 tokens: 48 .. 67, 68 .. 87, 88 .. 107.
LAYOUT = TokenLayout(
    bev_rows=6,
    bev_columns=8,
    bev_origin_m=(-4.0, -3.0),
    bev_pitch_m=(1.0, 1.0),
    views=3,
    camera_rows=4,
    camera_columns=5,
    image_size_px=(32, 40),
)


def places_of(*queries):
    """One sample; each query is (BEV cell or None, {view: camera cell})."""
    bev = torch.zeros(1, len(queries), 2)
    camera = torch.zeros(1, 3, len(queries), 2)
    inside = torch.zeros(1, len(queries), dtype=torch.bool)
    seen = torch.zeros(1, 3, len(queries), dtype=torch.bool)
    for number, (cell, views) in enumerate(queries):
        if cell is not None:
            bev[0, number], inside[0, number] = torch.tensor(cell), True
        for view, token in views.items():
            camera[0, view, number], seen[0, view, number] = torch.tensor(token), True
    return QueryPlaces(bev=bev, bev_inside=inside, camera=camera, seen=seen)


def windows_of(*queries, bev_size=1, camera_size=1, view_policy="first"):
    return gather_windows(
        places_of(*queries),
        LAYOUT,
        bev_size=bev_size,
        camera_size=camera_size,
        view_policy=view_policy,
    )


def keys(windows, query=0, sample=0):
    """Valid keys of the BEV window, and of the camera windows, in slot order."""
    index, valid = windows.index[sample, query], windows.valid[sample, query]
    split = windows.lidar_slots
    return index[:split][valid[:split]].tolist(), index[split:][valid[split:]].tolist()


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        (1, [0]),
        (2, [0, 1]),
        (3, [-1, 0, 1]),
        (4, [-1, 0, 1, 2]),
        (5, [-2, -1, 0, 1, 2]),
        (8, [-3, -2, -1, 0, 1, 2, 3, 4]),
    ],
)
def test_window_offsets(size, offsets):
    assert window_offsets(size).tolist() == offsets


@given(st.integers(1, 60))
def test_odd_windows_are_symmetric_and_even_ones_reach_one_further_ahead(size):
    offsets = window_offsets(size)
    assert len(offsets) == size
    assert offsets[0] + offsets[-1] == (size + 1) % 2
    assert (offsets.diff() == 1).all()


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
    both = QueryPlaces(
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


@st.composite
def random_places(draw):
    """A batch of two samples with the same number of queries anywhere on the maps."""
    count = draw(st.integers(1, 4))

    def cell(rows, columns):
        return st.tuples(
            st.floats(0, rows, exclude_max=True, width=32),
            st.floats(0, columns, exclude_max=True, width=32),
        )

    query = st.tuples(
        st.none() | cell(6, 8), st.dictionaries(st.integers(0, 2), cell(4, 5), max_size=3)
    )
    samples = [draw(st.lists(query, min_size=count, max_size=count)) for _ in range(2)]
    one, two = (places_of(*queries) for queries in samples)
    places = QueryPlaces(
        bev=torch.cat((one.bev, two.bev)),
        bev_inside=torch.cat((one.bev_inside, two.bev_inside)),
        camera=torch.cat((one.camera, two.camera)),
        seen=torch.cat((one.seen, two.seen)),
    )
    return samples, places


def plain_loop(cell, views, bev_size, camera_size, view_policy):
    """Valid keys of a query, one cell at a time."""

    def square(row, column, size, rows, columns):
        low = -(size // 2) if size % 2 else -(size // 2) + 1
        for r in range(int(row) + low, int(row) + size // 2 + 1):
            for c in range(int(column) + low, int(column) + size // 2 + 1):
                if 0 <= r < rows and 0 <= c < columns:
                    yield r * columns + c

    bev = [] if cell is None else list(square(*cell, bev_size, 6, 8))
    chosen = sorted(views) if view_policy == "all" else sorted(views)[:1]
    camera = [
        48 + view * 20 + key for view in chosen for key in square(*views[view], camera_size, 4, 5)
    ]
    return bev, camera


@given(random_places(), st.integers(1, 8), st.integers(1, 5), st.sampled_from(["first", "all"]))
def test_windows_agree_with_a_plain_loop_and_hold_no_key_twice(
    drawn, bev_size, camera_size, view_policy
):
    samples, places = drawn
    windows = gather_windows(
        places, LAYOUT, bev_size=bev_size, camera_size=camera_size, view_policy=view_policy
    )
    most = max(1, *(len(views) for queries in samples for _, views in queries))
    camera_windows = most if view_policy == "all" else 1
    assert windows.index.shape[-1] == bev_size**2 + camera_windows * camera_size**2
    assert not windows.index[~windows.valid].any()
    for sample, queries in enumerate(samples):
        for number, (cell, views) in enumerate(queries):
            bev, camera = keys(windows, number, sample)
            assert (bev, camera) == plain_loop(cell, views, bev_size, camera_size, view_policy)
            assert len({*bev, *camera}) == len(bev + camera)


@given(random_places(), st.integers(1, 8), st.integers(1, 5))
def test_offsets_lead_from_the_query_s_cell_to_the_key_s(drawn, bev_size, camera_size):
    samples, places = drawn
    windows = gather_windows(
        places, LAYOUT, bev_size=bev_size, camera_size=camera_size, view_policy="first"
    )
    for sample, query, slot in windows.valid.nonzero().tolist():
        key = int(windows.index[sample, query, slot])
        cell, views = samples[sample][query]
        if slot >= windows.lidar_slots:
            cell, key, columns = views[min(views)], (key - 48) % 20, 5
        else:
            columns = 8
        offset = [key // columns - int(cell[0]), key % columns - int(cell[1])]
        assert windows.offset[slot].tolist() == offset


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
    fewer = QueryPlaces(
        bev=places.bev,
        bev_inside=places.bev_inside,
        camera=places.camera[:, :2],
        seen=places.seen[:, :2],
    )
    with pytest.raises(ValueError, match="the places are of 2 views, the layout of 3"):
        gather_windows(fewer, LAYOUT, bev_size=1, camera_size=1, view_policy="first")


def test_a_window_of_no_cells_is_refused():
    with pytest.raises(ValueError, match="a window must be at least 1 cell wide, not 0"):
        window_offsets(0)


@pytest.mark.parametrize(
    ("size", "pitch", "cells"),
    [(4.0, 0.8, 5), (3.9, 0.8, 5), (2.0, 0.8, 3), (0.1, 0.8, 1), (128, 16, 8), (1e6, 1.0, 10**6)],
)
def test_cells_for_a_size_in_metres_or_pixels(size, pitch, cells):
    assert cells_for(size, pitch) == cells


@pytest.mark.parametrize(
    ("size", "pitch", "message"),
    [
        (0.0, 0.8, "the size of a window must be positive and finite, not 0.0"),
        (-1.0, 0.8, "the size of a window must be positive and finite, not -1.0"),
        (float("nan"), 0.8, "the size of a window must be positive and finite, not nan"),
        (float("inf"), 0.8, "the size of a window must be positive and finite, not inf"),
        (4.0, 0.0, "the pitch of a window must be positive and finite, not 0.0"),
    ],
)
def test_cells_for_no_size_is_refused(size, pitch, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cells_for(size, pitch)
