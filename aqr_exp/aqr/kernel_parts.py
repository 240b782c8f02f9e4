"""What the compiled loops over window slots are made of: numba, without copies of the keys.

A row holds all heads of a query or key of one sample side by side, as projections hand it over. Four
rows are read at once, which keeps vector units busy: numbers of slots are rounded up to fours, and
the slots that are too many repeat the last one, with weight zero.

Only imported where numba is: `kernel_choice`.

Letters: N = B Q queries and M = B K keys of all samples, S window slots, H heads, c width of a head;
n queries and E valid slots of one sample.
"""

import math

import numpy as np

from aqr_exp.aqr.kernel_compiler import compiled

ZERO, ONE = np.float32(0.0), np.float32(1.0)
# A number plus 1.5 * 2^23 is rounded to a whole one, which then stands in the lowest bits.
_ROUND, _ROUND_BITS = np.float32(12582912.0), 0x4B400000
_LOG2_E = np.float32(1.44269504088896341)
# ln 2 in two parts, the first with few bits, so that its multiples are exact.
_LN_2_HIGH, _LN_2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LOWEST, _HIGHEST = np.float32(-87.0), np.float32(88.0)
_HALF = np.float32(0.5)
# Of a head, in the published models and in ours: loops of a known length are a quarter faster.
_USUAL_WIDTH = 32
# 1 / n!; what comes after n = 7 is below 6e-9 for |r| <= ln(2) / 2.
_TERM_3, _TERM_4, _TERM_5, _TERM_6, _TERM_7 = (
    np.float32(1.0 / math.factorial(n)) for n in range(3, 8)
)


@compiled()
def exp(x):
    """e^x in single precision, to 1.5 units in the last place; in loops, unlike libm's, vectorised.

    From -87 down it is e^-87, which no sum of attention notices; from 88 up e^88.
    """
    x = min(max(x, _LOWEST), _HIGHEST)
    shifted = x * _LOG2_E + _ROUND
    power = shifted - _ROUND
    r = x - power * _LN_2_HIGH
    r -= power * _LN_2_LOW
    tail = _TERM_6 + r * _TERM_7
    tail = _TERM_5 + r * tail
    tail = _TERM_4 + r * tail
    tail = _TERM_3 + r * tail
    tail = _HALF + r * tail
    bits = np.int32((np.float32(shifted).view(np.int32) - _ROUND_BITS + 127) << 23)
    return np.float32((ONE + (r + r * r * tail)) * np.int32(bits).view(np.float32))


@compiled()
def whole(count):
    """Rounded up to fours: that many rows at once keep the vector units busy."""
    return (count + 3) // 4 * 4


@compiled()
def take_slots(index, valid, n, first_key, places):
    """Rows of the keys in the valid slots of a query, the last one up to four times; returns how many."""
    count = 0
    for s in range(index.shape[1]):
        if valid[n, s]:
            places[count] = first_key + index[n, s]
            count += 1
    for j in range(count, whole(count)):
        places[j] = places[count - 1]
    return count


@compiled()
def take_values(values, valid, n, taken):
    """The numbers in the valid slots of a query."""
    count = 0
    for s in range(valid.shape[1]):
        if valid[n, s]:
            taken[count] = values[n, s]
            count += 1


@compiled()
def spread(taken, valid, n, values):
    """The reverse of `take_values`; zero in the other slots."""
    count = 0
    for s in range(valid.shape[1]):
        values[n, s] = ZERO
        if valid[n, s]:
            values[n, s] = taken[count]
            count += 1


@compiled(loose=True)
def _products(one, n, rows, places, count, factor, products, c):
    """As `products`, given the width of a head."""
    heads = products.shape[0]
    for j in range(0, count, 4):
        p0, p1, p2, p3 = places[j], places[j + 1], places[j + 2], places[j + 3]
        for h in range(heads):
            s0 = s1 = s2 = s3 = ZERO
            for i in range(c):
                x = one[n, h * c + i]
                s0 += x * rows[p0, h * c + i]
                s1 += x * rows[p1, h * c + i]
                s2 += x * rows[p2, h * c + i]
                s3 += x * rows[p3, h * c + i]
            products[h, j] = factor * s0
            products[h, j + 1] = factor * s1
            products[h, j + 2] = factor * s2
            products[h, j + 3] = factor * s3


@compiled(loose=True)
def products(one, n, rows, places, count, factor, products):
    """products[h, j] = factor * one[n] . rows[places[j]], head by head."""
    c = one.shape[1] // products.shape[0]
    if c == _USUAL_WIDTH:
        _products(one, n, rows, places, count, factor, products, _USUAL_WIDTH)
    else:
        _products(one, n, rows, places, count, factor, products, c)


@compiled(loose=True)
def _add_rows(weights, rows, places, count, sums, n, c):
    """As `add_rows`, given the width of a head."""
    heads = weights.shape[0]
    for h in range(heads):
        weights[h, count : whole(count)] = ZERO
    for j in range(0, count, 4):
        p0, p1, p2, p3 = places[j], places[j + 1], places[j + 2], places[j + 3]
        for h in range(heads):
            w0, w1, w2, w3 = weights[h, j], weights[h, j + 1], weights[h, j + 2], weights[h, j + 3]
            for i in range(c):
                sums[n, h * c + i] += (w0 * rows[p0, h * c + i] + w1 * rows[p1, h * c + i]) + (
                    w2 * rows[p2, h * c + i] + w3 * rows[p3, h * c + i]
                )


@compiled(loose=True)
def add_rows(weights, rows, places, count, sums, n):
    """sums[n] += the sum of weights[h, j] * rows[places[j]], head by head."""
    c = rows.shape[1] // weights.shape[0]
    if c == _USUAL_WIDTH:
        _add_rows(weights, rows, places, count, sums, n, _USUAL_WIDTH)
    else:
        _add_rows(weights, rows, places, count, sums, n, c)


@compiled(loose=True)
def dot(one, other, n, first, c):
    """one[n] . other[n] over c numbers from the first: one head."""
    total = ZERO
    for i in range(first, first + c):
        total += one[n, i] * other[n, i]
    return total
