"""Operations of small networks, counted by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.windows import Windows
from aqr_exp.cmt.attention import MultiHeadAttention, ResidualAttention
from aqr_exp.train.measure_cost import SPARSE, count_flops

Q, K, S, C, H = 6, 60, 3, 8, 2


def slots(samples: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    index = torch.arange(S).expand(samples, Q, S).contiguous()
    return index, torch.ones(samples, Q, S, dtype=torch.bool)


def test_a_convolution_and_a_linear_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(80, 7))
    image = torch.rand(1, 3, 4, 5)
    found = count_flops(model, lambda: model(image))
    # 20 places x 4 channels x 27 products, and 80 x 7 products; an addition with each.
    assert found.total == 2 * (20 * 4 * 27) + 2 * (80 * 7)
    assert (found.by_formula, found.not_counted) == (0, ())


def test_grouped_convolutions_count_the_channels_of_a_group() -> None:
    model = nn.Conv1d(6, 6, 1, groups=3)
    series = torch.rand(1, 6, 10)
    assert count_flops(model, lambda: model(series)).total == 2 * 10 * 6 * 2


def test_fused_attention_counts_as_its_two_products() -> None:
    query, key = torch.rand(1, H, Q, C // H), torch.rand(1, H, K, C // H)
    model = nn.Identity()
    found = count_flops(model, lambda: functional.scaled_dot_product_attention(query, key, key))
    assert found.total == 2 * (2 * Q * K * C)


PROJECTIONS = 2 * C * C * (Q + K + K + Q)


def attention_flops(bias: LocalBias | None, backend: str = "auto") -> tuple[int, int]:
    model = MultiHeadAttention(C, H, bias=False)
    model.backend = backend
    query, key = torch.rand(1, Q, C), torch.rand(1, K, C)
    found = count_flops(model, lambda: model(query, key, key, None, bias))
    assert model.backend == backend
    assert not model._forward_pre_hooks
    return found.total, found.by_formula


@pytest.mark.parametrize("backend", ["windowed", "dense"])
def test_a_biased_attention_adds_its_windows_where_they_are_corrected(backend: str) -> None:
    pytest.importorskip("numba")
    assert attention_flops(None, backend) == (PROJECTIONS + 4 * Q * K * C, 0)
    index, valid = slots()
    bias = LocalBias(index=index, valid=valid, value=torch.rand(1, Q, S))
    corrected = 4 * Q * S * C if backend == "windowed" else 0
    expected = PROJECTIONS + 4 * Q * K * C + corrected
    assert attention_flops(bias, backend) == (expected, corrected)


def test_the_decoders_attention_passes_its_bias_by_name_and_is_counted_all_the_same() -> None:
    pytest.importorskip("numba")
    index, valid = slots()
    bias = LocalBias(index=index, valid=valid, value=torch.rand(1, Q, S))
    model = ResidualAttention(C, H, 0.0, bias=False)
    queries, tokens = torch.rand(1, Q, C), torch.rand(1, K, C)
    found = count_flops(model, lambda: model(queries, queries, (tokens, tokens), bias=bias))
    assert found.by_formula == 4 * Q * S * C


def router_attention_flops(keys: int) -> tuple[int, int]:
    index, valid = slots(samples=2)
    model = GatheredAttention(C, H)
    windows = Windows(
        index=index,
        valid=valid,
        offset=torch.zeros(S, 2, dtype=torch.long),
        lidar_slots=S,
        keys=keys,
    )
    query, tokens = torch.rand(2, Q, C), torch.rand(2, keys, C)
    found = count_flops(model, lambda: model(query, tokens, tokens, windows))
    assert not model._forward_pre_hooks
    return found.total, found.by_formula


def test_the_routers_attention_is_counted_in_its_windows_alone() -> None:
    # Ten keys: to project them is cheaper than to do without.
    slot_flops = 4 * 2 * Q * S * C
    assert router_attention_flops(10) == (2 * 2 * C * C * 2 * (Q + 10) + slot_flops, slot_flops)


def test_the_routers_attention_is_counted_as_it_is_done() -> None:
    pytest.importorskip("numba")
    # The four projections of queries alone; every head reads whole tokens.
    slot_flops = 4 * 2 * Q * S * H * C
    assert router_attention_flops(K) == (2 * 2 * C * C * 4 * Q + slot_flops, slot_flops)


def test_what_is_left_out_is_said() -> None:
    class SparseConvolution(nn.Identity):
        """Called as mmdet3d's and spconv's are."""

    model = nn.Sequential(SparseConvolution())
    assert count_flops(model, lambda: model(torch.rand(2))).not_counted == (SPARSE,)
