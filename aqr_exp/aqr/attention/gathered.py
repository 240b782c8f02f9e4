"""Attention from each query to the keys of its own windows, without a [queries x keys] mask.

Compiled kernels read the windows' keys where they are, where they can be used (`compiled`): the tokens
themselves (`mix_tokens`) where windows are small beside the map, projected keys and values where they are
not. Otherwise projected keys are gathered, for some queries at a time (`attend_rows`), and again in the
backward pass, so that [B, Q, S, C] is never held as a whole.

Tokens are read as they are by absorbing the keys' projection into the query: a score of head h is
q_h . W_h x = (W_h' q_h) . x, and shares of W_h x sum to W_h times the shares of x. Each head then reads
rows as wide as a token, but only those in windows, and no projection of all tokens is computed, forward or
backward.

Letters: B samples, Q queries, K keys, S window slots, H heads, C width, c = C / H width of a head;
N = B Q queries of all samples.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from aqr_exp.aqr import Keys, Queries, SlotIndex, SlotMask
from aqr_exp.aqr.attention import compiled
from aqr_exp.aqr.attention.compiled import SlotQKV, kernels, order_of, rows_of, score_scale
from aqr_exp.aqr.attention.correction import slot_chunks
from aqr_exp.aqr.attention.parallel import parallel_for
from aqr_exp.aqr.windows import Windows


class GatheredAttention(nn.Module):
    """Multi-head attention of queries to the keys of their windows.

    What is projected, queries or keys, depends on shapes alone, and changes rounding alone. Keys have no
    bias: it would shift all scores of a query alike, which softmax does not see.

    Args:
        heads: H; divides C.
        dropout: Share of the probabilities that is dropped while training, by torch's generator.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads}: must be at least 1 and divide width={width}")
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(self, query: Queries, memory: Keys, key_pos: Keys, windows: Windows) -> Queries:
        """Attend.

        Args:
            memory: Token content, what values are made of.
            key_pos: Token encoding; keys are made of both.
            windows: Which keys each query may attend to.

        Returns:
            The attended values; zero, without any gradient, for a query whose windows are empty.

        Raises:
            ValueError: If the arguments do not fit each other, or (where that can be checked without
                waiting for a device) the windows name a key that there is not.
        """
        _check(query, memory, key_pos, windows)
        attend = self._projected
        if self.training and self.dropout:
            attend = self._dropped
        elif self.absorbs(query, memory, key_pos, windows):
            attend = self._absorbed
        attended = attend(self.query(query), memory, key_pos, windows)
        some = windows.valid.any(dim=-1, keepdim=True)
        # Here and not in the shares: the output projection's bias must not reach these queries either.
        output: Tensor = self.out(attended)
        return output.masked_fill(~some, 0.0)

    def absorbs(self, query: Queries, memory: Keys, key_pos: Keys, windows: Windows) -> bool:
        """True where `forward` reads tokens as they are, because projecting all of them costs more."""
        return compiled.is_supported(query, memory, key_pos) and absorbing_is_cheaper(
            query.shape[1], memory.shape[1], windows.index.shape[2], query.shape[2], self.heads
        )

    def _projected(
        self, query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows
    ) -> Tensor:
        projected = query, self.key(memory + key_pos), self.value(memory)
        way: tuple[Callable[..., Any], ...] = (attend_rows, attend_rows_gradients)
        if compiled.is_supported(*projected):
            way = (compiled.attend, compiled.attend_gradients)
        attended: Tensor = _InWindows.apply(  # type: ignore[no-untyped-call]
            way, self.heads, *projected, windows.index.long(), windows.valid
        )
        return attended

    def _dropped(self, query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows) -> Tensor:
        """As `_projected`, but probabilities are dropped, which no kernel does; computed again backward."""
        key, value = (
            part.flatten(0, 1) for part in (self.key(memory + key_pos), self.value(memory))
        )
        index, rows, valid = windows.index.long(), query.flatten(0, 1), windows.valid.flatten(0, 1)
        attended = [
            checkpoint(
                _attend_dropped, rows[part], key, value, places, valid[part], self.heads, self.dropout,
                use_reentrant=False,
            )
            for part, places in slot_chunks(index, memory.shape[1], query.shape[2])
        ]  # fmt: skip
        return torch.cat(attended).view_as(query)

    def _absorbed(self, query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows) -> Tensor:
        """As `_projected`, but what it leaves to queries without a window."""
        heads, width = self.heads, query.shape[2]
        split = query.view(-1, heads, width // heads).transpose(0, 1)  # [H, N, c]
        tokens = mix_tokens(
            split @ self.key.weight.view(heads, -1, width), memory, key_pos,
            windows.index.long(), windows.valid,
        )  # fmt: skip
        mixed = tokens @ self.value.weight.view(heads, -1, width).transpose(1, 2)  # [H, N, c]
        # Shares sum to one, so the values' bias is added once.
        attended: Tensor = mixed.transpose(0, 1).reshape(query.shape) + self.value.bias
        return attended


def _check(query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows) -> None:
    if windows.index.shape[:2] != query.shape[:2] or windows.keys != memory.shape[1]:
        raise ValueError(
            f"windows of {tuple(windows.index.shape[:2])} queries and {windows.keys} keys do "
            f"not fit {tuple(query.shape[:2])} queries and {memory.shape[1]} keys"
        )
    if windows.index.device.type == "cpu" and windows.index.numel():
        low, high = (int(end) for end in windows.index.aminmax())
        if low < 0 or high >= windows.keys:
            raise ValueError(
                f"windows name keys {low} to {high}, but there are keys 0 to {windows.keys - 1}"
            )
    if memory.shape != key_pos.shape or memory.shape[::2] != query.shape[::2]:
        raise ValueError(
            f"tokens of {tuple(memory.shape)} and encodings of {tuple(key_pos.shape)} do not fit "
            f"queries of {tuple(query.shape)}"
        )


class _InWindows(torch.autograd.Function):
    """One way to attend as a differentiable step; the backward pass attends again."""

    @staticmethod
    def forward(
        ctx: Any, way: tuple[Callable[..., Any], ...], heads: int, *tensors: Tensor
    ) -> Tensor:
        attend, ctx.gradients = way
        ctx.heads = heads
        output: Tensor = attend(SlotQKV(*tensors), heads)
        ctx.save_for_backward(*tensors, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, output = ctx.saved_tensors
        gradients = ctx.gradients(grad_output, SlotQKV(*tensors), output, ctx.heads)
        return None, None, *gradients, None, None


def attend_rows(parts: SlotQKV, heads: int) -> Queries:
    """`compiled.attend`, but the mean over all slots for a query without a valid one."""
    query, key, value, _, valid = (part.flatten(0, 1) for part in parts)
    output = torch.empty_like(parts.query)
    for rows, places in _chunks(parts):
        output.flatten(0, 1)[rows] = _attend_gathered(
            query[rows], key[places], value[places], valid[rows], heads
        )
    return output


def attend_rows_gradients(
    grad_output: Queries, parts: SlotQKV, _output: Queries, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`compiled.attend_gradients`."""
    query, key, value, _, valid = (part.flatten(0, 1) for part in parts)
    grads = grad_output.flatten(0, 1)
    grad_query, grad_key, grad_value = (torch.zeros_like(part) for part in (query, key, value))
    for rows, places in _chunks(parts):
        inputs = [
            tensor.detach().requires_grad_() for tensor in (query[rows], key[places], value[places])
        ]
        with torch.enable_grad():
            mixed = _attend_gathered(inputs[0], inputs[1], inputs[2], valid[rows], heads)
        by_input = torch.autograd.grad(mixed, inputs, grads[rows])
        grad_query[rows] = by_input[0]
        grad_key.index_add_(0, places.flatten(), by_input[1].flatten(0, 1))
        grad_value.index_add_(0, places.flatten(), by_input[2].flatten(0, 1))
    return (
        grad_query.view_as(parts.query), grad_key.view_as(parts.key), grad_value.view_as(parts.value)
    )  # fmt: skip


def _chunks(parts: SlotQKV) -> Iterator[tuple[slice, Int[Tensor, "rows slots"]]]:
    _, keys, width = parts.key.shape
    return slot_chunks(parts.slot_index, keys, width)


def _attend_gathered(
    query: Float[Tensor, "rows width"],
    key: Float[Tensor, "rows slots width"],
    value: Float[Tensor, "rows slots width"],
    valid: Bool[Tensor, "rows slots"],
    heads: int,
    dropout: float = 0.0,
) -> Float[Tensor, "rows width"]:
    """softmax(query key / sqrt(c)) value over the valid slots; where there are none, over all slots."""
    query, key, value = (t.view(*t.shape[:-1], heads, -1) for t in (query, key, value))
    hidden = ~valid[..., None]
    scores = (query[:, None] * key).sum(dim=-1) / math.sqrt(key.shape[-1])  # [rows, S, H]
    # Not minus infinity, which alone has no softmax. Beside any other score both give exactly 0.
    share = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=1)
    if dropout:
        share = functional.dropout(share, dropout)
    return (share[..., None] * value).sum(dim=1).flatten(-2)


def _attend_dropped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    places: Int[Tensor, "rows slots"],
    valid: Tensor,
    heads: int,
    dropout: float,
) -> Tensor:
    """`_attend_gathered` with dropout; the gradients of the gathered rows add up in a fixed order."""
    key, value = (
        part.index_select(0, places.flatten()).view(*places.shape, -1) for part in (key, value)
    )
    return _attend_gathered(query, key, value, valid, heads, dropout)


# What a multiplication takes in the loops over slots, to one in a product of matrices. At cmt_tiny's shapes
# both ways took equally long with 1 (180 slots); 2 leaves a margin for machines whose memory is slower.
_SLOT_COST = 2
# Columns of a token that one thread adds up: whole vectors, and two threads at the least width in use.
_COLUMNS = 64


def absorbing_is_cheaper(queries: int, keys: int, slots: int, width: int, heads: int) -> bool:
    """True where absorbed projections take less than those of all tokens, by counting multiplications.

    Projected: K C^2 for keys and again for values, and S C for every query, twice. Absorbed: Q C^2, and
    S H C. A backward pass takes about twice as much, either way.
    """
    return queries * (width + _SLOT_COST * slots * (heads - 1)) < keys * width


def mix_tokens(
    query: Float[Tensor, "heads all_queries width"],
    memory: Keys,
    key_pos: Keys,
    index: SlotIndex,
    valid: SlotMask,
) -> Float[Tensor, "heads all_queries width"]:
    """softmax(query (memory + key_pos) / sqrt(C / H)) memory over valid slots, by head; else zero."""
    mixed: Tensor = _MixTokens.apply(query, memory, key_pos, index, valid)  # type: ignore[no-untyped-call]
    return mixed


class _MixTokens(torch.autograd.Function):
    """`mix_tokens` as a differentiable step; keeps the shares for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, memory: Tensor, key_pos: Tensor, index: Tensor, valid: Tensor
    ) -> Tensor:
        query = query.contiguous()
        heads, rows, width = query.shape
        sizes = index.shape[1], memory.shape[1]
        arrays = [rows_of(part) for part in (memory, key_pos, index, valid)]
        mixed = torch.empty_like(query)
        share = torch.empty(rows, heads, -(-index.shape[2] // 4) * 4)
        # The heads as they were before they were absorbed.
        ctx.scale = score_scale(width // heads)
        ctx.order = order_of(arrays[2], arrays[3], *sizes)
        parallel_for(
            kernels("window_kernels").attend_absorbed, rows, index.numel() * heads * width,
            ctx.order, query.detach().numpy(), *arrays, ctx.scale, *sizes, share.numpy(), mixed.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(query, memory, key_pos, index, valid, share)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor) -> tuple[Tensor | None, ...]:
        query, memory, key_pos, index, valid, share = ctx.saved_tensors
        heads, rows, width = query.shape
        sizes = index.shape[1], memory.shape[1]
        arrays = [rows_of(part) for part in (memory, key_pos, index, valid)]
        grads = grad_mixed.contiguous().numpy()
        slope, grad_query = torch.empty_like(share), torch.empty_like(query)
        grad_memory, grad_key_pos = (
            torch.zeros_like(part, memory_format=torch.contiguous_format)
            for part in (memory, key_pos)
        )
        module, work = kernels("window_kernels"), index.numel() * heads * width
        parallel_for(
            module.attend_absorbed_gradients, rows, work, ctx.order, grads, *arrays, share.numpy(),
            ctx.scale, *sizes, slope.numpy(), grad_query.numpy(),
        )  # fmt: skip
        parallel_for(
            module.add_to_tokens, -(-width // _COLUMNS), work, _COLUMNS, ctx.order,
            query.detach().numpy(), grads, *arrays[2:], share.numpy(), slope.numpy(), *sizes,
            grad_memory.flatten(0, 1).numpy(), grad_key_pos.flatten(0, 1).numpy(),
        )  # fmt: skip
        return grad_query, grad_memory, grad_key_pos, None, None
