"""The statistics that come with attending: no second pass, and the same numbers as from one."""

import dataclasses
import math

import pytest
import torch
from attention_cases import leaves, random_bias, results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqr_exp.aqr.attention import compiled
from aqr_exp.aqr.attention import statistics as module
from aqr_exp.aqr.attention.api import attend
from aqr_exp.aqr.attention.correction import window_sums
from aqr_exp.aqr.attention.statistics import attend_watched, attention_statistics
from aqr_exp.aqr.bias import GlobalBias, LocalBias

NAMES = ("mass_before", "mass_after", "change", "entropy")


@pytest.fixture(params=["compiled", "uncompiled"], autouse=True)
def kernels(request, monkeypatch):
    """Everything here holds with numba and without."""
    if request.param == "uncompiled":
        monkeypatch.setattr(compiled, "is_supported", lambda *_: False)
    return request.param


def assert_same_statistics(got, wanted, tolerance):
    for name in NAMES:
        one, other = getattr(got, name), getattr(wanted, name)
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance, msg=name)
    assert torch.equal(got.has_window, wanted.has_window)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    seed=st.integers(0, 2**31),
    strength=st.sampled_from([0.0, 0.5, 3.0, 10.0]),
    slots=st.integers(1, 40),
    double=st.booleans(),
)
def test_against_a_pass_of_its_own(seed, strength, slots, double):
    torch.manual_seed(seed)
    dtype = torch.float64 if double else torch.float32
    tensors = leaves(2, 3, 6, 40, 8, dtype)
    bias = random_bias(2, 6, 40, slots, strength, dtype)
    output, got = attend_watched(*tensors, bias, backend="windowed")
    assert torch.equal(output, attend(*tensors, bias, backend="windowed"))
    wanted = attention_statistics(tensors[0], tensors[1], bias)
    assert_same_statistics(got, wanted, 1e-9 if double else 2e-5)
    assert not got.mass_before[:, :, 0].any()
    assert not got.change.requires_grad


def test_nothing_is_attended_twice(monkeypatch):
    torch.manual_seed(0)
    tensors, bias = leaves(1, 2, 9, 200, 8), random_bias(1, 9, 200, 6, 3.0)
    wanted = attention_statistics(tensors[0], tensors[1], bias)
    monkeypatch.delattr(module, "plain_attention")
    _, got = attend_watched(*tensors, bias)
    assert_same_statistics(got, wanted, 1e-5)
    with pytest.raises(NameError):
        attention_statistics(tensors[0], tensors[1], bias)


def test_watching_changes_no_gradient():
    torch.manual_seed(0)
    tensors, bias = leaves(2, 2, 9, 200, 8), random_bias(2, 9, 200, 6, 3.0)
    watched = results(lambda *a: attend_watched(*a)[0], tensors, bias)
    plain = results(attend, tensors, bias)
    assert torch.equal(watched[0], plain[0])
    assert all(torch.equal(one, other) for one, other in zip(watched[1], plain[1], strict=True))


@pytest.mark.parametrize("kind", ["dense", "mask", "global"])
def test_where_no_kernel_corrects_windows_a_second_pass_does_it(kind):
    torch.manual_seed(0)
    tensors, bias = leaves(2, 2, 9, 200, 8), random_bias(2, 9, 200, 6, 3.0)
    blocked = torch.zeros(9, 200, dtype=torch.bool) if kind == "mask" else None
    if kind == "global":
        bias = GlobalBias(value=torch.randn(2, 9, 2), lidar_keys=70)
    backend = "dense" if kind == "dense" else "auto"
    output, got = attend_watched(*tensors, bias, blocked, backend=backend)
    assert torch.equal(output, attend(*tensors, bias, blocked, backend=backend))
    assert_same_statistics(got, attention_statistics(tensors[0], tensors[1], bias), 1e-6)


def test_by_hand():
    # Four equal scores, two keys in the window, bias log 3: shares 3/8, 3/8, 1/8, 1/8.
    query, key = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 4, 2)
    bias = LocalBias(
        index=torch.tensor([[[1, 2, 0]]]),
        valid=torch.tensor([[[True, True, False]]]),
        value=torch.tensor([[[math.log(3.0), math.log(3.0), 0.0]]]),
    )
    _, got = attend_watched(query, key, key, bias, backend="windowed")
    values = [getattr(got, name).item() for name in NAMES]
    assert values == pytest.approx([0.5, 0.75, 0.5, math.log(2.0)])


def test_a_window_with_all_of_the_mass():
    sums = window_sums(
        torch.tensor([[0.25, 0.75]]).log(), torch.tensor([2.0, 2.0]), torch.tensor([True, True])
    )
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert sums[0].tolist() == pytest.approx([1.0, 1.0, 0.0, entropy], abs=1e-6)


def test_misfits_are_refused():
    tensors, bias = leaves(1, 2, 5, 12, 4), random_bias(1, 5, 12, 3, 1.0)
    bad = dataclasses.replace(bias, index=bias.index + 20)
    with pytest.raises(ValueError, match=r"names keys .* but there are keys 0 to 11"):
        attend_watched(*tensors, bad)
