"""The compiled path: when it is taken, that threads and order do not matter, and its own parts."""

import functools
import logging
import math
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from attention_cases import (
    assert_same,
    leaves,
    random_bias,
    results,
    rounding_of_window_attention,
)
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.attention import compiled, kernel_parts
from aqr_exp.aqr.attention.api import attend, attend_dense
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.attention.kernel_parts import exp
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.windows import Windows

windowed = functools.partial(attend, backend="windowed")


def test_exp_is_right_to_a_few_units_in_the_last_place():
    for x in np.linspace(-86.0, 87.0, 4001, dtype=np.float32):
        assert math.isclose(exp(x), math.exp(x), rel_tol=2e-7), x
    assert exp(np.float32(0.0)) == 1.0
    assert 0.0 < exp(np.float32(-math.inf)) == exp(np.float32(-1e9)) < 1e-37


@given(st.data())
def test_single_precision_agrees_with_the_definition(data):
    batch, heads, width = (data.draw(st.integers(1, n)) for n in (2, 3, 9))
    queries, keys = data.draw(st.integers(2, 12)), data.draw(st.integers(2, 40))
    slots = data.draw(st.integers(1, keys))
    strength = data.draw(st.sampled_from([0.1, 1.0, 10.0]))
    torch.manual_seed(data.draw(st.integers(0, 2**31)))
    tensors = leaves(batch, heads, queries, keys, width)
    bias = random_bias(batch, queries, keys, slots, strength)
    got, wanted = results(windowed, tensors, bias), results(attend_dense, tensors, bias)
    torch.testing.assert_close(got[0], wanted[0], atol=2e-6, rtol=1e-5)
    for one, other in zip(got[1], wanted[1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * max(1.0, other.abs().max()), rtol=1e-5)


def test_windows_of_a_whole_modality():
    torch.manual_seed(0)
    tensors, bias = leaves(2, 4, 40, 300, 16), random_bias(2, 40, 300, 300, 10.0)
    index = torch.arange(200).expand(2, 40, 200)
    bias = LocalBias(
        index=index,
        valid=torch.ones_like(index, dtype=torch.bool),
        value=bias.value[..., :200].detach().requires_grad_(),
    )
    assert_same(results(windowed, tensors, bias), results(attend_dense, tensors, bias), 1e-6, 1e-5)


def test_no_query_has_a_window():
    torch.manual_seed(0)
    tensors, bias = leaves(1, 2, 5, 30, 8), random_bias(1, 5, 30, 4, 3.0)
    empty = LocalBias(
        index=bias.index, valid=torch.zeros_like(bias.valid), value=bias.value.detach()
    )
    assert torch.equal(windowed(*tensors, empty), attend(*tensors, None))


@pytest.mark.parametrize("count", [2, 3])
def test_the_same_bits_with_any_number_of_threads(count, kernel_threads):
    torch.manual_seed(0)
    tensors, bias = leaves(2, 4, 150, 900, 16), random_bias(2, 150, 900, 40, 3.0)
    kernel_threads(1)
    alone = results(windowed, tensors, bias)
    kernel_threads(count)
    shared = results(windowed, tensors, bias)
    assert torch.equal(alone[0], shared[0])
    for one, other in zip(alone[1], shared[1], strict=True):
        assert torch.equal(one, other)


def router_attention(attention, inputs, windows, grad_output):
    output = attention(*inputs, windows)
    leaves_of = [*inputs, *attention.parameters()]
    return [output.detach(), *torch.autograd.grad(output, leaves_of, grad_output)]


def test_the_router_s_attention_agrees_with_torch_and_between_threads(monkeypatch, kernel_threads):
    torch.manual_seed(0)
    attention = GatheredAttention(32, 4)
    inputs = [torch.randn(2, n, 32, requires_grad=True) for n in (130, 400, 400)]
    bias = random_bias(2, 130, 400, 30, 1.0)
    windows = Windows(
        index=bias.index, valid=bias.valid, offset=torch.zeros(30, 2, dtype=torch.long),
        lidar_slots=10, keys=400,
    )  # fmt: skip
    made = attention, inputs, windows, torch.randn(2, 130, 32)
    kernel_threads(1)
    alone = router_attention(*made)
    kernel_threads(2)
    shared = router_attention(*made)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))
    monkeypatch.setattr(compiled, "is_supported", lambda *_: False)
    allowed = rounding_of_window_attention(*made)
    for one, other, bound in zip(alone, router_attention(*made), allowed, strict=True):
        # Neither is exact.
        assert (one - other).abs().max() <= 2 * bound
        # An error of a thousandth would be seen.
        assert other.abs().max() > 1000 * bound


def test_windows_that_name_no_key_are_refused():
    windows = Windows(
        index=torch.tensor([[[0, 4]]]), valid=torch.ones(1, 1, 2, dtype=torch.bool),
        offset=torch.zeros(2, 2, dtype=torch.long), lidar_slots=1, keys=4,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"^windows name keys 0 to 4, but there are keys 0 to 3$"):
        GatheredAttention(8, 2)(*(torch.randn(1, n, 8) for n in (1, 4, 4)), windows)


def test_slots_sorted_by_key():
    index = np.array([[2, 0, 1], [1, 2, 0], [2, 0, 0]])
    valid = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0]], dtype=bool)
    starts, rows, position = (
        np.empty(4, np.int64),
        np.empty(5, np.int64),
        np.empty((3, 3), np.int32),
    )
    kernel_parts.sort_slots(index, valid, 0, 3, 3, starts, rows, position)
    assert starts.tolist() == [0, 1, 2, 5]
    assert rows.tolist() == [0, 1, 0, 1, 2]
    assert position[valid].tolist() == [2, 0, 1, 3, 4]


def test_what_is_not_served_is_said_once(caplog, monkeypatch):
    compiled._refuse.cache_clear()
    single, double = torch.zeros(2), torch.zeros(2, dtype=torch.float64)
    with caplog.at_level(logging.INFO):
        assert compiled.is_supported(single, single)
        assert not compiled.is_supported(single, double)
        assert not compiled.is_supported(double)
        assert not compiled.is_supported(single.to("meta"))
        monkeypatch.setattr(compiled, "_installed", lambda: False)
        assert not compiled.is_supported(single)
    assert caplog.messages == [
        f"attention in windows runs uncompiled: {reason}"
        for reason in ("tensors of torch.float64", "tensors on meta", "no numba")
    ]


def test_compiled_code_is_reached_from_attend(monkeypatch):
    called = []
    for name in ("correct_output", "correct_gradients"):
        function = getattr(compiled, name)
        monkeypatch.setattr(
            compiled, name, lambda *a, f=function, n=name: (called.append(n), f(*a))[1]
        )
    results(attend, leaves(1, 2, 9, 50, 8), random_bias(1, 9, 50, 6, 3.0))
    assert called == ["correct_output", "correct_gradients"]


PROGRAM = """
import os, sys, torch
if sys.argv[1] == "without":
    sys.modules["numba"] = None
from aqr_exp.aqr.attention.api import attend
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.attention import parallel
parallel._LEAST_SHARED = 1
torch.set_num_threads(2)
torch.manual_seed(0)
tensors = [torch.randn(1, 2, n, 8, requires_grad=True) for n in (200, 400, 400)]
index = torch.arange(9).expand(1, 200, 9)
bias = LocalBias(index=index, valid=index >= 0, value=torch.randn(1, 200, 9))
def step():
    output = attend(*tensors, bias)
    return output.square().sum() + sum(g.sum() for g in torch.autograd.grad(output.sum(), tensors))
first = float(step())
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # torch's own threads do not survive either
    with torch.no_grad():
        attend(*tensors, bias)
    torch.set_num_threads(2)
    parallel.parallel_for(lambda first, last: None, 1000, 10**9)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(first, float(step()), "numba" in sys.modules and sys.modules["numba"] is not None)
"""


@pytest.mark.parametrize("numba", ["with", "without"])
def test_a_forked_worker_may_use_threads_too(numba, tmp_path):
    kept = tmp_path / "code; echo"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(kept)}
    compiled_here = kernel_parts._cache_folder()
    if numba == "with" and compiled_here is not None:  # by other tests: it takes half a minute
        shutil.copytree(compiled_here, kept / compiled_here.name)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, numba], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    first, again, has_numba = done.stdout.split()
    assert first == again
    assert has_numba == str(numba == "with")
    assert kept.exists() == (numba == "with")


def test_without_a_folder_to_write_to(tmp_path):
    (tmp_path / "file").touch()
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "file" / "folder")}
    program = "from aqr_exp.aqr.attention.kernel_parts import exp, round_up4; print(round_up4(5))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "8\n", done.stderr


@pytest.mark.parametrize(
    ("queries", "keys", "slots", "matrix"),
    [(9, 50, 13, True), (9, 50, 12, False), (2**9, 2**12, 2**11, True), (2**9 + 1, 2**12, 2**11, False)],
)  # fmt: skip
def test_auto_takes_the_matrix_where_it_is_small_and_the_windows_large(
    queries, keys, slots, matrix, monkeypatch
):
    from aqr_exp.aqr.attention import api

    called = []
    for name in ("attend_dense", "attend_windowed"):
        monkeypatch.setattr(api, name, lambda *a, n=name: called.append(n) or a[0])
    index = torch.zeros(1, 1, 1, dtype=torch.long).expand(1, queries, slots)
    bias = LocalBias(index=index, valid=index == 0, value=torch.zeros(1, queries, slots))
    query, key = torch.zeros(1, 2, queries, 1), torch.zeros(1, 2, keys, 1)
    attend(query, key, key, bias)
    attend(query, key, key, bias, backend="windowed")
    assert called == ["attend_dense" if matrix else "attend_windowed", "attend_windowed"]


def test_an_unknown_backend_is_refused():
    tensors, bias = leaves(1, 1, 3, 9, 2), random_bias(1, 3, 9, 1, 1.0)
    with pytest.raises(
        ValueError, match=r"^backend='fast': must be one of auto, windowed, dense, flex$"
    ):
        attend(*tensors, bias, backend="fast")
