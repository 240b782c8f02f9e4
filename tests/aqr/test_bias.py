import math

import pytest
import torch

from aqr_exp.aqr.bias import AttentionBias, GlobalBias, LocalBias
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.aqr.windows import Windows

# One sample, three queries, BEV windows of 1 x 3 cells and camera windows of 2 x 2, over 1,000 keys.
# The second query stands at a border, the third is seen by no camera.
OFFSET = torch.tensor([[0, -1], [0, 0], [0, 1], [0, 0], [0, 1], [1, 0], [1, 1]])
INDEX = torch.tensor(
    [[[4, 5, 6, 800, 801, 820, 821], [0, 10, 11, 830, 0, 850, 0], [7, 8, 9, 0, 0, 0, 0]]]
)
VALID = torch.tensor([[[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 0, 1, 0], [1, 1, 1, 0, 0, 0, 0]]]).bool()
WINDOWS = Windows(index=INDEX, valid=VALID, offset=OFFSET, lidar_slots=3, keys=1000)
WEIGHTS = torch.tensor([[[0.5, -0.8], [-1.0, 1.0], [0.2, 0.9]]])


def scale_of(start=2.5, **changes):
    options = {
        "learnable": True, "minimum": 0.5, "maximum": 5.0, "constraint": "clamp", "sharing": "one",
        "layers": 6,
    }  # fmt: skip
    return BiasScale(start=start, **{**options, **changes})


def bias_of(scale=None, **changes):
    options = {"local": True, "gaussian": False, "max_bias": 5.0, "unit": "score"}
    return AttentionBias(scale=scale or scale_of(), **{**options, **changes})


def local(module, weights=WEIGHTS, windows=WINDOWS, layer=0):
    got = module(weights, windows, 800, layer)
    assert isinstance(got, LocalBias)
    assert torch.equal(got.index, windows.index)
    assert torch.equal(got.valid, windows.valid)
    return got.value


def rows(*numbers):
    return torch.tensor([numbers])


def test_weight_times_scale_on_valid_slots_alone():
    wanted = rows(
        [1.25, 1.25, 1.25, -2.0, -2.0, -2.0, -2.0],
        [0.0, -2.5, -2.5, 2.5, 0.0, 2.5, 0.0],
        [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0],
    )
    torch.testing.assert_close(local(bias_of()), wanted)


def test_one_modality_alone():
    lidar = local(bias_of(), WEIGHTS * torch.tensor([1.0, 0.0]))
    assert not lidar[..., 3:].any()
    assert torch.equal(lidar[..., :3], local(bias_of())[..., :3])


def test_gaussian_falloff_by_hand():
    # Sigma is a quarter of the size: .75 cells for the window of 3, .5 for that of 2.
    side = math.exp(-1.0 / (2 * 0.75**2))
    near, far = math.exp(-1.0 / (2 * 0.25)), math.exp(-2.0 / (2 * 0.25))
    square = Windows(
        index=torch.arange(13).view(1, 1, 13),
        valid=torch.ones(1, 1, 13, dtype=torch.bool),
        offset=torch.tensor([[r, c] for r in (-1, 0, 1) for c in (-1, 0, 1)] + OFFSET[3:].tolist()),
        lidar_slots=9,
        keys=100,
    )
    corner = side**2
    wanted = [corner, side, corner, side, 1.0, side, corner, side, corner, 1.0, near, near, far]
    ones = torch.ones(1, 1, 2)
    got = local(bias_of(scale_of(2.0), gaussian=True), ones, square)
    torch.testing.assert_close(got[0, 0], 2.0 * torch.tensor(wanted))
    got = local(bias_of(scale_of(2.0), gaussian=True, sigma_cells=2.0), ones, square)
    wanted = [math.exp(-(r**2 + c**2) / 8.0) for r, c in square.offset.tolist()]
    torch.testing.assert_close(got[0, 0], 2.0 * torch.tensor(wanted))


def test_a_falloff_without_camera_slots():
    bev = Windows(
        index=INDEX[..., :3], valid=VALID[..., :3], offset=OFFSET[:3], lidar_slots=3, keys=1000
    )
    got = local(bias_of(gaussian=True, sigma_cells=1.0), windows=bev)
    side = math.exp(-0.5)
    torch.testing.assert_close(got[0, 0], 1.25 * torch.tensor([side, 1.0, side]))


def test_clamp_and_its_gradient():
    weights = torch.tensor([[[1.0, -0.5], [-1.0, 0.5], [0.5, 1.0]]], requires_grad=True)
    value = local(bias_of(scale_of(4.0), max_bias=3.0), weights)
    wanted = rows(
        [3.0, 3.0, 3.0, -2.0, -2.0, -2.0, -2.0],
        [0.0, -3.0, -3.0, 2.0, 0.0, 2.0, 0.0],
        [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0],
    )
    torch.testing.assert_close(value, wanted)
    (gradient,) = torch.autograd.grad(value.sum(), weights)
    # Scale times unclamped valid slots.
    assert gradient.tolist() == [[[0.0, 16.0], [0.0, 8.0], [12.0, 0.0]]]


def test_log_odds_by_hand():
    ones = torch.ones(1, 3, 2)
    value = local(bias_of(scale_of(0.5), unit="log_odds", max_bias=50.0), ones)
    three, four, two = (0.5 * math.log((1000 - n) / n) for n in (3, 4, 2))
    wanted = rows(
        [three, three, three, four, four, four, four],
        [0.0, two, two, two, 0.0, two, 0.0],
        [three, three, three, 0.0, 0.0, 0.0, 0.0],
    )
    torch.testing.assert_close(value, wanted)
    # At weight 1, scale 1 and even scores the window of three holds half of the mass.
    three *= 2
    assert 3 * math.exp(three) == pytest.approx(997)


@pytest.mark.parametrize("keys", [6, 5, 4])
def test_log_odds_of_most_keys_turn_no_sign_around(keys):
    few = Windows(index=INDEX % keys, valid=VALID, offset=OFFSET, lidar_slots=3, keys=keys)
    value = local(bias_of(unit="log_odds"), torch.ones(1, 3, 2), few)
    assert torch.isfinite(value).all()
    assert not value[0, 0, :3].any()


def test_scales_of_modalities_and_layers():
    pair = scale_of(sharing="modality")
    pair.raw.data.copy_(torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(local(bias_of(pair))[0, 0], torch.tensor([0.5] * 3 + [-1.6] * 4))
    each = scale_of(sharing="layer")
    each.raw.data.copy_(torch.arange(6) + 0.5)
    for layer in range(5):
        got = local(bias_of(each), layer=layer)[0, 0, 1].item()
        assert got == pytest.approx(0.5 * (layer + 0.5))


def test_gradients_reach_the_weights_and_the_scale():
    weights, scale = WEIGHTS.clone().requires_grad_(), scale_of()
    value = local(bias_of(scale), weights)
    by_weight, by_scale = torch.autograd.grad(value.sum(), (weights, scale.raw))
    # Valid slots: 3 and 4, 2 and 2, 3 and 0.
    assert by_weight.tolist() == [[[7.5, 10.0], [5.0, 5.0], [7.5, 0.0]]]
    assert by_scale.item() == pytest.approx(3 * 0.5 - 4 * 0.8 - 2 + 2 + 3 * 0.2)


def test_zero_weights_are_no_bias():
    assert not local(bias_of(), torch.zeros(1, 3, 2)).any()


def test_weights_in_half_precision_make_a_bias_in_single_precision():
    weights = torch.full((1, 3, 2), 0.5, dtype=torch.bfloat16)
    value = local(bias_of(scale_of(2.503)), weights)
    assert value.dtype == torch.float32
    assert value[0, 0, 0].item() == pytest.approx(1.2515)


def test_global_bias():
    got = bias_of(scale_of(4.0), local=False)(WEIGHTS, WINDOWS, 800, 0)
    assert isinstance(got, GlobalBias)
    assert got.lidar_keys == 800
    torch.testing.assert_close(got.value, rows([2.0, -3.2], [-4.0, 4.0], [0.8, 3.6]))
    clamped = bias_of(scale_of(4.0), local=False, max_bias=3.0)(WEIGHTS, WINDOWS, 800, 0)
    torch.testing.assert_close(clamped.value, rows([2.0, -3.0], [-3.0, 3.0], [0.8, 3.0]))


def test_matrices():
    bias = LocalBias(
        index=torch.tensor([[[0, 2, 0], [3, 0, 1]]]),
        valid=torch.tensor([[[True, True, False], [True, False, True]]]),
        value=torch.tensor([[[1.0, 2.0, 9.0], [-1.0, 9.0, 3.0]]]),
    )
    assert bias.dense(4).tolist() == [[[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, -1.0]]]
    assert bias.rows(slice(1, 2)).dense(4).tolist() == [[[0.0, 3.0, 0.0, -1.0]]]
    pair = GlobalBias(value=torch.tensor([[[1.0, -2.0], [3.0, 0.5]]]), lidar_keys=2)
    assert pair.dense(3).tolist() == [[[1.0, 1.0, -2.0], [3.0, 3.0, 0.5]]]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"unit": "logit"}, "unit='logit': must be one of score, log_odds"),
        ({"max_bias": 0.0}, "max_bias=0.0: must be a positive number"),
        ({"max_bias": math.nan}, "max_bias=nan"),
        ({"sigma_cells": -1.0}, "sigma_cells=-1.0: must be a positive number of cells"),
        ({"local": False, "gaussian": True}, "gaussian: needs windows, and local=False has none"),
        ({"local": False, "unit": "log_odds"}, "unit='log_odds': needs windows"),
    ],
)
def test_contradictions_are_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        bias_of(**changes)
