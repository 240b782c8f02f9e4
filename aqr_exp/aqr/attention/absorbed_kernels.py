"""Compiled attention of absorbed queries to the tokens of windows; the rules of `window_kernels` hold.

Every head of a query is a row as wide as a token's, so all heads read the same rows.

Letters: N = B Q queries and M = B K tokens of all samples, S window slots, H heads, C width.
"""

import numpy as np

from aqr_exp.aqr.attention.compiler import compiled
from aqr_exp.aqr.attention.gathered_kernels import shares
from aqr_exp.aqr.attention.kernel_parts import ONE, ZERO, take_slots, whole


@compiled()
def _take_sums(content, encoding, places, count, sums):
    """sums[j] = content[places[j]] + encoding[places[j]]."""
    for j in range(whole(count)):
        place = places[j]
        for i in range(content.shape[1]):
            sums[j, i] = content[place, i] + encoding[place, i]


@compiled(loose=True)
def _products(one, n, rows, places, count, factor, products):
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
def _mix(weights, rows, places, count, sums, n):
    """sums[h, n] = the sum of weights[h, j] * rows[places[j]]; eight rows at a time."""
    heads, c = sums.shape[0], sums.shape[2]
    eights = count // 8 * 8
    for h in range(heads):
        weights[h, count : whole(count)] = ZERO
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
def attend(
    first, last, order, query, content, encoding, index, valid, scale, queries, keys, share, mixed
):
    """Fill share [N, H, slots] and mixed [H, N, C] of rows first to last of `order`."""
    slots = whole(index.shape[1])
    places, near = np.empty(slots, np.int64), np.arange(slots)
    token = np.empty((slots, content.shape[1]), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        _take_sums(content, encoding, places, count, token)
        _products(query, n, token, near, count, scale, share[n])
        shares(share[n], count)
        _mix(share[n], content, places, count, mixed, n)


@compiled(loose=True)
def attend_gradients(
    first, last, order, grad_mixed, content, encoding, index, valid, share, scale, queries, keys,
    slope, grad_query,
):  # fmt: skip
    """Fill slope [N, H, slots], by score, and grad_query [H, N, C] of rows first to last of `order`."""
    slots = whole(index.shape[1])
    places, near = np.empty(slots, np.int64), np.arange(slots)
    token = np.empty((slots, content.shape[1]), np.float32)
    for n in order[first:last]:
        count = take_slots(index, valid, n, n // queries * keys, places)
        _products(grad_mixed, n, content, places, count, ONE, slope[n])
        for h in range(len(grad_mixed)):
            mean = ZERO
            for j in range(count):
                mean += share[n, h, j] * slope[n, h, j]
            for j in range(count):
                slope[n, h, j] = share[n, h, j] * (slope[n, h, j] - mean) * scale
        _take_sums(content, encoding, places, count, token)
        _mix(slope[n], token, near, count, grad_query, n)


@compiled()
def _add_four_heads(
    slope, share, h, query, grad_mixed, n, begin, end, places, count, grad_content, grad_encoding
):  # fmt: skip
    """What query n gives the tokens of its slots by heads h to h + 3, in columns begin to end."""
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
    places = np.empty(whole(index.shape[1]), np.int64)
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
