"""Attention with a bias in each query's windows: the fused kernel without it, then corrected.

Only the window slots of a query differ from plain attention, some hundred of tens of thousands of
keys. With p the plain attention and D = sum over the window of p (e^bias - 1), the log-sum-exp of a
query's scores grows by log(1 + D) and its output becomes (o + sum p (e^bias - 1) v) / (1 + D). The
kernel's own backward pass, given these two, is right for every key outside the windows; inside, the
difference is added. `window_correction` holds that arithmetic, and is what a faster kernel replaces.

Where a negative bias takes away nearly all that a query attended to, the difference would cancel;
such rows, few or none in practice, are computed in full (`exact_rows`).

Letters: B samples, H heads, Q queries, K keys, S window slots, c width of a head.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from aqr_exp.aqr import exact_rows, window_correction

# The public function hides the log-sum-exp, which the correction needs. torch has it from 2.2 on.
_NAME = "_scaled_dot_product_flash_attention_for_cpu"
_KERNEL: Any = getattr(torch.ops.aten, _NAME, None)
_KERNEL_BACKWARD: Any = getattr(torch.ops.aten, f"{_NAME}_backward", None)

# Below this remainder 1 + D (before a common factor) the correction would lose more than two bits.
_LEAST_REMAINDER = 0.25


def refusal(query: Tensor) -> str | None:
    """Why the fused kernel cannot serve where these queries are; None where it can.

    Args:
        query: [B, H, Q, c] projected queries.
    """
    if query.device.type != "cpu":
        return f"tensors on {query.device.type}"
    if _KERNEL is None:
        return f"torch {torch.__version__} has no fused kernel for CPUs"
    return None


def attend_windowed(
    query: Float[Tensor, "batch heads queries c"],
    key: Float[Tensor, "batch heads keys c"],
    value: Float[Tensor, "batch heads keys c"],
    index: Int[Tensor, "batch queries slots"],
    valid: Bool[Tensor, "batch queries slots"],
    bias: Float[Tensor, "batch queries slots"],
    *,
    watched: Float[Tensor, "batch queries heads 4"] | None = None,
) -> Float[Tensor, "batch heads queries c"]:
    """Attend with a bias in the windows, where `refusal` has nothing to say.

    Args:
        query: Projected queries.
        key: Projected keys.
        value: Projected values.
        index: Which key each slot is; no two valid ones of one query name the same.
        valid: Which slots count.
        bias: What the slot adds to the score.
        watched: Filled, where given, with what `window_statistics.window_sums` gives for each query.

    Returns:
        The attended values. Gradients reach queries, keys, values and the bias (once: there are no
        second derivatives).
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    output: Tensor = _WindowedAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, index.long(), valid, bias.masked_fill(~valid, 0.0).to(dtype), watched
    )
    return output


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The fused CPU kernel.

    Args:
        query: [B, H, Q, c].
        key: [B, H, K, c].
        value: [B, H, K, c].

    Returns:
        The attended values [B, H, Q, c] and the log-sum-exp of the scores [B, H, Q], the latter in
        single precision or better.
    """
    output, log_sum = _KERNEL(_packed(query), _packed(key), _packed(value), 0.0, False)
    return output, log_sum


class _WindowedAttention(torch.autograd.Function):
    """The kernel and the correction as one differentiable step."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        index: Tensor,
        valid: Tensor,
        bias: Tensor,
        watched: Tensor | None,
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            output, log_sum = plain_attention(query, key, value)
            output, log_sum, remainder = window_correction.correct_output(
                query, key, value, index, valid, bias, output, log_sum, watched
            )
            cancelled = remainder < _LEAST_REMAINDER
            if cancelled.any():
                exact_rows.replace_output(
                    cancelled, query, key, value, index, bias, output, log_sum
                )
        output = output.to(query.dtype)
        ctx.save_for_backward(query, key, value, index, valid, bias, output, log_sum, cancelled)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, index, valid, bias, output, log_sum, cancelled = ctx.saved_tensors
        grad_output = _packed(grad_output)
        with torch.autocast("cpu", enabled=False):
            # An infinite log-sum-exp makes every attention of a row zero: the rows that are computed
            # in full add nothing here.
            plain_sum = log_sum.masked_fill(cancelled, torch.inf)
            gradients = _KERNEL_BACKWARD(
                grad_output,
                _packed(query),
                _packed(key),
                _packed(value),
                output,
                plain_sum,
                0.0,
                False,
            )
            gradients = window_correction.correct_gradients(
                grad_output,
                query,
                key,
                value,
                index,
                valid,
                bias,
                output,
                plain_sum,
                gradients,
            )
            if cancelled.any():
                exact_rows.add_gradients(
                    cancelled,
                    grad_output,
                    query,
                    key,
                    value,
                    index,
                    bias,
                    output,
                    log_sum,
                    gradients,
                )
        grad_query, grad_key, grad_value, grad_bias = gradients
        return (
            grad_query.to(query.dtype), grad_key.to(query.dtype), grad_value.to(query.dtype),
            None, None, grad_bias, None,
        )  # fmt: skip


def _packed(tensor: Tensor) -> Tensor:
    """The kernel reads the last axis as if its entries lay side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
