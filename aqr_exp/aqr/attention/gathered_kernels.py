"""Compiled attention to the keys of windows alone; the rules of `window_kernels` hold here too.

Letters: as there.
"""

import numpy as np

from aqr_exp.aqr.attention.compiler import compiled
from aqr_exp.aqr.attention.kernel_parts import (
    ONE,
    ZERO,
    add_rows,
    dot,
    exp,
    file_terms,
    products,
    take_slots,
    whole,
)


@compiled(loose=True)
def shares(scores, count):
    """Softmax over the first `count` scores of every head, in place."""
    for h in range(scores.shape[0]):
        peak = scores[h, 0]
        for j in range(count):
            peak = max(peak, scores[h, j])
        total = ZERO
        for j in range(count):
            raised = exp(scores[h, j] - peak)
            scores[h, j] = raised
            total += raised
        for j in range(count):
            scores[h, j] /= total


@compiled(loose=True)
def attend(
    first, last, order, query, key, value, index, valid, heads, scale, queries, keys, output
):
    """Fill rows first to last of `order`: zero where no slot is valid."""
    slots = whole(index.shape[1])
    places, share = np.empty(slots, np.int64), np.empty((heads, slots), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        output[n] = ZERO
        if count == 0:
            continue
        products(query, n, key, places, count, scale, share)
        shares(share, count)
        add_rows(share, value, places, count, output, n)


@compiled(loose=True)
def attend_gradients(
    first, last, order, grad_output, query, key, value, index, valid, output, heads, scale, queries, keys,
    position, grad_query, terms,
):  # fmt: skip
    """Fill grad_query of rows first to last of `order`, and their terms for `add_to_keys`."""
    slots = whole(index.shape[1])
    c = query.shape[1] // heads
    places = np.empty(slots, np.int64)
    share, slope = np.empty((heads, slots), np.float32), np.empty((heads, slots), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        grad_query[n] = ZERO
        if count == 0:
            continue
        products(query, n, key, places, count, scale, share)
        products(grad_output, n, value, places, count, ONE, slope)
        shares(share, count)
        for h in range(heads):
            mean = dot(grad_output, output, n, h * c, c)
            for j in range(count):
                slope[h, j] = share[h, j] * (slope[h, j] - mean) * scale
        add_rows(slope, key, places, count, grad_query, n)
        file_terms(slope, share, valid, n, position, n % queries, terms)
