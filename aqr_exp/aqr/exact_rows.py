"""Attention of single rows computed in full, where a correction would cancel.

A row is a query of one sample in one head.

Letters: B samples, H heads, Q queries, K keys, S window slots, c width of a head; r rows of one
sample and head.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Scores held at once: 16 MiB in single precision.
_CHUNK_SCORES = 2**22


def replace_output(
    chosen: Bool[Tensor, "batch heads queries"],
    query: Float[Tensor, "batch heads queries c"],
    key: Float[Tensor, "batch heads keys c"],
    value: Float[Tensor, "batch heads keys c"],
    index: Int[Tensor, "batch queries slots"],
    bias: Float[Tensor, "batch queries slots"],
    output: Float[Tensor, "batch heads queries c"],
    log_sum: Float[Tensor, "batch heads queries"],
) -> None:
    """Overwrite the chosen rows of `output` and `log_sum` with exact ones.

    Args:
        chosen: Which rows.
        query: Projected queries.
        key: Projected keys.
        value: Projected values.
        index: Which key each slot is.
        bias: What the slot adds to the score.
        output: Attended values, changed in place.
        log_sum: Log-sum-exp of the scores, changed in place.
    """
    dtype = log_sum.dtype
    for sample, head, rows in _groups(chosen, key.shape[2]):
        scores = _scores(query, key, index, bias, (sample, head, rows), dtype)
        log_sum[sample, head, rows] = scores.logsumexp(dim=-1)
        output[sample, head, rows] = scores.softmax(dim=-1) @ value[sample, head].to(dtype)


def add_gradients(
    chosen: Bool[Tensor, "batch heads queries"],
    grad_output: Float[Tensor, "batch heads queries c"],
    query: Float[Tensor, "batch heads queries c"],
    key: Float[Tensor, "batch heads keys c"],
    value: Float[Tensor, "batch heads keys c"],
    index: Int[Tensor, "batch queries slots"],
    bias: Float[Tensor, "batch queries slots"],
    output: Float[Tensor, "batch heads queries c"],
    log_sum: Float[Tensor, "batch heads queries"],
    gradients: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    """Add what the chosen rows contribute to the gradients.

    Args:
        chosen: Which rows.
        grad_output: Gradient of the attended values.
        query: Projected queries.
        key: Projected keys.
        value: Projected values.
        index: Which key each slot is.
        bias: What the slot adds to the score.
        output: Attended values with the bias.
        log_sum: Log-sum-exp of the scores with the bias.
        gradients: Of query, key, value and bias, changed in place.
    """
    dtype, scale = log_sum.dtype, 1.0 / math.sqrt(query.shape[-1])
    grad_query, grad_key, grad_value, grad_bias = gradients
    for sample, head, rows in _groups(chosen, key.shape[2]):
        scores = _scores(query, key, index, bias, (sample, head, rows), dtype)
        attention = (scores - log_sum[sample, head, rows, None]).exp()
        wanted = grad_output[sample, head, rows].to(dtype)
        mean_grad = (wanted * output[sample, head, rows].to(dtype)).sum(dim=-1, keepdim=True)
        grad_score = attention * (wanted @ value[sample, head].to(dtype).T - mean_grad)
        near_query = query[sample, head, rows].to(dtype)
        grad_query[sample, head, rows] += grad_score @ key[sample, head].to(dtype) * scale
        grad_key[sample, head] += grad_score.T @ near_query * scale
        grad_value[sample, head] += attention.T @ wanted
        grad_bias[sample, rows] += grad_score.gather(1, index[sample, rows])


def _groups(
    chosen: Bool[Tensor, "batch heads queries"], keys: int
) -> Iterator[tuple[int, int, Int[Tensor, " r"]]]:
    """Sample, head and queries of chosen rows, as many as may be computed at once."""
    step = max(1, _CHUNK_SCORES // keys)
    for sample in range(chosen.shape[0]):
        for head in range(chosen.shape[1]):
            rows = chosen[sample, head].nonzero().squeeze(-1)
            for start in range(0, len(rows), step):
                yield sample, head, rows[start : start + step]


def _scores(
    query: Float[Tensor, "batch heads queries c"],
    key: Float[Tensor, "batch heads keys c"],
    index: Int[Tensor, "batch queries slots"],
    bias: Float[Tensor, "batch queries slots"],
    place: tuple[int, int, Int[Tensor, " r"]],
    dtype: torch.dtype,
) -> Float[Tensor, "r keys"]:
    sample, head, rows = place
    near_query = query[sample, head, rows].to(dtype) / math.sqrt(query.shape[-1])
    scores = near_query @ key[sample, head].to(dtype).T
    return scores.scatter_add_(1, index[sample, rows], bias[sample, rows])
