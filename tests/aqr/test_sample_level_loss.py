import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.router import ACTIVATIONS, activate, sample_level_loss


def loss_of(weights, usable, activation):
    return sample_level_loss(torch.tensor(weights), torch.tensor(usable), activation=activation)


@pytest.mark.parametrize(
    ("activation", "lidar", "camera"),
    [
        # Each mean weight stands for the shares 3/4 and 1/8.
        ("sigmoid", (0.6, 0.9), (0.0, 0.25)),
        ("tanh", (0.0, 1.0), (-1.0, -0.5)),
        ("logsigmoid", (math.log(9 / 16), 0.0), (math.log(1 / 4), math.log(1 / 16))),
    ],
)
@pytest.mark.parametrize(
    ("usable", "product"),
    [
        ([True, False], 3 / 4 * 7 / 8),
        ([True, True], 3 / 4 * 1 / 8),
        ([False, False], 1 / 4 * 7 / 8),
        ([False, True], 1 / 4 * 1 / 8),
    ],
)
def test_by_hand(activation, lidar, camera, usable, product):
    # Two queries; the mean over two sensors of -log is minus half the log of the product.
    weights = [[[lidar[0], camera[0]], [lidar[1], camera[1]]]]
    got = loss_of(weights, [usable], activation)
    assert got.item() == pytest.approx(-math.log(product) / 2, rel=1e-5)


def test_samples_are_averaged():
    weights = [[[0.5, 0.5]], [[0.9, 0.2]]]
    got = loss_of(weights, [[True, True], [True, False]], "sigmoid")
    wanted = -(2 * math.log(0.5) + math.log(0.9) + math.log(0.8)) / 4
    assert got.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_descent_pulls_the_mean_to_the_end_that_fits(activation):
    logits = torch.tensor([[[0.3, 0.3], [-0.8, -0.8]]], requires_grad=True)
    usable = torch.tensor([[True, False]])
    for _ in range(200):
        loss = sample_level_loss(activate(logits, activation), usable, activation=activation)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient[..., 0] < 0).all()
        assert (gradient[..., 1] > 0).all()
        logits = (logits - 2.0 * gradient).detach().requires_grad_()
    lidar, camera = activate(logits, activation)[0].mean(0).tolist()
    low, high = {"tanh": (-1, 1), "sigmoid": (0, 1), "logsigmoid": (-math.inf, 0)}[activation]
    assert lidar == pytest.approx(high, abs=0.1)
    assert camera < -3.0 if low == -math.inf else camera == pytest.approx(low, abs=0.1)
    assert loss.item() < 0.1


def test_only_the_mean_counts():
    even, uneven = [[[0.5, 0.5], [0.5, 0.5]]], [[[0.1, 0.9], [0.9, 0.1]]]
    usable = [[True, False]]
    assert loss_of(even, usable, "sigmoid").item() == pytest.approx(
        loss_of(uneven, usable, "sigmoid").item(), rel=1e-6
    )


@given(
    st.lists(st.floats(-200.0, 200.0), min_size=2, max_size=2),
    st.lists(st.booleans(), min_size=2, max_size=2),
    st.sampled_from([*ACTIVATIONS]),
)
def test_it_is_finite_and_never_negative_with_a_finite_gradient(logits, usable, activation):
    leaf = torch.tensor([[logits]], requires_grad=True)
    loss = sample_level_loss(
        activate(leaf, activation), torch.tensor([usable]), activation=activation
    )
    loss.backward()
    assert 0.0 <= loss.item() < math.inf
    assert leaf.grad.isfinite().all()
    if activation != "logsigmoid":
        assert loss.item() <= -math.log(1e-6) + 1e-3


def test_right_at_the_ends_it_is_zero():
    assert loss_of([[[1.0, 0.0]]], [[True, False]], "sigmoid").item() == 0.0
    assert loss_of([[[1.0, -1.0]]], [[True, False]], "tanh").item() == 0.0
    assert loss_of([[[0.0, -1e4]]], [[True, False]], "logsigmoid").item() == 0.0


def test_a_neutral_weight_outside_the_range_is_harmless():
    # A switched-off modality of the renderer has weight 1 whatever the activation.
    assert loss_of([[[1.0, 1.0]]], [[True, True]], "logsigmoid").item() == 0.0


def test_an_unknown_activation_is_refused():
    message = "activation='relu': must be one of tanh, sigmoid, logsigmoid"
    with pytest.raises(ValueError, match=f"^{message}$"):
        loss_of([[[1.0, 1.0]]], [[True, True]], "relu")
