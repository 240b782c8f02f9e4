"""The compiled kernels: whether they can be used, and how tensors get to them and back.

numba is optional, and imported at the first use alone.

Letters: B samples, H heads, Q queries, K keys, S window slots, C width, c = C / H width of a head;
N = B Q queries and M = B K keys of all samples.
"""

import importlib
import logging
import math
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from aqr_exp.aqr import (
    HeadKeys,
    HeadQueries,
    Keys,
    Queries,
    QueryNumbers,
    SlotIndex,
    SlotMask,
    SlotNumbers,
    WindowSums,
)
from aqr_exp.aqr.attention.parallel import parallel_for

Array = np.ndarray[Any, np.dtype[Any]]
_LOG = logging.getLogger(__name__)


class WindowedQKV(NamedTuple):
    """Projected queries, keys and values, and what is added to the scores in each query's window.

    Slots that are not valid may be passed over; their bias is 0.
    """

    query: HeadQueries
    key: HeadKeys
    value: HeadKeys
    slot_index: SlotIndex
    valid: SlotMask
    bias: SlotNumbers


class SlotQKV(NamedTuple):
    """Projected queries, keys and values, heads side by side, and the keys that each query may read."""

    query: Queries
    key: Keys
    value: Keys
    slot_index: SlotIndex
    valid: SlotMask


def is_supported(*tensors: Tensor) -> bool:
    """True where the kernels can read these tensors: single precision, on a CPU, numba installed.

    The first time that they cannot, the reason is logged.
    """
    for tensor in tensors:
        if tensor.device.type != "cpu":
            return _refuse(f"tensors on {tensor.device.type}")
        if tensor.dtype != torch.float32:
            return _refuse(f"tensors of {tensor.dtype}")
    return _installed() or _refuse("no numba")


def kernels(name: str) -> ModuleType:
    """A module of kernels of this package; only where `is_supported`."""
    from aqr_exp.aqr.attention import kernel_parts, window_kernels

    return {"kernel_parts": kernel_parts, "window_kernels": window_kernels}[name]


@cache
def _installed() -> bool:
    try:
        importlib.import_module("numba")
    except ImportError:
        return False
    return True


@cache
def _refuse(reason: str) -> bool:
    _LOG.info("attention in windows runs uncompiled: %s", reason)
    return False


_NO_STATISTICS = np.empty((0, 0, 0), np.float32)


def correct_output(
    windowed: WindowedQKV, output: HeadQueries, log_sum: QueryNumbers, stats_out: WindowSums | None
) -> tuple[HeadQueries, QueryNumbers, QueryNumbers]:
    """`correction.correct_output`, which documents it; may change `output` and `log_sum`."""
    batch, heads, queries, c = windowed.query.shape
    keys = windowed.key.shape[2]
    output_rows, *by_row = _rows(output), _rows(log_sum), torch.empty_like(_rows(log_sum))
    slots = [rows_of(part) for part in windowed[3:]]
    parallel_for(
        kernels("window_kernels").correct_output, len(output_rows), slots[0].size * heads * c,
        order_of(slots[0], slots[1], queries, keys), *(_rows(part).numpy() for part in windowed[:3]),
        *slots, score_scale(c), queries, keys, output_rows.numpy(), *(part.numpy() for part in by_row),
        _NO_STATISTICS if stats_out is None else stats_out.flatten(0, 1).numpy(),
    )  # fmt: skip
    sums, remainder = (_heads(part, batch, heads).squeeze(-1) for part in by_row)
    return _heads(output_rows, batch, heads), sums, remainder


def correct_gradients(
    grad_output: HeadQueries,
    windowed: WindowedQKV,
    output: HeadQueries,
    log_sum: QueryNumbers,
    gradients: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`correction.correct_gradients`, which documents it; may change `gradients`."""
    batch, heads, queries, c = windowed.query.shape
    keys = windowed.key.shape[2]
    grads, query, key, value, output_rows, sums = (
        _rows(part).numpy() for part in (grad_output, *windowed[:3], output, log_sum)
    )
    slots = [rows_of(part) for part in windowed[3:]]
    by_input = [_rows(part) for part in gradients]
    query_grads, *totals = (part.numpy() for part in by_input)
    grad_bias = torch.empty_like(windowed.bias, memory_format=torch.contiguous_format)
    by_row = kernels("window_kernels").correct_gradients

    def fill(first: int, last: int, order: Array, position: Array, terms: Array) -> None:
        by_row(
            first, last, order, grads, query, key, value, *slots, output_rows, sums, score_scale(c),
            queries, keys, position, query_grads, grad_bias.flatten(0, 1).numpy(), terms,
        )  # fmt: skip

    _by_sample(fill, slots[0], slots[1], heads, (queries, keys), (query, grads), totals)
    grad_query, grad_key, grad_value = (_heads(part, batch, heads) for part in by_input)
    return grad_query, grad_key, grad_value, grad_bias


def attend(parts: SlotQKV, heads: int) -> Queries:
    """softmax(query key / sqrt(c)) value over the valid slots; zero without any."""
    _, queries, width = parts.query.shape
    keys = parts.key.shape[1]
    output = torch.empty_like(parts.query, memory_format=torch.contiguous_format)
    query, key, value, index, valid = map(rows_of, parts)
    parallel_for(
        kernels("window_kernels").attend, len(index), index.size * width,
        order_of(index, valid, queries, keys), query, key, value, index, valid, heads,
        score_scale(width // heads), queries, keys, output.flatten(0, 1).numpy(),
    )  # fmt: skip
    return output


def attend_gradients(
    grad_output: Queries, parts: SlotQKV, output: Queries, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, given those of the output."""
    queries, keys = parts.query.shape[1], parts.key.shape[1]
    grads, query, key, value, index, valid, output_rows = map(
        rows_of, (grad_output, *parts, output)
    )
    grad_query, grad_key, grad_value = (
        torch.zeros_like(part, memory_format=torch.contiguous_format) for part in parts[:3]
    )
    scale = score_scale(parts.query.shape[-1] // heads)
    by_row = kernels("window_kernels").attend_gradients

    def fill(first: int, last: int, order: Array, position: Array, terms: Array) -> None:
        by_row(
            first, last, order, grads, query, key, value, index, valid, output_rows, heads, scale,
            queries, keys, position, grad_query.flatten(0, 1).numpy(), terms,
        )  # fmt: skip

    totals = [part.flatten(0, 1).numpy() for part in (grad_key, grad_value)]
    _by_sample(fill, index, valid, heads, (queries, keys), (query, grads), totals)
    return grad_query, grad_key, grad_value


def _by_sample(
    fill: Callable[[int, int, Array, Array, Array], None],
    index: Array,
    valid: Array,
    heads: int,
    sizes: tuple[int, int],
    factors: tuple[Array, Array],
    totals: Sequence[Array],
) -> None:
    """Let `fill` find what every slot contributes, and add it up key by key; one sample at a time.

    Args:
        fill: Called for a range of one sample's queries, the order to take them in, where the terms
            of each slot go, and the terms.
        factors: Query rows and gradients of the output, what the terms multiply.
        totals: Gradients of keys and of values, which are added to.
    """
    module = kernels("kernel_parts")
    queries, keys = sizes
    order = order_of(index, valid, queries, keys)
    work = queries * index.shape[1] * totals[0].shape[1]
    starts = np.empty(keys + 1, np.int64)
    position = np.empty((queries, index.shape[1]), np.int32)
    for sample in range(len(index) // queries if queries else 0):
        first = sample * queries
        entries = int(np.count_nonzero(valid[first : first + queries]))
        rows = np.empty(entries, np.int64)
        module.sort_slots(index, valid, first, first + queries, keys, starts, rows, position)
        terms = np.empty((entries, 2 * heads), np.float32)
        parallel_for(fill, queries, work, order[first : first + queries], position, terms)
        parallel_for(
            module.add_to_keys, keys, work, starts, rows, terms, *factors, sample * keys, *totals
        )


def order_of(index: Array, valid: Array, queries: int, keys: int) -> Array:
    """Queries sample by sample, near ones one after the other: a cache still holds their keys."""
    places = np.empty(len(index), np.int64)
    kernels("kernel_parts").first_places(index, valid, queries, keys, places)
    return places.argsort(kind="stable")


def _rows(tensor: Float[Tensor, "batch heads n *c"]) -> Float[Tensor, "all hc"]:
    """All heads of a token side by side: a view of what projections hand over, else a copy."""
    return tensor.detach().transpose(1, 2).flatten(2).flatten(0, 1).contiguous()


def _heads(rows: Float[Tensor, "all hc"], batch: int, heads: int) -> HeadQueries:
    """The reverse of `_rows`."""
    return rows.view(batch, -1, heads, rows.shape[-1] // heads).transpose(1, 2)


def score_scale(c: int) -> np.float32:
    """1 / sqrt(c), of heads c wide."""
    return np.float32(1.0 / math.sqrt(c))


def rows_of(tensor: Tensor) -> Array:
    """[B, n, *] to [B n, *], as kernels take it."""
    rows: Array = tensor.detach().flatten(0, 1).contiguous().numpy()
    return rows
