"""Compiled correction of attention in windows (numba).

A call does a range of queries in one thread, lets go of the interpreter's lock, and writes nothing
outside its range: ranges may run side by side, and sums are taken in the same order however they are
cut. Only imported where numba is: `kernel_choice`.

Letters: N = B Q queries and M = B K keys of all samples, S window slots, H heads, c width of a head;
n queries and E valid slots of one sample.
"""

import math

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
    spread,
    take_slots,
    take_values,
    whole,
)


@compiled(loose=True)
def _window_sums(scores, before, bias, count, sums):
    """`window_statistics.window_sums` of a query in one head; the entropy without a logarithm a slot."""
    inside, raised, tilt = ZERO, ZERO, ZERO
    for j in range(count):
        plain = scores[j] - before
        inside += exp(plain)
        share = exp(plain) * exp(bias[j])
        raised += share
        tilt += share * (plain + bias[j])
    inside = min(inside, ONE)
    outside = ONE - inside
    total = outside + raised
    change = abs(outside / total - outside)
    for j in range(count):
        plain = exp(scores[j] - before)
        change += abs(plain * exp(bias[j]) / total - plain)
    sums[0], sums[1], sums[2], sums[3] = inside, raised / total, change, ZERO
    if raised > ZERO:
        sums[3] = max(ZERO, np.float32(math.log(raised)) - tilt / raised)


@compiled(loose=True)
def _split_factors(bias, count, lift, drop, step):
    """A slot's e^bias without overflow: e^lift * drop; less one, e^lift * step."""
    for j in range(count):
        lift[j] = max(bias[j], ZERO)
        shrunk = exp(-abs(bias[j]))
        drop[j] = shrunk if bias[j] < ZERO else ONE
        step[j] = ONE - shrunk if bias[j] > ZERO else shrunk - ONE


@compiled(loose=True)
def correct_output(
    first, last, order, query, key, value, index, valid, bias, scale, queries, keys, output, log_sum,
    left, watched,
):  # fmt: skip
    """`window_correction.correct_output` of rows first to last of `order`; changes the last four.

    `watched` is [N, H, 4], or empty where nobody watches.
    """
    slots, heads = whole(index.shape[1]), log_sum.shape[1]
    c = query.shape[1] // heads
    places, near_bias = np.empty(slots, np.int64), np.empty(slots, np.float32)
    lift, drop, step = (
        np.empty(slots, np.float32), np.empty(slots, np.float32), np.empty(slots, np.float32)
    )  # fmt: skip
    score = np.empty((heads, slots), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        take_values(bias, valid, n, near_bias)
        _split_factors(near_bias, count, lift, drop, step)
        products(query, n, key, places, count, scale, score)
        for h in range(heads):
            before = log_sum[n, h]
            if len(watched):
                _window_sums(score[h], before, near_bias, count, watched[n, h])
            peak = ZERO
            for j in range(count):
                peak = max(peak, (score[h, j] - before) + near_bias[j])
            total = ZERO
            for j in range(count):
                score[h, j] = exp(((score[h, j] - before) + lift[j]) - peak)
                total += score[h, j] * step[j]
            rest = exp(-peak) + total
            left[n, h] = rest
            log_sum[n, h] = before + (peak + np.float32(math.log1p(math.expm1(-peak) + total)))
            for j in range(count):
                score[h, j] *= step[j] / rest
            former = exp(-peak) / rest
            for i in range(c):
                output[n, h * c + i] *= former
        add_rows(score, value, places, count, output, n)


@compiled(loose=True)
def correct_gradients(
    first, last, order, grad_output, query, key, value, index, valid, bias, output, log_sum, scale,
    queries, keys, position, grad_query, grad_bias, terms,
):  # fmt: skip
    """`window_correction.correct_gradients` of rows first to last of `order`, but the sums by key.

    Adds to grad_query, fills grad_bias, and terms [E, 2 H] with what every slot contributes to its
    key (times the query) and to its value (times the gradient of the output).
    """
    slots, heads = whole(index.shape[1]), log_sum.shape[1]
    c = query.shape[1] // heads
    places, near_bias = np.empty(slots, np.int64), np.empty(slots, np.float32)
    lift, drop, step = (
        np.empty(slots, np.float32), np.empty(slots, np.float32), np.empty(slots, np.float32)
    )  # fmt: skip
    score, slope = np.empty((heads, slots), np.float32), np.empty((heads, slots), np.float32)
    near_grad = np.empty(slots, np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        take_values(bias, valid, n, near_bias)
        _split_factors(near_bias, count, lift, drop, step)
        products(query, n, key, places, count, scale, score)
        products(grad_output, n, value, places, count, ONE, slope)
        near_grad[:count] = ZERO
        for h in range(heads):
            after = log_sum[n, h]
            if after == np.inf:
                score[h, :count] = ZERO
                slope[h, :count] = ZERO
                continue
            mean = dot(grad_output, output, n, h * c, c)
            for j in range(count):
                rise = slope[h, j] - mean
                # What both have: the attention with the bias and without are this, made smaller.
                larger = exp((score[h, j] - after) + lift[j])
                near_grad[j] += larger * drop[j] * rise
                missing = larger * step[j]
                score[h, j] = missing * rise * scale
                slope[h, j] = missing
        add_rows(score, key, places, count, grad_query, n)
        spread(near_grad, valid, n, grad_bias)
        file_terms(score, slope, valid, n, position, n % queries, terms)
