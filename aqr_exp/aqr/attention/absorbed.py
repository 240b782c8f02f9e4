"""Attention in windows that reads tokens as they are: no projection of all of them, forward or backward.

A score of head h is q_h . W_h x = (W_h' q_h) . x, and shares of W_h x sum to W_h times the shares of x: a
projection may be absorbed by the query before, and applied to the mixed tokens after. Each head then
reads rows as wide as a token, but only those in windows. By compiled kernels alone (`kernel_choice`).

Letters: B samples, Q queries, K tokens, S window slots, H heads, C width; N = B Q queries of all samples.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from aqr_exp.aqr.attention.compiled import order_of, rows_of
from aqr_exp.aqr.attention.kernel_choice import kernels
from aqr_exp.aqr.attention.parallel import in_ranges

# What a multiplication takes in the loops over slots, to one in a product of matrices. At cmt_tiny's shapes
# both ways took equally long with 1 (180 slots); 2 leaves a margin for machines whose memory is slower.
_SLOT_COST = 2
# Columns of a token that one thread adds up: whole vectors, and two threads at the least width in use.
_COLUMNS = 64


def cheaper(queries: int, keys: int, slots: int, width: int, heads: int) -> bool:
    """Whether absorbed projections take less than those of all tokens, by counting multiplications.

    Projected: K C^2 for keys and again for values, and S C for every query, twice. Absorbed: Q C^2, and
    S H C. A backward pass takes about twice as much, either way.

    Args:
        queries: Q.
        keys: K.
        slots: S.
        width: C.
        heads: H.
    """
    return queries * (width + _SLOT_COST * slots * (heads - 1)) < keys * width


def mix(
    query: Float[Tensor, "heads all_queries width"],
    memory: Float[Tensor, "batch keys width"],
    key_pos: Float[Tensor, "batch keys width"],
    index: Int[Tensor, "batch queries slots"],
    valid: Bool[Tensor, "batch queries slots"],
) -> Float[Tensor, "heads all_queries width"]:
    """softmax(query (memory + key_pos) / sqrt(C / H)) memory over the valid slots, in every head.

    Args:
        query: Queries of all samples, after the keys' projection was absorbed.
        memory: Token content.
        key_pos: Token encoding.
        index: Which token each slot is.
        valid: Which slots count.

    Returns:
        Mixed tokens; zero for a query without a valid slot.
    """
    mixed: Tensor = _Mix.apply(query, memory, key_pos, index, valid)  # type: ignore[no-untyped-call]
    return mixed


class _Mix(torch.autograd.Function):
    """`mix` as a differentiable step; keeps the shares for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, memory: Tensor, key_pos: Tensor, index: Tensor, valid: Tensor
    ) -> Tensor:
        query = query.contiguous()
        slots, tokens = (rows_of(index), rows_of(valid)), (rows_of(memory), rows_of(key_pos))
        sizes = index.shape[1], memory.shape[1]
        mixed = torch.empty_like(query)
        share = torch.empty(len(slots[0]), len(query), -(-index.shape[2] // 4) * 4)
        ctx.order = order_of(*slots, *sizes)
        in_ranges(
            kernels("absorbed_kernels").attend, len(slots[0]), _work(query, index),
            ctx.order, query.detach().numpy(), *tokens, *slots, _scale(query), *sizes,
            share.numpy(), mixed.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(query, memory, key_pos, index, valid, share)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor) -> tuple[Tensor | None, ...]:
        query, memory, key_pos, index, valid, share = ctx.saved_tensors
        slots, tokens = (rows_of(index), rows_of(valid)), (rows_of(memory), rows_of(key_pos))
        sizes = index.shape[1], memory.shape[1]
        grads, slope, grad_query = (
            grad_mixed.contiguous(),
            torch.empty_like(share),
            torch.empty_like(query),
        )
        grad_memory, grad_key_pos = (
            torch.zeros_like(part, memory_format=torch.contiguous_format)
            for part in (memory, key_pos)
        )
        module = kernels("absorbed_kernels")
        in_ranges(
            module.attend_gradients, len(slots[0]), _work(query, index),
            ctx.order, grads.numpy(), *tokens, *slots, share.numpy(), _scale(query), *sizes,
            slope.numpy(), grad_query.numpy(),
        )  # fmt: skip
        in_ranges(
            module.add_to_tokens, -(-memory.shape[2] // _COLUMNS), _work(query, index),
            _COLUMNS, ctx.order, query.detach().numpy(), grads.numpy(), *slots, share.numpy(),
            slope.numpy(), *sizes,
            grad_memory.flatten(0, 1).numpy(), grad_key_pos.flatten(0, 1).numpy(),
        )  # fmt: skip
        return grad_query, grad_memory, grad_key_pos, None, None


def _work(
    query: Float[Tensor, "heads all_queries width"], index: Int[Tensor, "batch queries slots"]
) -> int:
    """Multiplications of one pass over all slots."""
    return index.numel() * query.shape[0] * query.shape[2]


def _scale(query: Float[Tensor, "heads all_queries width"]) -> np.float32:
    """1 / sqrt(c), of the heads before they were absorbed."""
    return np.float32(1.0 / math.sqrt(query.shape[2] // query.shape[0]))
