import inspect
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.modulator import MODES, FeatureModulator

LEARNED = ("channelwise", "adaptive")


def case_of(maps=2, channels=3, dtype=torch.float32):
    torch.manual_seed(0)
    feature = torch.randn(maps, channels, 2, 4, dtype=dtype)
    return feature, torch.rand(maps, 1, 2, 4, dtype=dtype) * 1.5


def modulator_of(mode, residual, channels=3):
    return FeatureModulator(channels=channels, mode=mode, residual=residual)


def trained(mode, residual):
    modulator = modulator_of(mode, residual)
    torch.manual_seed(1)
    for parameter in modulator.parameters():
        parameter.data.normal_()
    return modulator


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("residual", "wanted"),
    [
        (0.0, [[[[2.0, 0.0]], [[-1.0, 0.0]]]]),
        (0.25, [[[[2.5, 1.0]], [[-1.25, 2.0]]]]),
        (0.7, [[[[3.4, 2.8]], [[-1.7, 5.6]]]]),
        (1.0, [[[[4.0, 4.0]], [[-2.0, 8.0]]]]),
    ],
)
def test_every_mode_starts_at_the_formula(mode, residual, wanted):
    feature = torch.tensor([[[[4.0, 4.0]], [[-2.0, 8.0]]]])
    weight_map = torch.tensor([[[[0.5, 0.0]]]])
    got = modulator_of(mode, residual, channels=2)(feature, weight_map)
    torch.testing.assert_close(got, torch.tensor(wanted))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [modulator_of, trained])
def test_residual_one_is_the_identity_bit_for_bit_whatever_was_learned(mode, make):
    feature, weight_map = case_of()
    assert torch.equal(make(mode, 1.0)(feature, weight_map), feature)


@pytest.mark.parametrize(
    ("mode", "make"), [(m, modulator_of) for m in MODES] + [("adaptive", trained)]
)
def test_residual_zero_is_the_product_bit_for_bit(mode, make):
    feature, weight_map = case_of()
    assert torch.equal(make(mode, 0.0)(feature, weight_map), feature * weight_map)


@given(st.floats(0.0, 1.0), st.floats(-8.0, 8.0), st.floats(0.0, 1.5), st.sampled_from(MODES))
def test_the_formula_holds_for_any_numbers(residual, x, weight, mode):
    feature = torch.full((1, 3, 1, 1), x, dtype=torch.float64)
    weight_map = torch.full((1, 1, 1, 1), weight, dtype=torch.float64)
    got = modulator_of(mode, residual).double()(feature, weight_map)
    wanted = x * (residual + (1.0 - residual) * weight)
    assert got.flatten().tolist() == pytest.approx([wanted] * 3, abs=1e-12)


def test_a_channel_has_its_own_gain():
    modulator = modulator_of("channelwise", 0.5, channels=2)
    with torch.no_grad():
        modulator.gain.weight.copy_(torch.tensor([2.0, 0.0]).view(2, 1, 1, 1))
        modulator.gain.bias.copy_(torch.tensor([0.1, -0.4]))
    got = modulator(torch.full((1, 2, 1, 1), 10.0), torch.full((1, 1, 1, 1), 0.3))
    # .5 + .5 (2 * .3 + .1), and .5 + .5 * -.4
    torch.testing.assert_close(got.flatten(), torch.tensor([8.5, 3.0]))


def test_a_cell_has_its_own_gate():
    modulator = modulator_of("adaptive", 0.25, channels=2)
    with torch.no_grad():
        # Of the first channel, the second, and the map.
        modulator.gate.weight.copy_(torch.tensor([1.0, 0.0, 2.0]).view(1, 3, 1, 1))
        modulator.gate.bias.fill_(-0.5)
    feature = torch.tensor([[[[1.0, -3.0]], [[4.0, 8.0]]]])
    got = modulator(feature, torch.tensor([[[[0.5, 0.0]]]]))
    first = 1.0 / (1.0 + math.exp(-(math.log(1 / 3) + 1.0 + 1.0 - 0.5)))
    second = 1.0 / (1.0 + math.exp(-(math.log(1 / 3) - 3.0 - 0.5)))
    factors = first + (1 - first) * 0.5, second
    wanted = [[factors[0], -3.0 * factors[1]], [4.0 * factors[0], 8.0 * factors[1]]]
    torch.testing.assert_close(got[0, :, 0], torch.tensor(wanted))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("residual", [0.0, 0.7, 1.0])
def test_gradients_by_finite_differences(mode, residual):
    modulator = trained(mode, residual).double()
    inputs = [tensor.requires_grad_() for tensor in case_of(maps=1, dtype=torch.float64)]
    assert torch.autograd.gradcheck(modulator, inputs)


@pytest.mark.parametrize("mode", LEARNED)
def test_what_is_learned_has_a_gradient_from_the_start(mode):
    modulator = modulator_of(mode, 0.7)
    feature, weight_map = case_of()
    modulator(feature, weight_map).square().sum().backward()
    gradients = [parameter.grad for parameter in modulator.parameters()]
    assert len(gradients) == 2
    assert all(gradient.abs().min() > 0 for gradient in gradients)


def test_at_the_limits_the_gate_neither_learns_nor_breaks():
    for residual in (0.0, 1.0):
        modulator = trained("adaptive", residual)
        feature, weight_map = case_of()
        modulator(feature, weight_map.requires_grad_()).sum().backward()
        assert all(not parameter.grad.any() for parameter in modulator.parameters())
        wanted = feature.sum(dim=1, keepdim=True) * (1.0 - residual)
        torch.testing.assert_close(weight_map.grad, wanted)


def test_elementwise_has_nothing_to_learn():
    assert list(modulator_of("elementwise", 0.7).parameters()) == []


@pytest.mark.parametrize("mode", MODES)
def test_half_precision_features_stay_so_and_the_factor_does_not(mode):
    feature, weight_map = case_of()
    half = feature.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = modulator_of(mode, 0.7)(half, weight_map)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, half * (0.7 + (1.0 - 0.7) * weight_map).bfloat16())


@pytest.mark.parametrize("mode", ["elementwise", "adaptive"])
def test_a_learned_factor_and_offset_of_the_map_start_without_effect(mode):
    feature, weight_map = case_of()
    plain = modulator_of(mode, 0.7)
    learned = FeatureModulator(channels=3, mode=mode, residual=0.7, learnable=True)
    assert torch.equal(learned(feature, weight_map), plain(feature, weight_map))
    assert learned.gain.weight.shape == (1, 1, 1, 1)
    learned(feature, weight_map).square().sum().backward()
    assert all(parameter.grad.abs().min() > 0 for parameter in learned.parameters())


@pytest.mark.parametrize(
    ("activation", "factors"),
    [
        # of 2 * .5 - .4 = .6 and, where no query reaches, of -.4
        ("none", (0.6, -0.4)),
        ("relu", (0.6, 0.0)),
        ("sigmoid", (0.6456563, 0.4013123)),
        ("tanh", (0.5370496, -0.3799490)),
    ],
)
def test_the_activation_is_of_the_learned_map(activation, factors):
    modulator = FeatureModulator(
        channels=2, mode="elementwise", residual=0.5, learnable=True, activation=activation
    )
    with torch.no_grad():
        modulator.gain.weight.fill_(2.0)
        modulator.gain.bias.fill_(-0.4)
    got = modulator(torch.full((1, 2, 1, 2), 10.0), torch.tensor([[[[0.5, 0.0]]]]))
    wanted = torch.tensor([5.0 + 5.0 * factor for factor in factors])
    torch.testing.assert_close(got, wanted.expand(1, 2, 1, 2))


def test_an_activation_acts_in_every_mode_and_a_gain_of_channels_comes_before_it():
    feature = torch.full((1, 3, 1, 1), 2.0)
    for mode in MODES:
        modulator = FeatureModulator(channels=3, mode=mode, residual=0.0, activation="sigmoid")
        got = modulator(feature, torch.zeros(1, 1, 1, 1))
        assert got.flatten().tolist() == [1.0] * 3  # 2 sigmoid(0)


def test_channelwise_does_not_learn_the_map_twice():
    message = "learnable: mode='channelwise' learns the map's factors already"
    with pytest.raises(ValueError, match=f"^{message}$"):
        FeatureModulator(channels=3, mode="channelwise", residual=0.5, learnable=True)
    with pytest.raises(ValueError, match=r"^activation='gelu': must be one of none, relu, sigmoid"):
        FeatureModulator(channels=3, mode="channelwise", residual=0.5, activation="gelu")


@pytest.mark.parametrize("residual", [-0.01, 1.01, math.nan, math.inf])
@pytest.mark.parametrize("mode", MODES)
def test_a_residual_outside_its_range_is_refused(residual, mode):
    with pytest.raises(ValueError, match=f"^residual={residual}: must be from 0 to 1$"):
        modulator_of(mode, residual)


def test_an_unknown_mode_is_refused():
    message = "mode='gated': must be one of elementwise, channelwise, adaptive"
    with pytest.raises(ValueError, match=f"^{message}$"):
        modulator_of("gated", 0.7)


@pytest.mark.parametrize("shape", [(1, 1, 2, 4), (2, 1, 2, 3), (2, 1, 1, 4)])
def test_a_map_of_another_size_is_refused(shape):
    feature, _ = case_of()
    message = (
        f"a weight map of shape {shape} does not fit features of shape (2, 3, 2, 4): "
        "it must be (2, 1, 2, 4)"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        # Without the tests' own check of shapes, which users do not have.
        inspect.unwrap(FeatureModulator.forward)(
            modulator_of("elementwise", 0.5), feature, torch.ones(shape)
        )
