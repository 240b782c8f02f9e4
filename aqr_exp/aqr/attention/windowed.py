"""Attention with a bias in windows: torch's fused kernel without the bias, and its correction.

Rows whose correction would cancel are computed in full. A row is a query of one sample in one head.

Letters: B samples, H heads, Q queries, K keys, S window slots, c width of a head; r rows of one
sample and head.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from aqr_exp.aqr import (
    HeadKeys,
    HeadQueries,
    QueryNumbers,
    WindowSums,
)
from aqr_exp.aqr.attention import correction, fused
from aqr_exp.aqr.attention.compiled import WindowedQKV
from aqr_exp.aqr.bias import LocalBias

# Scores held at once: 16 MiB in single precision.
_CHUNK_SCORES = 2**22


def replace_output(
    chosen: Bool[Tensor, "batch heads queries"],
    windowed: WindowedQKV,
    output: HeadQueries,
    log_sum: QueryNumbers,
) -> None:
    """Overwrite the chosen rows of `output` and `log_sum`, in place, with exact ones."""
    dtype = log_sum.dtype
    for sample, head, rows in _groups(chosen, windowed.key.shape[2]):
        scores = _scores(windowed, (sample, head, rows), dtype)
        log_sum[sample, head, rows] = scores.logsumexp(dim=-1)
        output[sample, head, rows] = scores.softmax(dim=-1) @ windowed.value[sample, head].to(dtype)


def add_gradients(
    chosen: Bool[Tensor, "batch heads queries"],
    grad_output: HeadQueries,
    windowed: WindowedQKV,
    output: HeadQueries,
    log_sum: QueryNumbers,
    gradients: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Add what the chosen rows contribute to the gradients of query, key, value and bias, in place."""
    query, key, value, index, *_ = windowed
    dtype, scale = log_sum.dtype, 1.0 / math.sqrt(query.shape[-1])
    grad_query, grad_key, grad_value, grad_bias = gradients
    for sample, head, rows in _groups(chosen, key.shape[2]):
        scores = _scores(windowed, (sample, head, rows), dtype)
        attention = (scores - log_sum[sample, head, rows, None]).exp()
        wanted = grad_output[sample, head, rows].to(dtype)
        mean_grad = (wanted * output[sample, head, rows].to(dtype)).sum(dim=-1, keepdim=True)
        grad_score = attention * (wanted @ value[sample, head].to(dtype).T - mean_grad)
        near_query = query[sample, head, rows].to(dtype)
        grad_query[sample, head, rows] += grad_score @ key[sample, head].to(dtype) * scale
        grad_key[sample, head] += grad_score.T @ near_query * scale
        grad_value[sample, head] += attention.T @ wanted
        grad_bias[sample, rows] += grad_score.gather(1, index[sample, rows])


def _groups(
    chosen: Bool[Tensor, "batch heads queries"], keys: int
) -> Iterator[tuple[int, int, Int[Tensor, " r"]]]:
    """Sample, head and queries of chosen rows, as many as may be computed at once."""
    step = max(1, _CHUNK_SCORES // keys)
    for sample in range(chosen.shape[0]):
        for head in range(chosen.shape[1]):
            rows = chosen[sample, head].nonzero().squeeze(-1)
            for start in range(0, len(rows), step):
                yield sample, head, rows[start : start + step]


def _scores(
    windowed: WindowedQKV, place: tuple[int, int, Int[Tensor, " r"]], dtype: torch.dtype
) -> Float[Tensor, "r keys"]:
    query, key, _, index, _, bias = windowed
    sample, head, rows = place
    near_query = query[sample, head, rows].to(dtype) / math.sqrt(query.shape[-1])
    scores = near_query @ key[sample, head].to(dtype).T
    return scores.scatter_add_(1, index[sample, rows], bias[sample, rows])


# Below this remainder 1 + D (before a common factor) the correction would lose more than two bits.
_LEAST_REMAINDER = 0.25


def unsupported_reason(query: Tensor) -> str | None:
    """The reason why the fused kernel cannot be used for these queries; None where it can."""
    found = _kernel_for(query)
    return found if isinstance(found, str) else None


def attend_windowed(
    query: HeadQueries,
    key: HeadKeys,
    value: HeadKeys,
    bias: LocalBias,
    *,
    stats_out: WindowSums | None = None,
) -> HeadQueries:
    """Attend with a bias in the windows, where `unsupported_reason` is None.

    Args:
        stats_out: Filled, where given, with what `correction.window_sums` gives for each query.

    Returns:
        The attended values. Gradients reach queries, keys, values and the bias (once: there are no
        second derivatives).
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    output: Tensor = _WindowedAttention.apply(  # type: ignore[no-untyped-call]
        stats_out, query, key, value, bias.index.long(), bias.valid,
        bias.value.masked_fill(~bias.valid, 0.0).to(dtype),
    )  # fmt: skip
    return output


def plain_attention(
    query: HeadQueries, key: HeadKeys, value: HeadKeys
) -> tuple[HeadQueries, QueryNumbers]:
    """The fused kernel: attended values, and in single precision or better the scores' log-sum-exp."""
    output, log_sum, _ = _kernel(query).forward(*map(_packed, (query, key, value)))
    return output, log_sum


def _kernel_for(query: Tensor) -> fused.FusedKernel | str:
    return fused.kernel_for(query.device.type, query.dtype, query.shape[-1])


def _kernel(query: Tensor) -> fused.FusedKernel:
    found = _kernel_for(query)
    if isinstance(found, str):
        raise TypeError(found)  # see `unsupported_reason`
    return found


class _WindowedAttention(torch.autograd.Function):
    """The kernel and the correction as one differentiable step."""

    @staticmethod
    def forward(ctx: Any, stats_out: Tensor | None, *tensors: Tensor) -> Tensor:
        windowed = WindowedQKV(*tensors)
        with torch.autocast(windowed.query.device.type, enabled=False):
            parts = map(_packed, windowed[:3])
            output, log_sum, ctx.state = _kernel(windowed.query).forward(*parts)
            output, log_sum, remainder = correction.correct_output(
                windowed, output, log_sum, stats_out
            )
            cancelled = remainder < _LEAST_REMAINDER
            if cancelled.any():
                replace_output(cancelled, windowed, output, log_sum)
        output = output.to(windowed.query.dtype)
        ctx.save_for_backward(*windowed, output, log_sum, cancelled)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, output, log_sum, cancelled = ctx.saved_tensors
        windowed = WindowedQKV(*tensors)
        grad_output = _packed(grad_output)
        with torch.autocast(grad_output.device.type, enabled=False):
            # An infinite log-sum-exp makes every attention of a row zero: the rows that are computed
            # in full add nothing here.
            plain_sum = log_sum.masked_fill(cancelled, torch.inf)
            read = (*map(_packed, windowed[:3]), output)
            plain = _kernel(windowed.query).backward(grad_output, read, plain_sum, ctx.state)
            gradients = correction.correct_gradients(
                grad_output, windowed, output, plain_sum, plain
            )
            if cancelled.any():
                add_gradients(cancelled, grad_output, windowed, output, log_sum, gradients)
        *by_input, grad_bias = gradients
        by_input = [one.to(part.dtype) for one, part in zip(by_input, windowed[:3], strict=True)]
        return None, *by_input, None, None, grad_bias


def _packed(tensor: Tensor) -> Tensor:
    """The kernel reads the last axis as if its entries lay side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
