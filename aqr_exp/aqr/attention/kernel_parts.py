"""Compilation of kernels (numba), the cache of their machine code, and the parts they share.

A row holds all heads of a query or key of one sample side by side, as projections hand it over. Four
rows are read at once, which keeps vector units busy: numbers of slots are rounded up to fours, and
the slots that are too many repeat the last one, with weight zero.

Only imported where numba is: `compiled.kernels`.

Letters: N = B Q queries and M = B K keys of all samples, S window slots, H heads, c width of a head;
n queries and E valid slots of one sample.
"""

import hashlib
import inspect
import math
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# Liberties the compiler may take. Loose: sums in the order that vectors like. Infinities keep their
# meaning in either. Never left out: a function without liberties of its own takes its first caller's.
_STRICT = frozenset({"contract"})
_LOOSE = frozenset({"contract", "reassoc", "nsz"})


def compiled(*, loose: bool = False) -> Callable[[Function], Function]:
    """Compile a function at its first call, to run without the interpreter's lock.

    Division by zero gives infinity, as in torch. What it calls becomes part of it: called by name, the
    process that compiled both may find another machine code of that name, with its sums in another
    order, than one that loads them. The machine code is kept for the next process, in
    NUMBA_CACHE_DIR where that is set, else in the user's cache folder; nowhere if that cannot be
    written.

    Args:
        loose: Whether sums may be taken in any order.
    """

    def compile_one(function: Function) -> Function:
        # Tests wrap all functions of the package in type checks.
        bare = inspect.unwrap(function)
        folder = _cache_folder()
        before = numba.config.CACHE_DIR
        # numba asks for the folder once, here.
        numba.config.CACHE_DIR = "" if folder is None else str(folder)
        try:
            made: Function = numba.njit(
                cache=folder is not None,
                nogil=True,
                error_model="numpy",
                forceinline=True,
                fastmath=set(_LOOSE if loose else _STRICT),
            )(bare)
        finally:
            numba.config.CACHE_DIR = before
        return made

    return compile_one


@cache
def _cache_folder() -> Path | None:
    """A folder of its own for every version of the kernels.

    numba looks at the file of a function alone, and would miss a change in what it calls.
    """
    digest = hashlib.sha256()
    sources = sorted(Path(__file__).parent.glob("*kernel*.py"))
    if not sources:
        raise RuntimeError("no kernels beside their compiler: other versions' code would be loaded")
    for source in sources:
        digest.update(source.read_bytes())
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
        parent = Path(numba.config.CACHE_DIR or Path(home) / "aqr-exp")
        folder = parent / f"kernels-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return folder


ZERO, ONE = np.float32(0.0), np.float32(1.0)
# A number plus 1.5 * 2^23 is rounded to a whole one, which then is in the lowest bits.
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
def round_up4(count):
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
    for j in range(count, round_up4(count)):
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
        weights[h, count : round_up4(count)] = ZERO
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


@compiled()
def first_places(index, valid, queries, keys, places):
    """Row of the key in each query's first valid slot; the sample's first key where there is none."""
    for n in range(len(index)):
        places[n] = n // queries * keys
        for s in range(index.shape[1]):
            if valid[n, s]:
                places[n] += index[n, s]
                break


@compiled()
def sort_slots(index, valid, first, last, keys, starts, rows, position):
    """Sort the valid slots of one sample's queries by key, those of one key by query.

    Fills starts [K + 1], where each key's slots begin; rows [E], the query of each; and
    position [n, S], the place of each slot in this order.
    """
    starts[:] = 0
    for n in range(first, last):
        for s in range(index.shape[1]):
            if valid[n, s]:
                starts[index[n, s]] += 1
    total = 0
    for k in range(keys + 1):
        total, starts[k] = total + starts[k], total
    for n in range(first, last):
        for s in range(index.shape[1]):
            if valid[n, s]:
                place = starts[index[n, s]]
                starts[index[n, s]] = place + 1
                rows[place] = n
                position[n - first, s] = place
    for k in range(keys, 0, -1):
        starts[k] = starts[k - 1]
    starts[0] = 0


@compiled()
def scatter_terms(to_key, to_value, valid, n, position, row, terms):
    """Put what the slots of a query contribute, [H, slots] each, where `sort_slots` placed them."""
    heads, count = to_key.shape[0], 0
    for s in range(valid.shape[1]):
        if valid[n, s]:
            place = position[row, s]
            for h in range(heads):
                terms[place, h] = to_key[h, count]
                terms[place, heads + h] = to_value[h, count]
            count += 1


@compiled(loose=True)
def _add_terms(start, end, rows, terms, column, factors, sums, place):
    """sums[place] += the sum of terms[e, column + h] * factors[rows[e]], head by head."""
    heads = terms.shape[1] // 2
    c = factors.shape[1] // heads
    fours = start + (end - start) // 4 * 4
    for e in range(start, fours, 4):
        n0, n1, n2, n3 = rows[e], rows[e + 1], rows[e + 2], rows[e + 3]
        for h in range(heads):
            t = column + h
            w0, w1, w2, w3 = terms[e, t], terms[e + 1, t], terms[e + 2, t], terms[e + 3, t]
            for i in range(c):
                sums[place, h * c + i] += (
                    w0 * factors[n0, h * c + i] + w1 * factors[n1, h * c + i]
                ) + (w2 * factors[n2, h * c + i] + w3 * factors[n3, h * c + i])
    for e in range(fours, end):
        n0 = rows[e]
        for h in range(heads):
            w0 = terms[e, column + h]
            for i in range(c):
                sums[place, h * c + i] += w0 * factors[n0, h * c + i]


@compiled(loose=True)
def add_to_keys(
    first, last, starts, rows, terms, query, grad_output, first_key, grad_key, grad_value
):
    """Add the slots' terms to the gradients of keys and values first to last of one sample."""
    heads = terms.shape[1] // 2
    for k in range(first, last):
        if starts[k] < starts[k + 1]:
            _add_terms(starts[k], starts[k + 1], rows, terms, 0, query, grad_key, first_key + k)
            _add_terms(
                starts[k], starts[k + 1], rows, terms, heads, grad_output, grad_value, first_key + k
            )
