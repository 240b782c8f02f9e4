"""Camera windows that shrink with depth: their cells by hand, and the same attention in every way."""

import dataclasses
import importlib
import re

import pytest
import torch
from attention_cases import assert_same, leaves, results
from small_map import LAYOUT, keys, places_of

from aqr_exp.aqr.attention import compiled
from aqr_exp.aqr.attention.api import attend, attend_dense
from aqr_exp.aqr.attention.flex import attend_flex
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.bias import AttentionBias
from aqr_exp.aqr.layout import locate_queries
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.aqr.windows import gather_windows

QUERY = ((2.0, 3.0), {1: (1.5, 2.5)})


def at_depth(depth_m, *queries):
    """Places in which every view sees the queries at one depth."""
    places = places_of(*(queries or (QUERY,)))
    depths = torch.full(places.seen.shape, float(depth_m)).masked_fill(~places.seen, 0.0)
    return dataclasses.replace(places, depth_m=depths)


def windows_at(depth_m, *queries, size=4, full_within_m=10.0, **how):
    how = {"bev_size": 1, "view_policy": "all", **how}
    return gather_windows(
        at_depth(depth_m, *queries), LAYOUT, camera_size=size, full_within_m=full_within_m, **how
    )


def square(rows, columns):
    return [68 + row * 5 + column for row in rows for column in columns]


@pytest.mark.parametrize(
    ("depth_m", "rows", "columns"),
    [
        (0.5, range(4), range(1, 5)),
        (10.0, range(4), range(1, 5)),  # 4 tokens of 4
        (11.4, range(4), range(1, 5)),  # 3.51
        (11.5, range(3), range(1, 4)),  # 3.48
        (16.0, range(3), range(1, 4)),  # 2.5: halves go up
        (20.0, range(1, 3), range(2, 4)),  # 2: one further ahead than back, as every even side
        (27.0, range(1, 2), range(2, 3)),  # 1.48
        (900.0, range(1, 2), range(2, 3)),  # 0.04: its own token is left
    ],
)
def test_a_window_has_the_side_of_its_depth(depth_m, rows, columns):
    windows = windows_at(depth_m)
    assert keys(windows) == ([2 * 8 + 3], square(rows, columns))
    assert windows.index.shape == (1, 1, 1 + 16)
    assert not windows.index[~windows.valid].any()


def test_each_view_has_the_depth_in_it_and_the_bev_window_has_none():
    places = at_depth(10.0, ((2.0, 3.0), {0: (1.5, 2.5), 2: (1.5, 2.5)}))
    places.depth_m[0, 2] = 20.0
    windows = gather_windows(
        places, LAYOUT, bev_size=3, camera_size=4, view_policy="all", full_within_m=10.0
    )
    bev, camera = keys(windows)
    assert len(bev) == 9
    far = [key + 20 for key in square(range(1, 3), range(2, 4))]
    assert camera == [key - 20 for key in square(range(4), range(1, 5))] + far


@pytest.mark.parametrize("size", range(1, 6))
def test_every_shrunk_window_is_the_smaller_window(size):
    for smaller in range(1, size + 1):
        shrunk = windows_at(10.0 * size / smaller, size=size)
        assert keys(shrunk) == keys(windows_at(1.0, size=smaller, full_within_m=0.0))


def test_off_is_as_before_and_needs_no_depth():
    before = gather_windows(
        places_of(QUERY), LAYOUT, bev_size=1, camera_size=4, view_policy="first"
    )
    off = windows_at(500.0, full_within_m=0.0, view_policy="first")
    assert torch.equal(before.index, off.index)
    assert torch.equal(before.valid, off.valid)
    message = "full_within_m=3.0: the places have no depths"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        gather_windows(
            places_of(QUERY), LAYOUT, bev_size=1, camera_size=4, view_policy="first",
            full_within_m=3.0,
        )  # fmt: skip


def test_depth_is_along_the_camera_whatever_was_done_to_image_and_scene():
    ahead = torch.tensor([[20.0, -20, 0, 0], [16, 0, -20, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    away = torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]))
    halved = torch.diag(torch.tensor([0.5, 0.5, 1.0, 1.0]))
    enlarged = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0])).inverse()
    matrices = torch.stack((torch.stack((ahead, halved @ ahead, ahead @ enlarged)),))
    # 8 m ahead; in a scene that was enlarged twofold, 4 m away in truth.
    places = locate_queries(torch.tensor([[[8.0, 1.0, 0.2]]]), matrices, LAYOUT)
    assert places.seen[0, :, 0].tolist() == [True, True, True]
    assert places.depth_m[0, :, 0].tolist() == [8.0, 8.0, 4.0]
    matrices[0, 1] = away
    places = locate_queries(torch.tensor([[[8.0, 1.0, 0.2]]]), matrices, LAYOUT)
    assert places.depth_m[0, :, 0].tolist() == [8.0, 0.0, 4.0]


QUERIES = (
    QUERY, ((0.0, 0.0), {0: (0.2, 0.3), 1: (3.9, 4.9)}), (None, {2: (2.0, 2.0)}), ((5.0, 7.0), {}),
)  # fmt: skip


def biased_case(depth_m, *, gaussian=False, unit="score"):
    """Query, key and value, and a bias with a gradient."""
    torch.manual_seed(0)
    windows = windows_at(depth_m, *QUERIES, bev_size=2)
    scale = BiasScale(
        start=3.0, learnable=False, minimum=0.0, maximum=20.0, constraint="clamp", sharing="one",
        layers=1,
    )  # fmt: skip
    bias = AttentionBias(scale=scale, local=True, gaussian=gaussian, max_bias=20.0, unit=unit)
    local = bias(torch.randn(1, 4, 2).tanh(), windows, LAYOUT.bev_keys, 0)
    tensors = leaves(1, 2, 4, LAYOUT.keys, 16)
    return tensors, dataclasses.replace(local, value=local.value.detach().requires_grad_())


@pytest.mark.parametrize("depth_m", [5.0, 13.0, 20.0, 400.0])
@pytest.mark.parametrize("options", [{}, {"gaussian": True}, {"unit": "log_odds"}], ids=str)
def test_the_kernels_of_cpus_and_the_matrix_agree(depth_m, options):
    tensors, bias = biased_case(depth_m, **options)
    wanted = results(attend_dense, tensors, bias)
    for backend in ("windowed", "dense", "auto"):
        got = results(lambda *a, backend=backend: attend(*a, backend=backend), tensors, bias)
        assert_same(got, wanted, 1e-6, 1e-5)
    # What was left of the windows alone is biased.
    assert not wanted[1][3][~bias.valid].any()


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("depth_m", [5.0, 13.0, 20.0, 400.0])
def test_flex_agrees(depth_m, monkeypatch):
    module = importlib.import_module("torch.nn.attention.flex_attention")
    monkeypatch.setattr(module, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    tensors, bias = biased_case(depth_m)
    tensors = [each.detach() for each in tensors]
    (got, slope), (wanted, wanted_slope) = (
        (output, torch.autograd.grad(output.square().sum(), bias.value)[0])
        for output in (attend_flex(*tensors, bias, compiler=None), attend_dense(*tensors, bias))
    )
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(slope, wanted_slope, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("with_numba", [True, False])
def test_the_router_reads_the_smaller_window(with_numba, monkeypatch):
    if not with_numba:
        monkeypatch.setattr(compiled, "is_supported", lambda *_: False)
    torch.manual_seed(0)
    attention = GatheredAttention(8, 2)
    tokens = [torch.randn(1, count, 8) for count in (1, LAYOUT.keys, LAYOUT.keys)]
    got = attention(*tokens, windows_at(20.0))
    wanted = attention(*tokens, windows_at(1.0, size=2, full_within_m=0.0))
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)
