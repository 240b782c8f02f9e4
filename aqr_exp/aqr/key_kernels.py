"""Compiled sums over all slots that name a key: its and its value's gradients.

Slots are sorted by key once, and every key is written by one thread. Only imported where numba is:
`kernel_choice`.

Letters: N = B Q queries and M = B K keys of all samples, S window slots, H heads, c width of a head;
n queries and E valid slots of one sample.
"""

from aqr_exp.aqr.kernel_compiler import compiled


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
    position [n, S], where in this order a slot stands.
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
def file_terms(to_key, to_value, valid, n, position, row, terms):
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
