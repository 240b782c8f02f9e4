import dataclasses
import functools
import math

import pytest
import torch
from attention_cases import assert_same, leaves, random_bias, results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aqr_exp.aqr.attention import compiled, correction
from aqr_exp.aqr.attention.api import attend as attend_by_choice
from aqr_exp.aqr.attention.api import attend_dense
from aqr_exp.aqr.bias import GlobalBias, LocalBias

attend = functools.partial(attend_by_choice, backend="windowed")


@pytest.fixture(params=["compiled", "uncompiled"], autouse=True)
def kernels(request, monkeypatch):
    """Everything here holds with numba and without."""
    if request.param == "uncompiled":
        monkeypatch.setattr(compiled, "is_supported", lambda *_: False)
    return request.param


def plain_loops(query, key, value, bias):
    """One query of one head; lists of numbers, and {key: bias}."""
    scores = [
        sum(a * b for a, b in zip(query, one, strict=True)) / math.sqrt(len(query)) for one in key
    ]
    raised = [math.exp(score + bias.get(place, 0.0)) for place, score in enumerate(scores)]
    return [
        sum(share * one[axis] for share, one in zip(raised, value, strict=True)) / sum(raised)
        for axis in range(len(query))
    ]


def test_the_definition_against_plain_loops():
    torch.manual_seed(0)
    tensors = leaves(2, 2, 3, 5, 4)
    bias = random_bias(2, 3, 5, 2, 3.0)
    got = attend_dense(*tensors, bias)
    query, key, value = (tensor.tolist() for tensor in tensors)
    for sample in range(2):
        for q in range(3):
            valid = bias.valid[sample, q]
            places, adds = bias.index[sample, q][valid], bias.value[sample, q][valid]
            near = dict(zip(places.tolist(), adds.tolist(), strict=True))
            for head in range(2):
                wanted = plain_loops(
                    query[sample][head][q], key[sample][head], value[sample][head], near
                )
                torch.testing.assert_close(got[sample, head, q], torch.tensor(wanted))


SIZES = [(1, 1, 1, 1, 1, 1), (2, 3, 7, 41, 5, 3), (1, 2, 70, 513, 33, 5), (2, 4, 13, 97, 96, 32)]


@pytest.mark.parametrize("strength", [0.9, 5.0, 10.0])
@pytest.mark.parametrize("sizes", SIZES)
def test_windows_are_exact_in_single_precision(sizes, strength):
    batch, heads, queries, keys, slots, width = sizes
    torch.manual_seed(queries)
    tensors = leaves(batch, heads, max(2, queries), keys + 1, width)
    bias = random_bias(batch, max(2, queries), keys + 1, slots, strength)
    assert_same(results(attend, tensors, bias), results(attend_dense, tensors, bias), 1e-6, 1e-5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_windows_are_exact_in_double_precision(data):
    batch, heads, width = (data.draw(st.integers(1, 3)) for _ in range(3))
    queries, keys = data.draw(st.integers(2, 20)), data.draw(st.integers(2, 60))
    slots = data.draw(st.integers(1, keys))
    strength = data.draw(st.sampled_from([0.1, 1.0, 5.0, 10.0, 100.0]))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    tensors = leaves(batch, heads, queries, keys, width, torch.float64, spread=2.0)
    bias = random_bias(batch, queries, keys, slots, strength, torch.float64)
    wanted = results(attend_dense, tensors, bias)
    got = results(attend, tensors, bias)
    torch.testing.assert_close(got[0], wanted[0], atol=1e-10, rtol=1e-10)
    for one, other in zip(got[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias_value", [-5.0, -10.0, -60.0, 10.0])
def test_a_bias_on_nearly_all_the_mass(bias_value, dtype):
    # The first ten keys of 200 point where the queries do: they hold all but some millionths.
    torch.manual_seed(3)
    query, key, value = (tensor.detach() for tensor in leaves(2, 2, 30, 200, 8, dtype, 0.3))
    query, key = query + 2.0, key.clone()
    key[:, :, :10] += 2.5
    tensors = [tensor.requires_grad_() for tensor in (query, key, value)]
    index = torch.arange(10).expand(2, 30, 10)
    before = (query @ key.transpose(-1, -2) / math.sqrt(8)).softmax(-1)[..., :10].sum(-1)
    assert before.min() > 0.9998
    bias = LocalBias(
        index=index,
        valid=torch.ones_like(index, dtype=torch.bool),
        value=torch.full(index.shape, bias_value, dtype=dtype, requires_grad=True),
    )
    got, wanted = results(attend, tensors, bias), results(attend_dense, tensors, bias)
    assert_same(got, wanted, 1e-6, 1e-5)
    if bias_value <= -10.0:
        assert (got[0] - attend(*tensors, None)).abs().max() > 0.1


def test_a_bias_whose_exponential_overflows():
    # e^100 is beyond single precision; scores of that size round at 4e-6.
    torch.manual_seed(9)
    tensors, bias = leaves(2, 2, 30, 200, 8), random_bias(2, 30, 200, 7, 100.0)
    assert_same(results(attend, tensors, bias), results(attend_dense, tensors, bias), 2e-5, 2e-5)
    bias.value.data[bias.valid] = 100.0
    assert_same(results(attend, tensors, bias), results(attend_dense, tensors, bias), 2e-5, 2e-5)


def test_gradients_against_finite_differences():
    torch.manual_seed(1)
    tensors = leaves(1, 2, 4, 9, 3, torch.float64)
    bias = random_bias(1, 4, 9, 3, 2.0, torch.float64)

    def function(query, key, value, bias_value):
        return attend(query, key, value, dataclasses.replace(bias, value=bias_value))

    assert torch.autograd.gradcheck(function, (*tensors, bias.value), atol=1e-7)


def test_gradients_of_rows_in_full_against_finite_differences():
    torch.manual_seed(1)
    tensors = leaves(1, 1, 3, 5, 2, torch.float64)
    index = torch.arange(4).expand(1, 3, 4)
    value = torch.full((1, 3, 4), -6.0, dtype=torch.float64, requires_grad=True)
    bias = LocalBias(index=index, valid=torch.ones_like(index, dtype=torch.bool), value=value)

    def function(query, key, value, bias_value):
        return attend(query, key, value, dataclasses.replace(bias, value=bias_value))

    assert torch.autograd.gradcheck(function, (*tensors, bias.value), atol=1e-7)


def test_a_bias_of_zero_is_no_bias():
    torch.manual_seed(0)
    tensors = leaves(2, 2, 9, 50, 8)
    bias = random_bias(2, 9, 50, 6, 0.0)
    unbiased = attend(*tensors, None)
    assert torch.equal(attend(*tensors, bias), unbiased)
    torch.testing.assert_close(attend_dense(*tensors, bias), unbiased, atol=1e-6, rtol=0)
    nothing = GlobalBias(value=torch.zeros(2, 9, 2), lidar_keys=20)
    torch.testing.assert_close(attend(*tensors, nothing), unbiased, atol=1e-6, rtol=0)


def test_only_queries_with_a_window_change():
    torch.manual_seed(0)
    tensors = leaves(2, 2, 9, 50, 8)
    bias = random_bias(2, 9, 50, 6, 3.0)
    changed = (attend(*tensors, bias) - attend(*tensors, None)).abs().amax(dim=(1, 3))
    assert torch.equal(changed > 1e-6, bias.valid.any(dim=-1))
    assert not changed[:, 0].any()


def test_what_an_invalid_slot_says_is_not_heard():
    torch.manual_seed(0)
    tensors = leaves(1, 2, 4, 20, 8)
    bias = random_bias(1, 4, 20, 6, 3.0)
    loud = dataclasses.replace(
        bias, value=torch.where(bias.valid, bias.value, 9.0).detach().requires_grad_()
    )
    assert torch.equal(attend(*tensors, loud), attend(*tensors, bias))
    assert torch.equal(attend_dense(*tensors, loud), attend_dense(*tensors, bias))
    _, gradients = results(attend, tensors, loud)
    assert not gradients[3][~bias.valid].any()
    assert gradients[3][bias.valid].all()


def test_chunks_of_queries_do_not_matter(monkeypatch):
    torch.manual_seed(0)
    tensors, bias = leaves(2, 2, 9, 50, 8), random_bias(2, 9, 50, 6, 3.0)
    wanted = results(attend, tensors, bias)
    monkeypatch.setattr(correction, "_CHUNK_NUMBERS", 300)
    assert_same(results(attend, tensors, bias), wanted, 1e-6, 1e-6)


def test_half_precision_is_corrected_in_single_precision():
    torch.manual_seed(4)
    exact = [tensor.detach() for tensor in leaves(2, 2, 9, 50, 8)]
    bias = random_bias(2, 9, 50, 6, 5.0)
    half = [tensor.bfloat16().requires_grad_() for tensor in exact]
    rounded = [tensor.detach().float().requires_grad_() for tensor in half]
    got, wanted = results(attend, half, bias), results(attend_dense, rounded, bias)
    assert got[0].dtype == attend_dense(*half, bias).dtype == torch.bfloat16
    assert [gradient.dtype for gradient in got[1]] == [torch.bfloat16] * 3 + [torch.float32]
    torch.testing.assert_close(got[0].float(), wanted[0], atol=0.03, rtol=0.03)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attend(*rounded, bias), attend(*rounded, bias))
        torch.testing.assert_close(attend(*rounded, bias), wanted[0], atol=1e-6, rtol=1e-6)


def test_strange_strides():
    # Queries transposed in their last axes, keys of one sample for all, a gradient of one number.
    torch.manual_seed(8)
    query = torch.randn(2, 3, 8, 9).transpose(-1, -2).requires_grad_()
    key = torch.randn(1, 3, 50, 8).expand(2, -1, -1, -1).requires_grad_()
    value = torch.randn(2, 50, 8, 3).permute(0, 3, 1, 2).requires_grad_()
    bias = random_bias(2, 9, 50, 6, 3.0)
    for function in (attend, attend_dense):
        output = function(query, key, value, bias)
        gradients = torch.autograd.grad(output.sum(), (query, key, value, bias.value))
        if function is attend:
            got = output.detach(), gradients
    assert_same(got, (output.detach(), gradients), 1e-6, 1e-5)


def test_the_same_numbers_every_time():
    torch.manual_seed(0)
    tensors, bias = leaves(2, 4, 60, 900, 16), random_bias(2, 60, 900, 40, 3.0)
    first, second = results(attend, tensors, bias), results(attend, tensors, bias)
    assert torch.equal(first[0], second[0])
    assert all(torch.equal(one, other) for one, other in zip(first[1], second[1], strict=True))
