"""Compiled attention in windows (numba): its correction by a bias, and attention to windows alone.

A call does a range of queries in one thread, lets go of the interpreter's lock, and writes nothing
outside its range: ranges may run side by side, and sums are taken in the same order however they are
cut. Only imported where numba is: `compiled.kernels`.

Letters: N = B Q queries and M = B K keys of all samples, S window slots, H heads, c width of a head;
n queries and E valid slots of one sample.
"""

import math

import numpy as np

from aqr_exp.aqr.attention.kernel_parts import (
    ONE,
    ZERO,
    add_rows,
    compiled,
    dot,
    exp,
    products,
    round_up4,
    scatter_terms,
    spread,
    take_slots,
    take_values,
)


@compiled(loose=True)
def _window_sums(scores, before, bias, count, sums):
    """`correction.window_sums` of a query in one head; the entropy without a logarithm a slot."""
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
    remainder, stats_out,
):  # fmt: skip
    """`correction.correct_output` of rows first to last of `order`; changes the last four.

    `stats_out` is [N, H, 4], or empty where there is nothing to fill.
    """
    slots, heads = round_up4(index.shape[1]), log_sum.shape[1]
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
            if len(stats_out):
                _window_sums(score[h], before, near_bias, count, stats_out[n, h])
            peak = ZERO
            for j in range(count):
                peak = max(peak, (score[h, j] - before) + near_bias[j])
            total = ZERO
            for j in range(count):
                score[h, j] = exp(((score[h, j] - before) + lift[j]) - peak)
                total += score[h, j] * step[j]
            rest = exp(-peak) + total
            remainder[n, h] = rest
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
    """`correction.correct_gradients` of rows first to last of `order`, but the sums by key.

    Adds to grad_query, fills grad_bias, and terms [E, 2 H] with what every slot contributes to its
    key (times the query) and to its value (times the gradient of the output).
    """
    slots, heads = round_up4(index.shape[1]), log_sum.shape[1]
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
        scatter_terms(score, slope, valid, n, position, n % queries, terms)


@compiled(loose=True)
def softmax_of_slots(scores, count):
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
    slots = round_up4(index.shape[1])
    places, share = np.empty(slots, np.int64), np.empty((heads, slots), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        output[n] = ZERO
        if count == 0:
            continue
        products(query, n, key, places, count, scale, share)
        softmax_of_slots(share, count)
        add_rows(share, value, places, count, output, n)


@compiled(loose=True)
def attend_gradients(
    first, last, order, grad_output, query, key, value, index, valid, output, heads, scale, queries, keys,
    position, grad_query, terms,
):  # fmt: skip
    """Fill grad_query of rows first to last of `order`, and their terms for `add_to_keys`."""
    slots = round_up4(index.shape[1])
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
        softmax_of_slots(share, count)
        for h in range(heads):
            mean = dot(grad_output, output, n, h * c, c)
            for j in range(count):
                slope[h, j] = share[h, j] * (slope[h, j] - mean) * scale
        add_rows(slope, key, places, count, grad_query, n)
        scatter_terms(slope, share, valid, n, position, n % queries, terms)


@compiled()
def _take_sums(content, encoding, places, count, sums):
    """sums[j] = content[places[j]] + encoding[places[j]]."""
    for j in range(round_up4(count)):
        place = places[j]
        for i in range(content.shape[1]):
            sums[j, i] = content[place, i] + encoding[place, i]


@compiled(loose=True)
def _token_products(one, n, rows, places, count, factor, products):
    """products[h, j] = factor * one[h, n] . rows[places[j]]; two heads at a time read four rows."""
    heads, c = one.shape[0], one.shape[2]
    for j in range(0, count, 4):
        p0, p1, p2, p3 = places[j], places[j + 1], places[j + 2], places[j + 3]
        for h in range(0, heads, 2):
            # The last one is its own partner where their number is odd.
            g = min(h + 1, heads - 1)
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = ZERO
            for i in range(c):
                x, y = one[h, n, i], one[g, n, i]
                r0, r1, r2, r3 = rows[p0, i], rows[p1, i], rows[p2, i], rows[p3, i]
                s0 += x * r0
                s1 += x * r1
                s2 += x * r2
                s3 += x * r3
                t0 += y * r0
                t1 += y * r1
                t2 += y * r2
                t3 += y * r3
            products[h, j], products[h, j + 1] = factor * s0, factor * s1
            products[h, j + 2], products[h, j + 3] = factor * s2, factor * s3
            products[g, j], products[g, j + 1] = factor * t0, factor * t1
            products[g, j + 2], products[g, j + 3] = factor * t2, factor * t3


@compiled(loose=True)
def _mix_tokens(weights, rows, places, count, sums, n):
    """sums[h, n] = the sum of weights[h, j] * rows[places[j]]; eight rows at a time."""
    heads, c = sums.shape[0], sums.shape[2]
    eights = count // 8 * 8
    for h in range(heads):
        weights[h, count : round_up4(count)] = ZERO
        sums[h, n] = ZERO
    for j in range(0, eights, 8):
        p0, p1, p2, p3 = places[j], places[j + 1], places[j + 2], places[j + 3]
        p4, p5, p6, p7 = places[j + 4], places[j + 5], places[j + 6], places[j + 7]
        for h in range(heads):
            w0, w1, w2, w3 = weights[h, j], weights[h, j + 1], weights[h, j + 2], weights[h, j + 3]
            w4, w5, w6, w7 = (
                weights[h, j + 4], weights[h, j + 5], weights[h, j + 6], weights[h, j + 7]
            )  # fmt: skip
            for i in range(c):
                sums[h, n, i] += (
                    (w0 * rows[p0, i] + w1 * rows[p1, i]) + (w2 * rows[p2, i] + w3 * rows[p3, i])
                ) + ((w4 * rows[p4, i] + w5 * rows[p5, i]) + (w6 * rows[p6, i] + w7 * rows[p7, i]))
    for j in range(eights, count, 4):
        p0, p1, p2, p3 = places[j], places[j + 1], places[j + 2], places[j + 3]
        for h in range(heads):
            w0, w1, w2, w3 = weights[h, j], weights[h, j + 1], weights[h, j + 2], weights[h, j + 3]
            for i in range(c):
                sums[h, n, i] += (w0 * rows[p0, i] + w1 * rows[p1, i]) + (
                    w2 * rows[p2, i] + w3 * rows[p3, i]
                )


@compiled(loose=True)
def attend_absorbed(
    first, last, order, query, content, encoding, index, valid, scale, queries, keys, share, mixed
):
    """Fill share [N, H, slots] and mixed [H, N, C] of rows first to last of `order`."""
    slots = round_up4(index.shape[1])
    places, near = np.empty(slots, np.int64), np.arange(slots)
    token = np.empty((slots, content.shape[1]), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        _take_sums(content, encoding, places, count, token)
        _token_products(query, n, token, near, count, scale, share[n])
        softmax_of_slots(share[n], count)
        _mix_tokens(share[n], content, places, count, mixed, n)


@compiled(loose=True)
def attend_absorbed_gradients(
    first, last, order, grad_mixed, content, encoding, index, valid, share, scale, queries, keys,
    slope, grad_query,
):  # fmt: skip
    """Fill slope [N, H, slots], by score, and grad_query [H, N, C] of rows first to last of `order`."""
    slots = round_up4(index.shape[1])
    places, near = np.empty(slots, np.int64), np.arange(slots)
    token = np.empty((slots, content.shape[1]), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        _token_products(grad_mixed, n, content, places, count, ONE, slope[n])
        for h in range(len(grad_mixed)):
            mean = ZERO
            for j in range(count):
                mean += share[n, h, j] * slope[n, h, j]
            for j in range(count):
                slope[n, h, j] = share[n, h, j] * (slope[n, h, j] - mean) * scale
        _take_sums(content, encoding, places, count, token)
        _mix_tokens(slope[n], token, near, count, grad_query, n)


@compiled()
def _add_four_heads(
    slope, share, h, query, grad_mixed, n, begin, end, places, count, grad_content, grad_encoding
):  # fmt: skip
    """Add what query n gives the tokens of its slots by heads h to h + 3, in columns begin to end."""
    # Views: with a first column that might be negative loops are not vectorised.
    q0, q1 = query[h, n, begin:end], query[h + 1, n, begin:end]
    q2, q3 = query[h + 2, n, begin:end], query[h + 3, n, begin:end]
    g0, g1 = grad_mixed[h, n, begin:end], grad_mixed[h + 1, n, begin:end]
    g2, g3 = grad_mixed[h + 2, n, begin:end], grad_mixed[h + 3, n, begin:end]
    for j in range(count):
        v0, v1, v2, v3 = slope[h, j], slope[h + 1, j], slope[h + 2, j], slope[h + 3, j]
        w0, w1, w2, w3 = share[h, j], share[h + 1, j], share[h + 2, j], share[h + 3, j]
        encoding = grad_encoding[places[j], begin:end]
        content = grad_content[places[j], begin:end]
        for i in range(end - begin):
            by_score = (v0 * q0[i] + v1 * q1[i]) + (v2 * q2[i] + v3 * q3[i])
            encoding[i] += by_score
            content[i] += by_score + ((w0 * g0[i] + w1 * g1[i]) + (w2 * g2[i] + w3 * g3[i]))


@compiled()
def _add_one_head(
    slope, share, h, query, grad_mixed, n, begin, end, places, count, grad_content, grad_encoding
):  # fmt: skip
    """As `_add_four_heads`, by one that is left over."""
    q0, g0 = query[h, n, begin:end], grad_mixed[h, n, begin:end]
    for j in range(count):
        v0, w0 = slope[h, j], share[h, j]
        encoding = grad_encoding[places[j], begin:end]
        content = grad_content[places[j], begin:end]
        for i in range(end - begin):
            encoding[i] += v0 * q0[i]
            content[i] += v0 * q0[i] + w0 * g0[i]


@compiled()
def add_to_tokens(
    first, last, columns, order, query, grad_mixed, index, valid, share, slope, queries, keys,
    grad_content, grad_encoding,
):  # fmt: skip
    """Add what every slot gives its token, in blocks first to last of so many columns."""
    begin, end = first * columns, min(last * columns, query.shape[2])
    fours = len(query) // 4 * 4
    places = np.empty(round_up4(index.shape[1]), np.int64)
    for n in order:
        count = take_slots(index, valid, n, n // queries * keys, places)
        for h in range(0, fours, 4):
            _add_four_heads(
                slope[n], share[n], h, query, grad_mixed, n, begin, end, places, count,
                grad_content, grad_encoding,
            )  # fmt: skip
        for h in range(fours, len(query)):
            _add_one_head(
                slope[n], share[n], h, query, grad_mixed, n, begin, end, places, count,
                grad_content, grad_encoding,
            )  # fmt: skip
