"""The compiled kernels: whether they can be used, and how tensors get to them and back.

numba is optional, and imported at the first use alone.

Letters: B samples, H heads, Q queries, K keys, S window slots, C width, c = C / H width of a head;
N = B Q queries and M = B K keys of all samples.
"""

import importlib
import logging
import math
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aqr_exp.aqr.attention.parallel import parallel_for

Array = np.ndarray[Any, np.dtype[Any]]
_LOG = logging.getLogger(__name__)


class WindowedQKV(NamedTuple):
    """Queries, keys and values, and what is added to the scores in each query's window.

    Attributes:
        query: [B, H, Q, c] projected queries.
        key: [B, H, K, c] projected keys.
        value: [B, H, K, c] projected values.
        slot_index: [B, Q, S] which key each slot is; no two valid ones of one query name the same.
        valid: [B, Q, S] which slots count; the others may be passed over.
        bias: [B, Q, S] what the slot adds to the score; 0 where it does not count.
    """

    query: Float[Tensor, "batch heads queries c"]
    key: Float[Tensor, "batch heads keys c"]
    value: Float[Tensor, "batch heads keys c"]
    slot_index: Int[Tensor, "batch queries slots"]
    valid: Bool[Tensor, "batch queries slots"]
    bias: Float[Tensor, "batch queries slots"]


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
    return importlib.import_module(f"aqr_exp.aqr.attention.{name}")


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
    windowed: WindowedQKV,
    output: Float[Tensor, "batch heads queries c"],
    log_sum: Float[Tensor, "batch heads queries"],
    stats_out: Float[Tensor, "batch queries heads 4"] | None,
) -> tuple[
    Float[Tensor, "batch heads queries c"],
    Float[Tensor, "batch heads queries"],
    Float[Tensor, "batch heads queries"],
]:
    """`correction.correct_output`, which documents it; may change `output` and `log_sum`."""
    query, key, value, index, valid, bias = windowed
    output_rows, sums = _rows(output), _rows(log_sum)
    remainder = torch.empty_like(sums)
    slots = [rows_of(part) for part in (index, valid, bias)]
    parallel_for(
        kernels("window_kernels").correct_output,
        len(output_rows),
        slots[0].size * output_rows.shape[1],
        order_of(slots[0], slots[1], query.shape[2], key.shape[2]),
        *(_rows(part).numpy() for part in (query, key, value)),
        *slots,
        np.float32(1.0 / math.sqrt(query.shape[-1])),
        query.shape[2],
        key.shape[2],
        output_rows.numpy(),
        sums.numpy(),
        remainder.numpy(),
        _NO_STATISTICS if stats_out is None else stats_out.flatten(0, 1).numpy(),
    )
    batch, heads = query.shape[:2]
    return (
        _heads(output_rows, batch, heads), _heads(sums, batch, heads).squeeze(-1),
        _heads(remainder, batch, heads).squeeze(-1),
    )  # fmt: skip


def correct_gradients(
    grad_output: Float[Tensor, "batch heads queries c"],
    windowed: WindowedQKV,
    output: Float[Tensor, "batch heads queries c"],
    log_sum: Float[Tensor, "batch heads queries"],
    gradients: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`correction.correct_gradients`, which documents it; may change `gradients`."""
    query, key, value, index, valid, bias = windowed
    batch, heads, queries, c = query.shape
    grads, query_rows, key_rows, value_rows, output_rows, sums = (
        _rows(part).numpy() for part in (grad_output, query, key, value, output, log_sum)
    )
    slots = [rows_of(part) for part in (index, valid, bias)]
    grad_query, grad_key, grad_value = (_rows(part) for part in gradients)
    grad_bias = torch.empty_like(bias, memory_format=torch.contiguous_format)
    by_row = kernels("window_kernels").correct_gradients

    def fill(first: int, last: int, order: Array, position: Array, terms: Array) -> None:
        by_row(
            first, last, order, grads, query_rows, key_rows, value_rows,
            *slots, output_rows, sums, np.float32(1.0 / math.sqrt(c)), queries, key.shape[2],
            position, grad_query.numpy(), grad_bias.flatten(0, 1).numpy(), terms,
        )  # fmt: skip

    _by_sample(
        fill, slots[0], slots[1], heads, (queries, key.shape[2]), (query_rows, grads),
        (grad_key.numpy(), grad_value.numpy()),
    )  # fmt: skip
    return (
        _heads(grad_query, batch, heads), _heads(grad_key, batch, heads),
        _heads(grad_value, batch, heads), grad_bias,
    )  # fmt: skip


def attend(
    query: Float[Tensor, "batch queries width"],
    key: Float[Tensor, "batch keys width"],
    value: Float[Tensor, "batch keys width"],
    index: Int[Tensor, "batch queries slots"],
    valid: Bool[Tensor, "batch queries slots"],
    heads: int,
) -> Float[Tensor, "batch queries width"]:
    """softmax(query key / sqrt(c)) value over the valid slots, heads side by side; zero without any."""
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    index_rows, valid_rows = rows_of(index), rows_of(valid)
    parallel_for(
        kernels("window_kernels").attend,
        len(index_rows),
        index_rows.size * query.shape[2],
        order_of(index_rows, valid_rows, query.shape[1], key.shape[1]),
        *(rows_of(part) for part in (query, key, value)),
        index_rows,
        valid_rows,
        heads,
        np.float32(1.0 / math.sqrt(query.shape[-1] // heads)),
        query.shape[1],
        key.shape[1],
        output.flatten(0, 1).numpy(),
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
    """Gradients of query, key and value, given those of the output."""
    queries, keys = query.shape[1], key.shape[1]
    grads, query_rows, key_rows, value_rows, index_rows, valid_rows, output_rows = (
        rows_of(part) for part in (grad_output, query, key, value, index, valid, output)
    )
    grad_query = torch.empty_like(query, memory_format=torch.contiguous_format)
    grad_key, grad_value = (
        torch.zeros_like(part, memory_format=torch.contiguous_format) for part in (key, value)
    )
    scale = np.float32(1.0 / math.sqrt(query.shape[-1] // heads))
    by_row = kernels("window_kernels").attend_gradients

    def fill(first: int, last: int, order: Array, position: Array, terms: Array) -> None:
        by_row(
            first, last, order, grads, query_rows, key_rows, value_rows,
            index_rows, valid_rows, output_rows, heads, scale, queries, keys, position,
            grad_query.flatten(0, 1).numpy(), terms,
        )  # fmt: skip

    _by_sample(
        fill, index_rows, valid_rows, heads, (queries, keys), (query_rows, grads),
        (grad_key.flatten(0, 1).numpy(), grad_value.flatten(0, 1).numpy()),
    )  # fmt: skip
    return grad_query, grad_key, grad_value


def _by_sample(
    fill: Callable[[int, int, Array, Array, Array], None],
    index: Array,
    valid: Array,
    heads: int,
    sizes: tuple[int, int],
    factors: tuple[Array, Array],
    totals: tuple[Array, Array],
) -> None:
    """Let `fill` find what every slot contributes, and add it up key by key; one sample at a time.

    Args:
        fill: Called for a range of one sample's queries, the order to take them in, where the terms
            of each slot go, and the terms.
        index: [N, S].
        valid: [N, S].
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


def _heads(
    rows: Float[Tensor, "all hc"], batch: int, heads: int
) -> Float[Tensor, "batch heads n c"]:
    """The reverse of `_rows`."""
    return rows.view(batch, -1, heads, rows.shape[-1] // heads).transpose(1, 2)


def rows_of(tensor: Tensor) -> Array:
    """[B, n, *] to [B n, *], as kernels take it."""
    rows: Array = tensor.detach().flatten(0, 1).contiguous().numpy()
    return rows
