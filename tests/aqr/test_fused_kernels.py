"""Fused kernels: each layout of the log-sum-exp gives the same corrected attention."""

from typing import Any

import pytest
import torch
from test_biased_attention import assert_same, leaves, random_bias, results

from aqr_exp.aqr.attention import fused, windowed
from aqr_exp.aqr.attention.api import attend_dense

CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
SEED, OFFSET = torch.tensor(7), torch.tensor(9)
LENGTHS = (None, None, 40, 50)


def flash(query: Any, key: Any, value: Any, dropout: float, causal: bool, debug: bool) -> Any:
    assert not dropout
    assert not causal
    assert not debug
    return (*CPU(query, key, value, 0.0, False), *LENGTHS, SEED, OFFSET, torch.empty(0))


def flash_backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, log_sum: Any, *rest: Any
) -> Any:
    assert rest[:4] == LENGTHS
    assert rest[4:6] == (0.0, False)
    assert rest[6] is SEED
    assert rest[7] is OFFSET
    return CPU_BACKWARD(grad, query, key, value, out, log_sum, 0.0, False)


def efficient(
    query: Any, key: Any, value: Any, mask: Any, keep: bool, dropout: float, causal: bool
) -> Any:
    assert mask is None
    assert keep
    assert not dropout
    assert not causal
    output, log_sum = CPU(query, key, value, 0.0, False)
    padded = torch.full((*log_sum.shape[:2], -(-log_sum.shape[2] // 32) * 32), torch.nan)
    padded[..., : log_sum.shape[2]] = log_sum
    return output, padded, SEED, OFFSET


def efficient_backward(
    grad: Any, query: Any, key: Any, value: Any, mask: Any, out: Any, log_sum: Any, *rest: Any
) -> Any:
    assert mask is None
    assert log_sum.shape[2] % 32 == 0
    assert log_sum[..., query.shape[2] :].isposinf().all()
    assert log_sum.is_contiguous()
    seed, offset, *options = rest
    assert seed is SEED
    assert offset is OFFSET
    assert options == [0.0, [True, True, True, False], False]
    log_sum = log_sum[..., : query.shape[2]].contiguous()
    return (*CPU_BACKWARD(grad, query, key, value, out, log_sum, 0.0, False), None)


def cudnn(
    query: Any,
    key: Any,
    value: Any,
    mask: Any,
    keep: bool,
    dropout: float,
    causal: bool,
    debug: bool,
) -> Any:
    assert mask is None
    assert keep
    assert not dropout
    assert not causal
    assert not debug
    output, log_sum = CPU(query, key, value, 0.0, False)
    return output, log_sum[..., None], *LENGTHS, SEED, OFFSET, torch.empty(0)


def cudnn_backward(
    grad: Any, query: Any, key: Any, value: Any, out: Any, log_sum: Any, *rest: Any
) -> Any:
    assert log_sum.shape == (*query.shape[:3], 1)
    assert rest[0] is SEED
    assert rest[1] is OFFSET
    assert rest[2:] == (None, *LENGTHS, 0.0, False)
    return CPU_BACKWARD(grad, query, key, value, out, log_sum.squeeze(-1), 0.0, False)


LAYOUTS = {
    fused.CPU.name: (CPU, CPU_BACKWARD),
    fused.FLASH.name: (flash, flash_backward),
    fused.EFFICIENT.name: (efficient, efficient_backward),
    fused.CUDNN.name: (cudnn, cudnn_backward),
}


KERNELS = (fused.CPU, fused.FLASH, fused.EFFICIENT, fused.CUDNN)


@pytest.fixture(params=KERNELS, ids=lambda kernel: kernel.name)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A kind of kernel whose operators are the CPU's in the layout of its own."""
    monkeypatch.setattr(fused, "kernel_for", lambda *_: request.param)
    forward, backward = LAYOUTS[request.param.name]
    monkeypatch.setattr(
        fused, "_operator", lambda name: backward if name.endswith("_backward") else forward
    )
    return request.param


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("queries", [9, 32, 40])
@pytest.mark.parametrize("size", [3.0, 30.0])
def test_every_layout_is_corrected_to_the_definition(queries: int, size: float) -> None:
    """The larger bias cancels rows, which are computed in full and add nothing by the kernel."""
    torch.manual_seed(1)
    tensors, bias = leaves(2, 2, queries, 50, 8), random_bias(2, queries, 50, 6, size)
    wanted = results(attend_dense, tensors, bias)
    assert_same(results(windowed.attend_windowed, tensors, bias), wanted, 1e-6, 1e-5)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_kept_and_corrected_in_single(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    exact, bias = leaves(2, 2, 9, 50, 8), random_bias(2, 9, 50, 6, 3.0)
    half = [tensor.detach().to(dtype).requires_grad_() for tensor in exact]
    rounded = [tensor.detach().float().requires_grad_() for tensor in half]
    output, gradients = results(windowed.attend_windowed, half, bias)
    wanted, wanted_gradients = results(attend_dense, rounded, bias)
    assert output.dtype == gradients[0].dtype == dtype
    torch.testing.assert_close(output.float(), wanted, atol=0.03, rtol=0.03)
    for one, other in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (fused.FLASH, torch.bfloat16),
        (fused.FLASH, torch.float16),
        (fused.EFFICIENT, torch.float32),
        (fused.CUDNN, torch.bfloat16),
    ],
)
def test_torchs_own_shapes_and_arguments_fit(kind: Any, dtype: torch.dtype) -> None:
    """The operators themselves, on tensors without memory: queries of a published model."""
    query, grad = (torch.empty(2, 8, 1400, 32, dtype=dtype, device="meta") for _ in range(2))
    key, value = (torch.empty(2, 8, 500, 32, dtype=dtype, device="meta") for _ in range(2))
    output, log_sum, state = kind.forward(query, key, value)
    assert output.shape == query.shape
    assert log_sum.shape == (2, 8, 1400)
    assert log_sum.dtype == torch.float32
    found = kind.backward(grad, (query, key, value, output), log_sum, state)
    assert [one.shape for one in found] == [query.shape, key.shape, value.shape]


@pytest.mark.parametrize(
    ("device", "dtype", "width", "found"),
    [
        ("cpu", torch.float32, 7, fused.CPU),
        ("cpu", torch.float64, 8, fused.CPU),
        ("cuda", torch.float16, 32, fused.FLASH),
        ("cuda", torch.bfloat16, 8, fused.FLASH),
        ("cuda", torch.float32, 32, fused.EFFICIENT),
        ("cuda", torch.float32, 6, "heads of 6 numbers in float32"),
        ("cuda", torch.float16, 12, "heads of 12 numbers in float16"),
        ("cuda", torch.float64, 32, "heads of 32 numbers in float64"),
        ("meta", torch.float32, 32, "tensors on meta"),
    ],
)
def test_the_kernel_is_the_devices_and_the_precisions(
    device: str, dtype: torch.dtype, width: int, found: Any
) -> None:
    assert fused.kernel_for(device, dtype, width) == found
