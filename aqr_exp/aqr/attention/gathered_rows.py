"""Attention to the keys of windows alone, in torch: as `compiled_windows` where its kernels cannot be used.

Keys are gathered for some queries at a time, and again in the backward pass, so that [B, Q, S, C] is
never held as a whole.

Letters: B samples, Q queries, K keys, S window slots, H heads, C width; rows are queries of any sample.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Gathered numbers held at once, for the keys and again for the values: 4 MiB in single precision,
# which a CPU's cache holds. Measured, larger chunks are slower there, and smaller ones not faster.
_CHUNK_NUMBERS = 2**20


def attend(
    query: Float[Tensor, "batch queries width"],
    key: Float[Tensor, "batch keys width"],
    value: Float[Tensor, "batch keys width"],
    index: Int[Tensor, "batch queries slots"],
    valid: Bool[Tensor, "batch queries slots"],
    heads: int,
) -> Float[Tensor, "batch queries width"]:
    """`compiled_windows.attend`, but the mean over all slots for a query without a valid one."""
    output = torch.empty_like(query)
    key_rows, value_rows, valid_rows = (part.flatten(0, 1) for part in (key, value, valid))
    for rows, places in _chunks(index, key):
        output.flatten(0, 1)[rows] = _attend(
            query.flatten(0, 1)[rows], key_rows[places], value_rows[places], valid_rows[rows], heads
        )
    return output


def attend_gradients(
    grad_output: Float[Tensor, "batch queries width"],
    query: Float[Tensor, "batch queries width"],
    key: Float[Tensor, "batch keys width"],
    value: Float[Tensor, "batch keys width"],
    index: Int[Tensor, "batch queries slots"],
    valid: Bool[Tensor, "batch queries slots"],
    output: Float[Tensor, "batch queries width"],
    heads: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`compiled_windows.attend_gradients`."""
    del output
    shapes = query.shape, key.shape, value.shape
    query, key, value, grads, valid = (
        part.flatten(0, 1) for part in (query, key, value, grad_output, valid)
    )
    grad_query, grad_key, grad_value = (torch.zeros_like(part) for part in (query, key, value))
    for rows, places in _chunks(index, key.view(shapes[1])):
        inputs = [
            tensor.detach().requires_grad_() for tensor in (query[rows], key[places], value[places])
        ]
        with torch.enable_grad():
            mixed = _attend(inputs[0], inputs[1], inputs[2], valid[rows], heads)
        parts = torch.autograd.grad(mixed, inputs, grads[rows])
        grad_query[rows] = parts[0]
        grad_key.index_add_(0, places.flatten(), parts[1].flatten(0, 1))
        grad_value.index_add_(0, places.flatten(), parts[2].flatten(0, 1))
    return grad_query.view(shapes[0]), grad_key.view(shapes[1]), grad_value.view(shapes[2])


def _chunks(
    index: Int[Tensor, "batch queries slots"], key: Float[Tensor, "batch keys width"]
) -> Iterator[tuple[slice, Int[Tensor, "rows slots"]]]:
    """Stretches of queries whose gathered keys are few enough, and the rows of all keys they name."""
    samples, keys, width = key.shape
    first = torch.arange(samples, device=index.device) * keys
    places = (index + first[:, None, None]).flatten(0, 1)
    step = max(1, _CHUNK_NUMBERS // max(1, places.shape[1] * width))
    for start in range(0, len(places), step):
        part = slice(start, start + step)
        yield part, places[part]


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
