"""Attention from each query to the keys of its own windows, without a [queries x keys] mask.

Compiled kernels read the windows' keys where they are, where they can (`kernel_choice`). Otherwise
the keys are gathered for some queries at a time, and again in the backward pass, so that [B, Q, S, C]
is never held as a whole.

Letters: B samples, Q queries, K keys, S window slots, H heads, C width, c = C / H width of a head,
N = B Q queries and M = B K keys of all samples.
"""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aqr_exp.aqr import compiled_windows, kernel_choice
from aqr_exp.aqr.windows import Windows

# Gathered numbers held at once, for the keys and again for the values: 4 MiB in single precision,
# which a CPU's cache holds. Measured, larger chunks are slower there, and smaller ones not faster.
_CHUNK_NUMBERS = 2**20


class GatheredAttention(nn.Module):
    """Multi-head attention of queries to the keys of their windows.

    Keys and values are projected once, not once for each window they are in. Keys have no bias: it
    would shift all scores of a query alike, which softmax does not see.

    Args:
        width: C.
        heads: H; divides C.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads}: must be at least 1 and divide width={width}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Float[Tensor, "batch queries width"],
        key: Float[Tensor, "batch keys width"],
        value: Float[Tensor, "batch keys width"],
        windows: Windows,
    ) -> Float[Tensor, "batch queries width"]:
        """Attend.

        Args:
            query: Content plus encoding.
            key: Token content plus encoding.
            value: Token content.
            windows: Which keys each query may attend to.

        Returns:
            The attended values; zero, without any gradient, for a query whose windows are empty.

        Raises:
            ValueError: If the windows are of other queries or keys, or (where that can be told
                without waiting for a device) name a key that there is not.
        """
        if windows.index.shape[:2] != query.shape[:2] or windows.keys != key.shape[1]:
            raise ValueError(
                f"windows of {tuple(windows.index.shape[:2])} queries and {windows.keys} keys do "
                f"not fit {tuple(query.shape[:2])} queries and {key.shape[1]} keys"
            )
        if windows.index.device.type == "cpu" and windows.index.numel():
            low, high = (int(end) for end in windows.index.aminmax())
            if low < 0 or high >= windows.keys:
                raise ValueError(
                    f"windows name keys {low} to {high}, but there are keys 0 to {windows.keys - 1}"
                )
        projected = self.query(query), self.key(key), self.value(value)
        index = windows.index.long()
        if kernel_choice.serves(*projected):
            attended: Tensor = _CompiledAttention.apply(  # type: ignore[no-untyped-call]
                *projected, index, windows.valid, self.heads
            )
        else:
            samples = torch.arange(len(key), device=key.device)
            attended = _GatheredAttention.apply(  # type: ignore[no-untyped-call]
                *(part.flatten(0, 1) for part in projected),
                (index + samples[:, None, None] * key.shape[1]).flatten(0, 1),
                windows.valid.flatten(0, 1),
                self.heads,
            )
        some = windows.valid.any(dim=-1, keepdim=True)
        # Here and not in the shares: the output projection's bias must not reach these queries either.
        output: Tensor = self.out(attended.view_as(query))
        return output.masked_fill(~some, 0.0)


class _CompiledAttention(torch.autograd.Function):
    """The kernels as one differentiable step; the backward pass attends again."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        index: Tensor,
        valid: Tensor,
        heads: int,
    ) -> Tensor:
        ctx.heads = heads
        output = compiled_windows.attend(query, key, value, index, valid, heads)
        ctx.save_for_backward(query, key, value, index, valid, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, index, valid, output = ctx.saved_tensors
        gradients = compiled_windows.attend_gradients(
            grad_output, query, key, value, index, valid, output, ctx.heads
        )
        return *gradients, None, None, None


class _GatheredAttention(torch.autograd.Function):
    """A loop over chunks of queries; the backward pass gathers and attends again."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        index: Tensor,
        valid: Tensor,
        heads: int,
    ) -> Tensor:
        ctx.heads = heads
        ctx.save_for_backward(query, key, value, index, valid)
        output = torch.empty_like(query)
        for rows in _chunks(len(index), index.shape[1], key.shape[1]):
            output[rows] = _attend(
                query[rows], key[index[rows]], value[index[rows]], valid[rows], heads
            )
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, index, valid = ctx.saved_tensors
        grad_query, grad_key, grad_value = (torch.zeros_like(t) for t in (query, key, value))
        for rows in _chunks(len(index), index.shape[1], key.shape[1]):
            places = index[rows].flatten()
            inputs = [
                tensor.detach().requires_grad_()
                for tensor in (query[rows], key[index[rows]], value[index[rows]])
            ]
            with torch.enable_grad():
                output = _attend(inputs[0], inputs[1], inputs[2], valid[rows], ctx.heads)
            parts = torch.autograd.grad(output, inputs, grad_output[rows])
            grad_query[rows] = parts[0]
            grad_key.index_add_(0, places, parts[1].flatten(0, 1))
            grad_value.index_add_(0, places, parts[2].flatten(0, 1))
        return grad_query, grad_key, grad_value, None, None, None


def _chunks(queries: int, slots: int, width: int) -> list[slice]:
    """Stretches of queries whose gathered keys are few enough."""
    step = max(1, _CHUNK_NUMBERS // max(1, slots * width))
    return [slice(first, first + step) for first in range(0, queries, step)]


def _attend(
    query: Float[Tensor, "rows width"],
    key: Float[Tensor, "rows slots width"],
    value: Float[Tensor, "rows slots width"],
    valid: Bool[Tensor, "rows slots"],
    heads: int,
) -> Float[Tensor, "rows width"]:
    """softmax(query key / sqrt(c)) value over the valid slots; where there are none, over all slots."""
    query, key, value = (t.view(*t.shape[:-1], heads, -1) for t in (query, key, value))
    hidden = ~valid[..., None]
    scores = (query[:, None] * key).sum(dim=-1) / math.sqrt(key.shape[-1])  # [rows, S, H]
    # Not minus infinity, which alone has no softmax. Beside any other score both give exactly 0.
    share = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=1)
    return (share[..., None] * value).sum(dim=1).flatten(-2)
