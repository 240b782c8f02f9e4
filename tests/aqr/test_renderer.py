import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_map import LAYOUT, places_of

from aqr_exp.aqr.layout import QueryCells
from aqr_exp.aqr.renderer import METHODS, WeightRenderer


def renderer_of(method="gaussian", **changes):
    options = {"sigma_cells": 0.8, "threshold": 0.0, "maximum": 100.0}
    return WeightRenderer(method=method, **{**options, **changes})


def share_of(method, place, cell, rows, columns, sigma):
    """What a query at `place` puts on `cell` for a weight of 1, from the definitions."""
    own = [math.floor(axis) for axis in place]
    step = [c - o for c, o in zip(cell, own, strict=True)]
    if method == "direct":
        return 1.0 if step == [0, 0] else 0.0
    if method == "gaussian":
        if max(map(abs, step)) > math.ceil(3 * sigma):
            return 0.0
        return math.exp(-(step[0] ** 2 + step[1] ** 2) / (2 * sigma**2))
    if method == "bilinear":
        share = 1.0
        for axis, c, size in zip(place, cell, (rows, columns), strict=True):
            held = min(max(axis, 0.5), size - 0.5)
            share *= max(0.0, 1.0 - abs(held - (c + 0.5)))
        return share

    def closeness(c):
        return 1.0 / (math.dist(place, (c[0] + 0.5, c[1] + 0.5)) + 1e-6)

    around = [
        (own[0] + down, own[1] + right)
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if 0 <= own[0] + down < rows and 0 <= own[1] + right < columns
    ]
    return closeness(cell) / sum(map(closeness, around)) if tuple(cell) in around else 0.0


def plain_map(method, queries, rows, columns, sigma=0.8):
    """Loops over queries (place, weight) and cells."""
    total = [[0.0] * columns for _ in range(rows)]
    for place, weight in queries:
        for row in range(rows):
            for column in range(columns):
                share = share_of(method, place, (row, column), rows, columns, sigma)
                total[row][column] += weight * share
    return torch.tensor(total, dtype=torch.float64)


def plain_maps(method, weights, places, sigma=0.8):
    """The BEV map of each sample, and the maps of its views, loops throughout."""
    bev, views = [], []
    for sample in range(len(weights)):
        lidar, camera = weights[sample].unbind(-1)
        seen = places.bev_inside[sample].nonzero()[:, 0].tolist()
        queries = [(places.bev[sample, q].tolist(), lidar[q].item()) for q in seen]
        bev.append(plain_map(method, queries, LAYOUT.bev_rows, LAYOUT.bev_columns, sigma))
        for view in range(LAYOUT.views):
            seen = places.seen[sample, view].nonzero()[:, 0].tolist()
            queries = [(places.camera[sample, view, q].tolist(), camera[q].item()) for q in seen]
            views.append(
                plain_map(method, queries, LAYOUT.camera_rows, LAYOUT.camera_columns, sigma)
            )
    return torch.stack(bev)[:, None], torch.stack(views)[:, None]


def random_places(samples, queries):
    """Anywhere on both maps, borders included; a third of the queries off each map."""
    bev_size = torch.tensor([LAYOUT.bev_rows, LAYOUT.bev_columns])
    camera_size = torch.tensor([LAYOUT.camera_rows, LAYOUT.camera_columns])
    bev = torch.rand(samples, queries, 2) * bev_size
    camera = torch.rand(samples, LAYOUT.views, queries, 2) * camera_size
    # Corners, and places right on the border of two cells or at a centre.
    bev[:, 0], bev[:, 1] = 0.0, bev_size - 1e-5
    bev[:, 2], bev[:, 3] = torch.tensor([2.0, 3.0]), torch.tensor([2.5, 3.5])
    camera[:, :, 0], camera[:, :, 1] = 0.0, camera_size - 1e-5
    inside = torch.rand(samples, queries) > 0.3
    seen = torch.rand(samples, LAYOUT.views, queries) > 0.3
    inside[:, :4], seen[:, :, :4] = True, True
    return QueryCells(
        bev=torch.where(inside[..., None], bev, 0.0), bev_inside=inside,
        camera=torch.where(seen[..., None], camera, 0.0), seen=seen,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigma", [0.3, 0.8, 2.0])
def test_maps_are_those_of_plain_loops(method, sigma):
    torch.manual_seed(0)
    places = random_places(2, 20)
    weights = torch.rand(2, 20, 2, dtype=torch.float64)
    bev, views = renderer_of(method, sigma_cells=sigma)(weights, places, LAYOUT)
    wanted_bev, wanted_views = plain_maps(method, weights, places, sigma)
    assert bev.shape == (2, 1, 6, 8)
    assert views.shape == (6, 1, 4, 5)
    torch.testing.assert_close(bev, wanted_bev, atol=1e-9, rtol=0)
    torch.testing.assert_close(views, wanted_views, atol=1e-9, rtol=0)


@given(
    st.tuples(
        st.floats(0.0, 6.0, exclude_max=True, width=32),
        st.floats(0.0, 8.0, exclude_max=True, width=32),
    ),
    st.sampled_from([*METHODS]),
)
def test_one_query_anywhere(place, method):
    bev, _ = renderer_of(method)(torch.ones(1, 1, 2), places_of((place, {})), LAYOUT)
    wanted = plain_map(method, [(place, 1.0)], 6, 8)
    torch.testing.assert_close(bev[0, 0].double(), wanted, atol=1e-4, rtol=0)
    if method == "gaussian":
        assert bev.max() == 1.0
    else:
        assert bev.sum().item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_one_cell(method):
    layout = replace(LAYOUT, bev_rows=1, bev_columns=1, camera_rows=1, camera_columns=2)
    places = places_of(((0.3, 0.9), {1: (0.5, 0.5)}))
    bev, views = renderer_of(method)(torch.full((1, 1, 2), 0.6), places, layout)
    assert bev.item() == pytest.approx(0.6, abs=1e-6)
    assert views[1, 0, 0, 0].item() == pytest.approx(0.6, abs=1e-5)
    assert views[0].tolist() == views[2].tolist() == [[[0.0, 0.0]]]


@pytest.mark.parametrize("method", METHODS)
def test_every_seeing_view_gets_the_camera_weight(method):
    places = places_of(
        (None, {0: (1.5, 4.5), 2: (2.5, 0.5)}),
        ((2.5, 2.5), {}),
        (None, {}),
        ((1.5, 6.5), {2: (0, 0)}),
    )
    weights = torch.tensor([[[0.9, 0.4], [0.7, 0.8], [0.9, 0.9], [0.3, 0.0]]], requires_grad=True)
    bev, views = renderer_of(method)(weights, places, LAYOUT)
    assert views[0, 0, 1, 4].item() == pytest.approx(0.4, abs=1e-4)
    assert views[2, 0, 2, 0].item() == pytest.approx(0.4, abs=1e-4)
    assert not views[1].any()
    assert bev[0, 0, 2, 2].item() == pytest.approx(0.7, abs=1e-3)
    (gradient,) = torch.autograd.grad(bev.sum() + views.sum(), weights)
    # Off the BEV; seen by no camera; neither.
    assert gradient[0, 0, 0] == gradient[0, 1, 1] == gradient[0, 2, 0] == gradient[0, 2, 1] == 0.0
    assert (gradient[0, [0, 1, 3, 3], [1, 0, 0, 1]] > 0).all()


def test_what_a_query_off_the_map_weighs_does_not_matter():
    weights = torch.tensor([[[math.nan, math.inf]]])
    bev, views = renderer_of()(weights, places_of((None, {})), LAYOUT)
    assert not bev.any()
    assert not views.any()


@pytest.mark.parametrize("method", METHODS)
def test_gradients_by_finite_differences(method):
    torch.manual_seed(3)
    places = random_places(1, 6)
    weights = torch.rand(1, 6, 2, dtype=torch.float64, requires_grad=True)
    renderer = renderer_of(method)
    assert torch.autograd.gradcheck(lambda w: renderer(w, places, LAYOUT), weights)


def test_the_sum_of_all_queries_is_cut_off_at_both_ends():
    cells = ((0.5, 0.5), (0.5, 0.5), (1.5, 1.5), (2.5, 2.5), (3.5, 3.5), (3.5, 3.5), (4.5, 4.5))
    weights = torch.tensor([0.9, 0.8, 0.009, -0.5, 0.006, 0.006, 0.011])
    leaf = torch.stack((weights, weights), dim=-1)[None].requires_grad_()
    renderer = WeightRenderer(method="direct", sigma_cells=1.0)
    bev, _ = renderer(leaf, places_of(*((cell, {}) for cell in cells)), LAYOUT)
    # 1.7 is above 1.5; .009 and -.5 are below .01; .006 twice is not.
    wanted = torch.zeros(6, 8)
    wanted[0, 0], wanted[3, 3], wanted[4, 4] = 1.5, 0.012, 0.011
    torch.testing.assert_close(bev[0, 0], wanted)
    (gradient,) = torch.autograd.grad(bev.sum(), leaf)
    assert gradient[0, :, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_right_on_the_threshold_and_on_the_maximum_is_kept():
    places = places_of(((0.5, 0.5), {}), ((1.5, 1.5), {}))
    leaf = torch.tensor([[[0.25, 0.0], [1.5, 0.0]]], requires_grad=True)
    bev, _ = renderer_of("direct", threshold=0.25, maximum=1.5)(leaf, places, LAYOUT)
    assert (bev[0, 0, 0, 0].item(), bev[0, 0, 1, 1].item()) == (0.25, 1.5)
    (gradient,) = torch.autograd.grad(bev.sum(), leaf)
    assert gradient[0, :, 0].tolist() == [1.0, 1.0]


def test_half_precision_and_autocast_render_in_full_precision():
    torch.manual_seed(4)
    places, weights = random_places(1, 30), torch.rand(1, 30, 2).bfloat16()
    wanted = renderer_of()(weights.float(), places, LAYOUT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = renderer_of()(weights, places, LAYOUT)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": "cubic"},
            "method='cubic': must be one of gaussian, bilinear, direct, distance",
        ),
        ({"sigma_cells": 0.0}, "sigma_cells=0.0: must be a positive number of cells"),
        ({"sigma_cells": math.nan}, "sigma_cells=nan: must be a positive number of cells"),
        ({"sigma_cells": math.inf}, "sigma_cells=inf: must be a positive number of cells"),
        ({"threshold": -0.1}, "threshold=-0.1, maximum=100.0: must be finite"),
        ({"threshold": 1.5, "maximum": 1.5}, "threshold=1.5, maximum=1.5: must be finite"),
        ({"threshold": math.nan}, "threshold=nan, maximum=100.0: must be finite"),
        ({"maximum": math.inf}, "threshold=0.0, maximum=inf: must be finite"),
    ],
)
def test_wrong_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        renderer_of(**changes)


def test_places_of_other_queries_or_views_are_refused():
    places = places_of(((0.5, 0.5), {}), ((1.5, 1.5), {}))
    with pytest.raises(
        ValueError, match=re.escape("(1, 2) queries and 3 views do not fit (1, 3) queries and 3")
    ):
        renderer_of()(torch.ones(1, 3, 2), places, LAYOUT)
    with pytest.raises(ValueError, match=r"and 3 views do not fit .* and 2 views"):
        renderer_of()(torch.ones(1, 2, 2), places, replace(LAYOUT, views=2))
