import math

import pytest
import torch

from aqr_exp.aqr.attention.statistics import AttentionStatistics
from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.aqr.statistics import attention_scalars, bias_scalars, scale_scalars, weight_scalars

# One denoising query, whose numbers would spoil every result, before the learnable ones.
DENOISING = 1


def test_weights_by_hand():
    weights = torch.tensor(
        [[[9.0, -9.0], [0.5, 0.1], [0.2, 0.6]], [[-9.0, 9.0], [0.3, 0.25], [0.0, 0.25]]]
    )
    got = weight_scalars(weights, first_query=DENOISING)
    assert got == pytest.approx(
        {
            "weight_lidar_mean": 0.25,
            "weight_lidar_std": math.sqrt((0.25**2 + 0.05**2 + 0.05**2 + 0.25**2) / 4),
            "weight_camera_mean": 0.3,
            "weight_camera_std": math.sqrt((0.2**2 + 0.3**2 + 0.05**2 + 0.05**2) / 4),
            "prefers_lidar": 0.25,
            "prefers_camera": 0.5,
            "prefers_neither": 0.25,
        }
    )
    wide = weight_scalars(weights, first_query=DENOISING, margin=0.3)
    assert (wide["prefers_lidar"], wide["prefers_camera"]) == (0.25, 0.25)


def test_all_queries_count_where_none_is_for_denoising():
    got = weight_scalars(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), first_query=0)
    assert (got["weight_lidar_mean"], got["prefers_lidar"], got["prefers_neither"]) == (
        0.5,
        0.5,
        0.0,
    )


def local(value, valid):
    return LocalBias(
        index=torch.zeros(1, 3, 3, dtype=torch.long),
        valid=torch.tensor([valid], dtype=torch.bool),
        value=torch.tensor([value]),
    )


def test_a_local_bias_by_hand():
    # Two BEV slots and a camera slot; what an invalid slot holds does not count.
    bias = local(
        [[50.0, 50.0, 50.0], [1.0, -2.0, 4.0], [4.0, 70.0, 70.0]],
        [[1, 1, 1], [1, 1, 1], [1, 0, 0]],
    )
    got = bias_scalars(bias, lidar_slots=2, first_query=DENOISING)
    assert got == pytest.approx(
        {
            "bias_lidar_mean": 1.0,
            "bias_lidar_std": math.sqrt((0 + 9 + 9) / 3),
            "bias_lidar_min": -2.0,
            "bias_lidar_max": 4.0,
            "bias_camera_mean": 4.0,
            "bias_camera_std": 0.0,
            "bias_camera_min": 4.0,
            "bias_camera_max": 4.0,
            "bias_share_above_3": 0.5,
        }
    )


def test_a_bias_of_exactly_three_is_not_beyond_it():
    bias = local([[0.0] * 3, [3.0, -3.0, -3.1], [0.0] * 3], [[0] * 3, [1] * 3, [0] * 3])
    got = bias_scalars(bias, lidar_slots=2, first_query=DENOISING)
    assert got["bias_share_above_3"] == pytest.approx(1 / 3)


def test_a_modality_without_slots_has_no_numbers():
    bias = local([[1.0] * 3] * 3, [[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    got = bias_scalars(bias, lidar_slots=2, first_query=DENOISING)
    assert {name for name in got if "camera" in name} == set()
    assert got["bias_lidar_mean"] == 1.0
    nobody = local([[1.0] * 3] * 3, [[1, 1, 1], [0, 0, 0], [0, 0, 0]])
    assert bias_scalars(nobody, lidar_slots=2, first_query=DENOISING) == {}


def test_a_global_bias_by_hand():
    bias = GlobalBias(value=torch.tensor([[[90.0, 90.0], [1.0, -4.0], [3.0, 0.0]]]), lidar_keys=5)
    got = bias_scalars(bias, lidar_slots=7, first_query=DENOISING)
    assert (got["bias_lidar_mean"], got["bias_lidar_std"]) == (2.0, 1.0)
    assert (got["bias_camera_min"], got["bias_camera_max"]) == (-4.0, 0.0)
    assert got["bias_share_above_3"] == 0.25


def test_scales_by_hand():
    values = torch.tensor([4.5, 1.0])
    got = scale_scalars(
        ("scale_lidar", "scale_camera"), values, maximum=5.0, gradient=torch.tensor([0.5, 0.0])
    )
    assert got == pytest.approx(
        {
            "scale_lidar": 4.5,
            "scale_lidar_of_max": 0.9,
            "scale_lidar_gradient": 0.5,
            "scale_camera": 1.0,
            "scale_camera_of_max": 0.2,
            "scale_camera_gradient": 0.0,
        }
    )
    assert scale_scalars(("scale",), values[:1], maximum=0.0) == {"scale": 4.5}
    with pytest.raises(ValueError, match="1 names for 2 scales"):
        scale_scalars(("scale",), values, maximum=5.0)


def test_attention_by_hand():
    window = torch.tensor([1.0, 0.0, 1.0])
    table = torch.tensor([[90.0, 0.1, 0.2], [90.0, 0.3, 0.4]])
    statistics = AttentionStatistics(
        mass_before=table[None],
        mass_after=table[None] + 1.0,
        change=table[None] * 2.0,
        entropy=(table * window * 3.0)[None],
        has_window=window[None].bool(),
    )
    got = attention_scalars(statistics, first_query=DENOISING)
    assert got == pytest.approx(
        {
            "mass_in_window_unbiased": 0.25,
            "mass_in_window": 1.25,
            "attention_change": 0.5,
            # The third query alone has a window: .6 and 1.2 in its two heads.
            "window_entropy": 0.9,
        }
    )
    assert "window_entropy" not in attention_scalars(
        AttentionStatistics(
            **dict.fromkeys(("mass_before", "mass_after", "change", "entropy"), table[None]),
            has_window=torch.zeros(1, 3, dtype=torch.bool),
        ),
        first_query=DENOISING,
    )


def test_no_learnable_queries_no_numbers():
    weights = torch.ones(1, 3, 2)
    assert weight_scalars(weights, first_query=3) == {}
    numbers = torch.ones(1, 2, 3)
    empty = AttentionStatistics(
        mass_before=numbers,
        mass_after=numbers,
        change=numbers,
        entropy=numbers,
        has_window=torch.ones(1, 3, dtype=torch.bool),
    )
    assert attention_scalars(empty, first_query=3) == {}


def test_numbers_are_plain():
    got = {
        **weight_scalars(torch.rand(2, 5, 2, requires_grad=True), first_query=0),
        **scale_scalars(("scale",), torch.ones(1, requires_grad=True), maximum=5.0),
    }
    assert {type(value) for value in got.values()} == {float}
