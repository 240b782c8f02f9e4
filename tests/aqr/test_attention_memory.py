"""The reason the bias is no matrix: none of [queries x keys] is ever made."""

import json
import math
import subprocess
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from aqr_exp.aqr.attention.api import attend, attend_dense
from aqr_exp.aqr.attention.statistics import attention_statistics
from aqr_exp.aqr.bias import GlobalBias, LocalBias


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    def __init__(self):
        super().__init__()
        self.numbers = 0
        self.operations = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.operations.add(func.overloadpacket._qualified_op_name)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


QUERIES, KEYS = 96, 6000


def small_case(strength):
    torch.manual_seed(0)
    tensors = [torch.randn(1, 2, n, 4, requires_grad=True) for n in (QUERIES, KEYS, KEYS)]
    index = torch.rand(1, QUERIES, KEYS).argsort(dim=-1)[..., :16]
    bias = LocalBias(
        index=index,
        valid=torch.ones_like(index, dtype=torch.bool),
        value=torch.full(index.shape, strength, requires_grad=True),
    )
    return tensors, bias


def backward_of(function, tensors, bias):
    function(*tensors, bias).square().sum().backward()


def test_the_watch_sees_the_matrix_of_the_definition():
    tensors, bias = small_case(1.0)
    with LargestTensor() as watch:
        backward_of(attend_dense, tensors, bias)
    assert watch.numbers == 2 * QUERIES * KEYS


def test_windows_never_make_the_matrix():
    tensors, bias = small_case(2.0)
    with LargestTensor() as watch:
        backward_of(attend, tensors, bias)
    assert "aten::_scaled_dot_product_flash_attention_for_cpu_backward" in watch.operations
    assert bias.value.grad.abs().min() > 0
    # The largest is what it was given.
    assert watch.numbers == 2 * KEYS * 4 < QUERIES * KEYS


def test_with_a_mask_some_rows_of_the_matrix_at_a_time(monkeypatch):
    monkeypatch.setattr("aqr_exp.aqr.attention.api._CHUNK_SCORES", 2 * 10 * KEYS)
    tensors, bias = small_case(2.0)
    blocked = torch.rand(QUERIES, KEYS) < 0.5
    with LargestTensor() as watch:
        attend(*tensors, bias, blocked).square().sum().backward()
    assert watch.numbers == 2 * 10 * KEYS < QUERIES * KEYS


def test_a_global_bias_never_makes_the_matrix():
    tensors, _ = small_case(0.0)
    bias = GlobalBias(value=torch.ones(1, QUERIES, 2, requires_grad=True), lidar_keys=2000)
    with LargestTensor() as watch:
        backward_of(attend, tensors, bias)
    assert watch.numbers == 2 * KEYS * (4 + 2) < QUERIES * KEYS


def test_monitoring_never_makes_the_matrix():
    tensors, bias = small_case(2.0)
    with LargestTensor() as watch:
        attention_statistics(tensors[0], tensors[1], bias)
    assert watch.numbers <= 2 * KEYS * 4 < QUERIES * KEYS


def test_rows_in_full_are_few_at_a_time(monkeypatch):
    # All of the mass is in the windows, and all of it is taken away.
    monkeypatch.setattr("aqr_exp.aqr.attention.windowed._CHUNK_SCORES", 10 * KEYS)
    tensors, bias = small_case(-9.0)
    with torch.no_grad():
        tensors[1][:, :, bias.index[0, 0]] += 50.0 * tensors[0][:, :, :1].sign()
        bias.index.copy_(bias.index[:, :1].expand_as(bias.index))
    with LargestTensor() as watch:
        backward_of(attend, tensors, bias)
    assert "aten::gather" in watch.operations
    assert watch.numbers <= 10 * KEYS < QUERIES * KEYS


PROGRAM = """
import json, resource, time, torch
from aqr_exp.aqr.attention.api import attend
from aqr_exp.aqr.bias import LocalBias

def peak_gb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

torch.manual_seed(0)
samples, heads, width, queries, keys, slots = 2, 8, 32, 900, 22384, 128
first = torch.randint(0, keys - slots, (samples, queries, 1))
index = first + torch.arange(slots)
before = peak_gb()
tensors = [
    torch.randn(samples, n, heads, width).transpose(1, 2).requires_grad_()
    for n in (queries, keys, keys)
]
value = torch.randn(samples, queries, slots, requires_grad=True)
bias = LocalBias(index=index, valid=torch.ones_like(index, dtype=torch.bool), value=value)
started = time.perf_counter()
attend(*tensors, bias).square().sum().backward()
print(json.dumps({
    "growth_gb": peak_gb() - before,
    "seconds": time.perf_counter() - started,
    "gradients": [float(tensor.grad.abs().max()) for tensor in (*tensors, value)],
}))
"""


def test_full_size_stays_within_four_gigabytes():
    """Batch 2, 900 queries, 22,384 keys, windows of 8 x 8 in both modalities, 8 heads of width 32."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert got["growth_gb"] < 4.0
    assert all(0.0 < gradient < math.inf for gradient in got["gradients"])
    # One dense matrix of scores alone is 2 * 8 * 900 * 22,384 * 4 bytes = 1.2 GB.
    assert got["growth_gb"] < 1.0
