"""Statistics of a bias's effect on attention, without a [queries x keys] matrix.

Letters: B samples, H heads, Q queries, K keys, S window slots, c width of a head.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aqr_exp.aqr import HeadKeys, HeadQueries, QueryNumbers
from aqr_exp.aqr.attention.api import attend, check_fit, choose
from aqr_exp.aqr.attention.correction import window_sums
from aqr_exp.aqr.attention.windowed import attend_windowed, plain_attention, unsupported_reason
from aqr_exp.aqr.bias import GlobalBias, LocalBias

# Scores held at once where the fused CPU kernel cannot be used: 64 MiB in single precision.
_CHUNK_SCORES = 2**24


@dataclass(frozen=True, eq=False)
class AttentionStatistics:
    """Per sample, head and query. Under a global bias the window is every key.

    Attributes:
        mass_before: Attention to the query's window without the bias, in [0, 1].
        mass_after: The same with the bias.
        change: Sum over all keys of |attention with the bias - attention without|, in [0, 2].
        entropy: Entropy in nats of the attention within the window, with the bias and taken to sum
            to one: 0 where it is all on one key, log(n) where n keys share it evenly.
        has_window: Whether the query has any key in its window; the others' entropy is 0 and means
            nothing.
    """

    mass_before: QueryNumbers
    mass_after: QueryNumbers
    change: QueryNumbers
    entropy: QueryNumbers
    has_window: Bool[Tensor, "batch queries"]


def attend_watched(
    query: HeadQueries,
    key: HeadKeys,
    value: HeadKeys,
    bias: LocalBias | GlobalBias,
    blocked: Bool[Tensor, "queries keys"] | None = None,
    *,
    backend: str = "auto",
) -> tuple[HeadQueries, AttentionStatistics]:
    """Attend, and compare with attention without the bias.

    The backend `windowed` has all that the statistics need at hand while it attends; the others
    attend a second time for them.

    Returns:
        What `attend` gives, to the bit, and the statistics.

    Raises:
        ValueError: As `attend` does.
    """
    if isinstance(bias, LocalBias):
        check_fit(query, key, value, bias, blocked)
        if choose(backend, query, key, bias, blocked) == "windowed":
            sums = query.new_empty(*bias.value.shape[:2], query.shape[1], 4, dtype=_wide(query))
            output = attend_windowed(query, key, value, bias, stats_out=sums)
            return output, _from_sums(sums.transpose(1, 2), bias)
    output = attend(query, key, value, bias, blocked, backend=backend)
    return output, attention_statistics(query.detach(), key.detach(), bias)


def _from_sums(
    sums: Float[Tensor, "batch heads queries 4"], bias: LocalBias
) -> AttentionStatistics:
    """The columns of `window_sums` by name."""
    before, after, change, entropy = sums.unbind(dim=-1)
    return AttentionStatistics(before, after, change, entropy, bias.valid.any(dim=-1))


@torch.no_grad()
def attention_statistics(
    query: HeadQueries, key: HeadKeys, bias: LocalBias | GlobalBias
) -> AttentionStatistics:
    """Compare attention with and without a bias. Costs about as much as attention itself.

    Returns:
        The statistics, in single precision or better, without gradient.

    Raises:
        ValueError: If the bias does not fit the queries and keys.
    """
    check_fit(query, key, key, bias)
    with torch.autocast(query.device.type, enabled=False):
        if isinstance(bias, GlobalBias):
            return _of_modalities(query, key, bias)
        log_sum, _ = _log_sum_and_mean_score(query, key)
        plain = _window_scores(query, key, bias).to(log_sum.dtype) - log_sum[..., None]
        sums = window_sums(plain.transpose(1, 2), bias.value, bias.valid)
        return _from_sums(sums.transpose(1, 2), bias)


def _of_modalities(query: Tensor, key: Tensor, bias: GlobalBias) -> AttentionStatistics:
    """All keys of a modality are scaled alike: each keeps its own distribution, and its entropy."""
    log_sums, entropies = [], []
    for part in key.tensor_split([bias.lidar_keys], dim=2):
        if part.shape[2]:
            log_sum, mean_score = _log_sum_and_mean_score(query, part)
        else:
            log_sum = query.new_full(query.shape[:3], -torch.inf, dtype=_wide(query))
            mean_score = log_sum
        log_sums.append(log_sum)
        entropies.append((log_sum - mean_score).nan_to_num())
    within, log_masses = torch.stack(entropies, dim=-1), torch.stack(log_sums, dim=-1)
    before = log_masses.softmax(dim=-1)
    after = (log_masses + bias.value[:, None].to(log_masses.dtype)).softmax(dim=-1)
    ones = torch.ones_like(log_masses[..., 0])
    return AttentionStatistics(
        mass_before=ones,
        mass_after=ones,
        change=(after - before).abs().sum(dim=-1),
        entropy=torch.special.entr(after).sum(dim=-1) + (after * within).sum(dim=-1),
        has_window=torch.ones_like(bias.value[..., 0], dtype=torch.bool),
    )


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _log_sum_and_mean_score(query: HeadQueries, key: HeadKeys) -> tuple[QueryNumbers, QueryNumbers]:
    """Log-sum-exp of a query's scores, and their mean by its attention.

    The mean of scores is the score of the mean key, which is what attention with the keys as values
    gives.
    """
    dtype, scale = _wide(query), 1.0 / math.sqrt(query.shape[-1])
    if unsupported_reason(query) is None:
        mean_key, log_sum = plain_attention(query, key, key)
        return log_sum, (query.to(dtype) * mean_key.to(dtype)).sum(dim=-1) * scale
    rows = max(1, _CHUNK_SCORES // (query.shape[0] * query.shape[1] * key.shape[2]))
    sums, means = [], []
    for part in query.split(rows, dim=2):  # type: ignore[no-untyped-call]
        score = part.to(dtype) @ key.to(dtype).transpose(-1, -2) * scale
        sums.append(score.logsumexp(dim=-1))
        means.append((score.softmax(dim=-1) * score).sum(dim=-1))
    return torch.cat(sums, dim=2), torch.cat(means, dim=2)


def _window_scores(
    query: Tensor, key: Tensor, bias: LocalBias
) -> Float[Tensor, "batch heads queries slots"]:
    dtype, scale = _wide(query), 1.0 / math.sqrt(query.shape[-1])
    scores = []
    # One head at a time: the gathered keys are the largest tensor here.
    for head in range(query.shape[1]):
        near = torch.stack(
            [keys[picked] for keys, picked in zip(key[:, head], bias.index.long(), strict=True)]
        )
        scores.append(torch.einsum("bqc,bqsc->bqs", query[:, head].to(dtype), near.to(dtype)))
    return torch.stack(scores, dim=1) * scale
