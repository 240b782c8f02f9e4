"""Laws of all windows: a plain loop finds the same keys, and no key twice."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from small_map import LAYOUT, keys, places_of

from aqr_exp.aqr.layout import QueryCells
from aqr_exp.aqr.windows import gather_windows


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
    places = QueryCells(
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
