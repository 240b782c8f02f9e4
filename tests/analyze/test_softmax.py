import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.analyze.softmax import (
    SoftmaxRegion,
    bias_for_mass,
    entropy_nats,
    responses,
    slope,
    softmax,
    verdict,
    window_mass,
)

WEIGHTS = st.lists(st.floats(-1, 1), min_size=2, max_size=16)


def test_the_worked_example_of_the_notes() -> None:
    # e^0 + e^2 + e^-1 + e^.5 = 1 + 7.389056 + .367879 + 1.648721 = 10.405657
    found = softmax(np.array([0.0, 2.0, -1.0, 0.5]))
    by_hand = [1 / 10.405657, 7.389056 / 10.405657, 0.367879 / 10.405657, 1.648721 / 10.405657]
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    np.testing.assert_allclose(found, [0.096, 0.710, 0.035, 0.158], atol=5e-4)


@given(WEIGHTS, st.floats(0, 1e6))
def test_probabilities_are_the_definitions(weights: list[float], scale: float) -> None:
    (found,) = responses(weights, [scale])
    probabilities = found.probabilities
    assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert found.maximum == probabilities.max()
    assert 0.0 <= found.entropy_nats <= math.log(len(weights)) + 1e-12
    # Each odds is e to the difference of the biases, as long as floats can hold it.
    for weight, probability in zip(weights, probabilities, strict=True):
        gap = scale * (max(weights) - weight)
        if gap < 600:
            assert probability / found.maximum == pytest.approx(math.exp(-gap), rel=1e-6)


def test_scales_of_any_size_do_not_overflow() -> None:
    for scale in (1e3, 1e6, 1e300):
        (found,) = responses([0.0, 0.8, -0.6, 0.3], [scale])
        assert found.probabilities == pytest.approx([0.0, 1.0, 0.0, 0.0], abs=1e-100)
        assert found.entropy_nats == pytest.approx(0.0, abs=1e-100)
        assert found.maximum == 1.0
        assert found.verdict is SoftmaxRegion.SATURATED
    assert softmax(np.array([1.7e308, -1.7e308])).tolist() == [1.0, 0.0]


def test_entropy_by_hand() -> None:
    # 1/2 log 2 + 2 * 1/4 log 4 = 1.5 log 2
    assert entropy_nats(np.array([0.5, 0.25, 0.25])) == pytest.approx(1.5 * math.log(2))
    assert entropy_nats(np.array([1.0, 0.0])) == 0.0
    assert math.copysign(1.0, entropy_nats(np.array([1.0, 0.0]))) == 1.0


def test_the_largest_bias_keeps_its_sign_and_decides() -> None:
    low, high = responses([0.1, -0.8], [3.0, 5.0])
    assert (low.largest_bias, low.verdict) == (pytest.approx(-2.4), SoftmaxRegion.SAFE)
    assert (high.largest_bias, high.verdict) == (-4.0, SoftmaxRegion.EDGE)


@pytest.mark.parametrize(
    ("bias", "name"),
    [
        (0.0, "responsive"),
        (2.0, "responsive"),
        (-2.0, "responsive"),
        (2.001, "safe"),
        (3.0, "safe"),
        (0.1 * 30, "safe"),  # 3.0000000000000004
        (3.001, "edge"),
        (-5.0, "edge"),
        (5.001, "saturated"),
        (1e300, "saturated"),
    ],
)
def test_verdicts_by_size(bias: float, name: str) -> None:
    assert verdict(bias).value == name


def test_slopes_are_those_of_the_notes() -> None:
    for bias, expected in ((0.0, 0.25), (1.0, 0.197), (2.0, 0.105), (3.0, 0.045), (5.0, 0.0066)):
        assert slope(bias) == pytest.approx(expected, abs=5e-4)
        assert slope(-bias) == slope(bias)
        p = 1 / (1 + math.exp(-bias))
        assert slope(bias) == pytest.approx(p * (1 - p), rel=1e-12)
    assert slope(1e4) == 0.0


def test_window_mass_of_the_notes() -> None:
    for bias, percent in ((0.0, 0.11), (0.9, 0.28), (3.0, 2.2)):
        by_hand = 25 * math.exp(bias) / (25 * math.exp(bias) + 22_384 - 25)
        assert window_mass(bias, 25, 22_384) == pytest.approx(by_hand, rel=1e-12)
        assert 100 * window_mass(bias, 25, 22_384) == pytest.approx(percent, abs=0.01)
    assert bias_for_mass(0.5, 25, 22_384) == pytest.approx(6.8, abs=0.005)
    assert window_mass(1e4, 25, 22_384) == 1.0
    assert window_mass(-1e4, 25, 22_384) == 0.0


@given(st.integers(2, 10**6), st.floats(-20, 20), st.data())
def test_mass_is_the_softmax_of_all_keys(keys: int, bias: float, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, keys - 1))
    share = window_mass(bias, window, keys)
    even, inside = softmax(np.array([math.log(keys - window), math.log(window) + bias]))
    assert share == pytest.approx(inside, rel=1e-9)
    assert 1 - share == pytest.approx(even, abs=1e-12)


@given(st.floats(0.001, 0.999), st.integers(1, 1000), st.integers(1001, 10**6))
def test_the_bias_for_a_mass_gives_that_mass(share: float, window: int, keys: int) -> None:
    assert window_mass(bias_for_mass(share, window, keys), window, keys) == pytest.approx(share)


@pytest.mark.parametrize("window", [0, 9, 10])
def test_a_window_must_leave_something_outside(window: int) -> None:
    with pytest.raises(
        ValueError, match=rf"^a window of {window} keys must hold from 1 to 8 of 9$"
    ):
        window_mass(1.0, window, 9)
