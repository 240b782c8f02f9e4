"""The correction of attention by a bias, in closed form from its window's keys alone.

Letters: H heads, S window slots.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aqr_exp.aqr import HeadKeys, HeadQueries, QueryNumbers, SlotIndex, SlotNumbers, WindowSums
from aqr_exp.aqr.attention import compiled
from aqr_exp.aqr.attention.compiled import WindowedQKV


def window_sums(
    plain: Float[Tensor, "*rows heads slots"],
    bias: Float[Tensor, "*rows slots"],
    valid: Bool[Tensor, "*rows slots"],
) -> Float[Tensor, "*rows heads 4"]:
    """Sums over a query's window. `window_kernels` has the same in its loop.

    With p the attention without the bias and D = sum of p (e^bias - 1) over the window, attention
    becomes p e^bias / (1 + D) inside and p / (1 + D) outside.

    Returns:
        Attention to the window without the bias and with it; the sum over all keys of |attention
        with the bias - attention without|; and the entropy in nats of the attention within the
        window, with the bias and taken to sum to one, which is 0 for an empty window.
    """
    before = plain.exp().masked_fill(~valid[..., None, :], 0.0)
    raised = before * bias[..., None, :].to(plain.dtype).exp()
    mass_before = before.sum(dim=-1).clamp(max=1.0)
    outside = 1.0 - mass_before
    total = outside + raised.sum(dim=-1)
    after = raised / total[..., None]
    mass_after = after.sum(dim=-1)
    share = after / mass_after.clamp(min=torch.finfo(after.dtype).tiny)[..., None]
    change = (outside / total - outside).abs() + (after - before).abs().sum(dim=-1)
    entropy = torch.special.entr(share).sum(dim=-1)
    return torch.stack((mass_before, mass_after, change, entropy), dim=-1)


# Numbers gathered at once, for keys and again for values: 4 MiB each in single precision on a CPU, whose
# cache holds them (measured, larger chunks are slower there, and smaller ones not faster), and 512 MiB on
# a device, where each operation of a chunk is a kernel to launch.
_CHUNK_NUMBERS, _DEVICE_CHUNK_NUMBERS = 2**20, 2**27


def correct_output(
    windowed: WindowedQKV,
    output: HeadQueries,
    log_sum: QueryNumbers,
    stats_out: WindowSums | None = None,
) -> tuple[
    HeadQueries,
    QueryNumbers,
    QueryNumbers,
]:
    """From plain attention to attention with the bias.

    Args:
        output: Attended values without the bias; may be changed.
        log_sum: Log-sum-exp of the scores without the bias; may be changed.
        stats_out: Filled, where given, with `window_sums` of every query.

    Returns:
        Attended values and log-sum-exp with the bias, in the dtype of `log_sum`, and what is left of
        the sum of exponentials, over its largest term or its former value, whichever is larger: the
        smaller, the more the result has suffered from cancellation.
    """
    if compiled.is_supported(*windowed[:3]):
        return compiled.correct_output(windowed, output, log_sum, stats_out)
    query, key, value, index, valid, bias = windowed
    dtype, scale = log_sum.dtype, 1.0 / math.sqrt(query.shape[-1])
    query_rows, key_rows, value_rows = (_rows(part) for part in (query, key, value))
    new_output, new_sum = _rows(output).to(dtype, copy=True), _rows(log_sum).clone()
    remainder = torch.empty_like(new_sum)
    slot_bias, slot_valid = bias.flatten(0, 1), valid.flatten(0, 1)
    for part, picked in _chunks(index, key):
        near_key = _gather(key_rows, picked, dtype)
        score = torch.einsum("nhc,nshc->nhs", query_rows[part].to(dtype) * scale, near_key)
        plain = score - new_sum[part][..., None]  # log of the attention without the bias
        if stats_out is not None:
            stats_out.flatten(0, 1)[part] = window_sums(plain, slot_bias[part], slot_valid[part])
        biased = plain + slot_bias[part][:, None]
        # A common factor e^-peak keeps large biases from overflowing.
        peak = biased.amax(dim=-1, keepdim=True).clamp(min=0.0)
        change = (biased - peak).exp() - (plain - peak).exp()
        total = change.sum(dim=-1, keepdim=True)
        left_over = (-peak).exp() + total
        mixed = torch.einsum("nhs,nshc->nhc", change, _gather(value_rows, picked, dtype))
        new_output[part] = (new_output[part] * (-peak).exp() + mixed) / left_over
        new_sum[part] += (peak + torch.log1p(torch.expm1(-peak) + total)).squeeze(-1)
        remainder[part] = left_over.squeeze(-1)
    batch = len(query)
    return _heads(new_output, batch), _heads(new_sum, batch), _heads(remainder, batch)


def correct_gradients(
    grad_output: HeadQueries,
    windowed: WindowedQKV,
    output: HeadQueries,
    log_sum: QueryNumbers,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """From the gradients of a backward pass that knew the biased result, but not the bias.

    That pass took e^(score - log_sum) for the attention to a key in a window; the truth is e^bias
    times that.

    Args:
        grad_output: Gradient of the attended values.
        output: Attended values with the bias.
        log_sum: Log-sum-exp of the scores with the bias; a row of infinity is passed over.
        gradients: Of query, key and value, from the pass without the bias; may be changed.

    Returns:
        Gradients of query, key, value [as these] and bias [B, Q, S], in the dtype of `log_sum`.
    """
    if compiled.is_supported(*windowed[:3]):
        return compiled.correct_gradients(grad_output, windowed, output, log_sum, gradients)
    query, bias = windowed.query, windowed.bias
    dtype, scale = log_sum.dtype, 1.0 / math.sqrt(query.shape[-1])
    grad_query, grad_key, grad_value = (_rows(part).to(dtype) for part in gradients)
    slot_bias, grad_bias = bias.flatten(0, 1), torch.empty_like(bias).flatten(0, 1)
    for near in _slopes(grad_output, windowed, output, log_sum):
        attention = (near.taken + slot_bias[near.part][:, None]).exp()
        missing = attention - near.taken.exp()
        grad_bias[near.part] = (attention * near.slope).sum(dim=1)
        grad_score = missing * near.slope
        grad_query[near.part] += torch.einsum("nhs,nshc->nhc", grad_score, near.key) * scale
        _scatter(grad_key, near.picked, grad_score, near.query)
        _scatter(grad_value, near.picked, missing, near.grad)
    batch = len(query)
    return (
        _heads(grad_query, batch), _heads(grad_key, batch), _heads(grad_value, batch),
        grad_bias.view_as(bias),
    )  # fmt: skip


def bias_gradient(
    grad_output: HeadQueries, windowed: WindowedQKV, output: HeadQueries, log_sum: QueryNumbers
) -> SlotNumbers:
    """The bias's gradient alone, in its dtype, where another kernel gives those of the other inputs."""
    bias = windowed.bias
    slot_bias, grad_bias = bias.flatten(0, 1), torch.empty_like(bias).flatten(0, 1)
    for near in _slopes(grad_output, windowed, output, log_sum):
        attention = (near.taken + slot_bias[near.part][:, None]).exp()
        grad_bias[near.part] = (attention * near.slope).sum(dim=1).to(bias.dtype)
    return grad_bias.view_as(bias).masked_fill_(~windowed.valid, 0.0)


class _Near(NamedTuple):
    """Some queries and the keys of their slots."""

    part: slice  # rows of all queries
    picked: Int[Tensor, "n slots"]  # rows of all keys
    query: Float[Tensor, "n heads c"]  # over sqrt(c)
    grad: Float[Tensor, "n heads c"]  # of the attended values
    key: Float[Tensor, "n slots heads c"]
    taken: Float[Tensor, "n heads slots"]  # logarithm of the attention, before the bias is added
    slope: Float[Tensor, "n heads slots"]  # what the loss gains by more attention, less its mean


def _slopes(
    grad_output: Tensor, windowed: WindowedQKV, output: Tensor, log_sum: Tensor
) -> Iterator[_Near]:
    query, key, value, index, *_ = windowed
    dtype, scale = log_sum.dtype, 1.0 / math.sqrt(query.shape[-1])
    query_rows, key_rows, value_rows = (_rows(part) for part in (query, key, value))
    output_grads, sums = _rows(grad_output), _rows(log_sum)
    # What the softmax takes off every score's gradient: the mean, by attention, of its values'.
    mean_grad = _rows((grad_output.to(dtype) * output.to(dtype)).sum(dim=-1))
    for part, picked in _chunks(index, key):
        near_query = query_rows[part].to(dtype) * scale
        near_grad = output_grads[part].to(dtype)
        near_key = _gather(key_rows, picked, dtype)
        taken = torch.einsum("nhc,nshc->nhs", near_query, near_key) - sums[part][..., None]
        slope = torch.einsum("nhc,nshc->nhs", near_grad, _gather(value_rows, picked, dtype))
        slope -= mean_grad[part][..., None]
        yield _Near(part, picked, near_query, near_grad, near_key, taken, slope)


def _rows(tensor: Float[Tensor, "batch heads n *c"]) -> Float[Tensor, "all heads *c"]:
    """One row per token of any sample, all its heads side by side: what is gathered lies together."""
    return tensor.transpose(1, 2).flatten(0, 1)


def _heads(rows: Float[Tensor, "all heads *c"], batch: int) -> Float[Tensor, "batch heads n *c"]:
    """The reverse of `_rows`."""
    return rows.view(batch, -1, *rows.shape[1:]).transpose(1, 2)


def slot_chunks(
    index: SlotIndex, keys: int, width: int
) -> Iterator[tuple[slice, Int[Tensor, "n slots"]]]:
    """Queries of one chunk, and the rows of all samples' keys that their slots name.

    A chunk gathers about as many numbers as its device holds well, from keys so wide.
    """
    most = _CHUNK_NUMBERS if index.device.type == "cpu" else _DEVICE_CHUNK_NUMBERS
    first_row = torch.arange(len(index), device=index.device) * keys
    rows = (index + first_row[:, None, None]).flatten(0, 1)
    step = max(1, most // max(1, rows.shape[1] * width))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        yield part, rows[part]


def _chunks(index: SlotIndex, key: HeadKeys) -> Iterator[tuple[slice, Int[Tensor, "n slots"]]]:
    _, heads, keys, c = key.shape
    return slot_chunks(index, keys, heads * c)


def _gather(
    rows: Float[Tensor, "all heads c"], picked: Int[Tensor, "n slots"], dtype: torch.dtype
) -> Float[Tensor, "n slots heads c"]:
    return rows.index_select(0, picked.flatten()).to(dtype).view(*picked.shape, *rows.shape[1:])


def _scatter(
    rows: Float[Tensor, "all heads c"],
    picked: Int[Tensor, "n slots"],
    weight: Float[Tensor, "n heads slots"],
    vector: Float[Tensor, "n heads c"],
) -> None:
    """Add weight * vector to the row of each slot."""
    terms = weight.transpose(1, 2)[..., None] * vector[:, None]
    rows.index_add_(0, picked.flatten(), terms.flatten(0, 1))
