"""Attention with a bias: the choice of a backend, and the definition with all matrices.

Letters: B samples, H heads, Q queries, K keys, c width of a head.
"""

import logging
import math
from functools import cache

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from aqr_exp.aqr import HeadKeys, HeadQueries, check_name
from aqr_exp.aqr.attention import flex, windowed
from aqr_exp.aqr.attention.flex import attend_flex
from aqr_exp.aqr.attention.windowed import attend_windowed
from aqr_exp.aqr.bias import GlobalBias, LocalBias

BACKENDS = ("auto", "windowed", "dense", "flex")

# On a small map with large windows the matrix is faster than its correction: measured on a CPU, from
# a quarter of the keys in the windows on, as long as the matrix stays in the cache (16 MiB).
_DENSE_SHARE, _DENSE_SCORES = 4, 2**22

_LOG = logging.getLogger(__name__)


def choose(
    wanted: str, query: HeadQueries, key: HeadKeys, bias: LocalBias, blocked: Tensor | None
) -> str:
    """The way to attend: `windowed`, `flex` or `dense`, where one of `BACKENDS` is wanted.

    A backend that cannot be used gives way to the one of the queries' device, and that to `dense`,
    which always can. The reason is logged once.
    """
    if wanted == "dense" or (wanted == "auto" and is_small(query, key, bias)):
        return "dense"
    native = "flex" if query.device.type == "cuda" else "windowed"
    first = native if wanted == "auto" else wanted
    reason = _unsupported_reason(first, query, bias, blocked)
    if reason is None:
        return first
    taken = "dense"
    if native != first and _unsupported_reason(native, query, bias, blocked) is None:
        taken = native
    _say(first, taken, reason)
    return taken


def is_small(query: Tensor, key: Tensor, bias: LocalBias) -> bool:
    """True where the matrix is faster than its correction: few scores, large windows among them."""
    keys = key.shape[2]
    scores = query.shape[:3].numel() * keys
    return bias.index.shape[-1] * _DENSE_SHARE >= keys and scores <= _DENSE_SCORES


def _unsupported_reason(
    backend: str, query: Tensor, bias: LocalBias, blocked: Tensor | None
) -> str | None:
    """The reason why a backend cannot be used; None where it can."""
    if blocked is not None:
        return "a mask beside the bias"
    if backend == "flex":
        return flex.unsupported_reason(query, bias)
    return windowed.unsupported_reason(query)


@cache
def _say(wanted: str, taken: str, reason: str) -> None:
    _LOG.info("attention backend %s cannot serve, %s does: %s", wanted, taken, reason)


# Scores held at once where the matrix cannot be avoided: 64 MiB in single precision.
_CHUNK_SCORES = 2**24


def attend(
    query: HeadQueries,
    key: HeadKeys,
    value: HeadKeys,
    bias: LocalBias | GlobalBias | None,
    blocked: Bool[Tensor, "queries keys"] | None = None,
    *,
    backend: str = "auto",
    dropout: float = 0.0,
) -> HeadQueries:
    """softmax(query key^T / sqrt(c) + bias) value.

    Without a bias this is torch's fused kernel; with one for all keys of a modality too. A bias of
    windows is exact as well: on a CPU the fused kernel runs without it and its result is corrected
    in the windows, on CUDA FlexAttention adds it score by score. What neither can serve, a mask
    among it, is computed with the matrix for some queries at a time, and again in the backward
    pass, so that it is never held as a whole.

    Args:
        bias: What is added to the scores, the same for all heads; it may need a gradient.
        blocked: True where a query must NOT attend to a key, in every sample and head. A query that
            is blocked from all keys gets zeros.
        backend: For a bias of windows: `windowed`, the corrected kernel of CPUs; `flex`,
            FlexAttention; `dense`, the matrix, some rows at a time; `auto`, the fastest of them. The
            first two give way where they cannot be used; the reason is logged.
        dropout: Share of the attention probabilities that are dropped; only without a bias.

    Returns:
        The attended values, in the queries' dtype.

    Raises:
        ValueError: If the bias or the mask does not fit the queries and keys, the dtypes differ,
            the backend is unknown, or there is dropout beside a bias.
    """
    check_fit(query, key, value, bias, blocked)
    if dropout and bias is not None:
        raise ValueError(f"dropout={dropout}: must be 0 where scores have a bias")
    check_name("backend", backend, BACKENDS)
    if isinstance(bias, LocalBias):
        way = choose(backend, query, key, bias, blocked)
        if way == "windowed":
            return attend_windowed(query, key, value, bias)
        if way == "flex":
            return attend_flex(query, key, value, bias)
        if backend == "auto" and is_small(query, key, bias):
            return attend_dense(query, key, value, bias, blocked)
        return _attend_in_chunks(query, key, value, bias, blocked)
    allowed = None if blocked is None else ~blocked
    if bias is None:
        return functional.scaled_dot_product_attention(query, key, value, allowed, dropout)
    return _attend_global(query, key, value, bias, allowed)


def attend_dense(
    query: HeadQueries,
    key: HeadKeys,
    value: HeadKeys,
    bias: LocalBias | GlobalBias | None,
    blocked: Bool[Tensor, "queries keys"] | None = None,
) -> HeadQueries:
    """The definition, spelled out with all matrices: for tests, and for a few queries at a time.

    Computed in single precision or better; the result is in the queries' dtype.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        scores = query.to(dtype) @ key.to(dtype).transpose(-1, -2) / math.sqrt(query.shape[-1])
        if bias is not None:
            scores = scores + bias.dense(key.shape[2])[:, None]
        if blocked is not None:
            # Not minus infinity: where all keys are blocked that has no softmax and no gradient.
            scores = scores.masked_fill(blocked, torch.finfo(dtype).min)
        share = scores.softmax(dim=-1)
        if blocked is not None:
            share = share.masked_fill(blocked, 0.0)
        return (share @ value.to(dtype)).to(query.dtype)


def check_fit(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: LocalBias | GlobalBias | None,
    blocked: Tensor | None = None,
) -> None:
    """Validate shapes and dtypes.

    Key indices are looked at on a CPU alone: elsewhere that would wait for the device.

    Raises:
        ValueError: What does not fit, and what would.
    """
    if not query.dtype == key.dtype == value.dtype:
        raise ValueError(
            f"query, key and value must share a dtype, not {query.dtype}, {key.dtype}, {value.dtype}"
        )
    queries, keys = query.shape[2], key.shape[2]
    if blocked is not None and blocked.shape != (queries, keys):
        raise ValueError(
            f"a mask of shape {tuple(blocked.shape)} does not fit {queries} queries and {keys} keys"
        )
    if bias is None:
        return
    wanted = (query.shape[0], queries)
    if bias.value.ndim != 3 or bias.value.shape[:2] != wanted:
        raise ValueError(
            f"a bias of shape {tuple(bias.value.shape)} does not fit {wanted[0]} samples of "
            f"{queries} queries: its shape must begin with {wanted}"
        )
    if isinstance(bias, GlobalBias):
        if bias.value.shape[-1] != 2 or not 0 <= bias.lidar_keys <= keys:
            raise ValueError(
                f"a global bias must hold (lidar, camera) and at most {keys} LiDAR keys, not "
                f"{bias.value.shape[-1]} values and {bias.lidar_keys} keys"
            )
        return
    if not bias.index.shape == bias.valid.shape == bias.value.shape or bias.value.shape[-1] == 0:
        raise ValueError(
            "index, valid and value of a local bias must share a shape with at least one slot, not "
            f"{tuple(bias.index.shape)}, {tuple(bias.valid.shape)}, {tuple(bias.value.shape)}"
        )
    if bias.index.device.type == "cpu" and bias.index.numel():
        low, high = (int(end) for end in bias.index.aminmax())
        if low < 0 or high >= keys:
            raise ValueError(
                f"a local bias names keys {low} to {high}, but there are keys 0 to {keys - 1}"
            )


def _attend_global(
    query: Tensor, key: Tensor, value: Tensor, bias: GlobalBias, allowed: Tensor | None
) -> Tensor:
    """Two more channels carry the bias through the fused kernel: queries hold it, keys pick it.

    The values get two channels of zeros, because the kernel wants all three equally wide.
    """
    heads, keys, width = key.shape[1:]
    held = (bias.value * math.sqrt(width)).to(query.dtype)
    lidar = torch.arange(keys, device=key.device) < bias.lidar_keys
    picks = torch.stack((lidar, ~lidar), dim=-1).to(key.dtype)
    output = functional.scaled_dot_product_attention(
        torch.cat((query, held[:, None].expand(-1, heads, -1, -1)), dim=-1),
        torch.cat((key, picks.expand(*key.shape[:2], -1, -1)), dim=-1),
        functional.pad(value, (0, 2)),
        attn_mask=allowed,
        scale=1.0 / math.sqrt(width),
    )
    return output[..., :width]


def _attend_in_chunks(
    query: Tensor, key: Tensor, value: Tensor, bias: LocalBias, blocked: Tensor | None
) -> Tensor:
    """The definition for some queries at a time; their scores are computed anew for gradients."""
    batch, heads, queries, _ = query.shape
    rows = max(1, _CHUNK_SCORES // (batch * heads * key.shape[2]))
    outputs = [
        checkpoint(
            attend_dense, query[:, :, part], key, value, bias.rows(part),
            None if blocked is None else blocked[part],
            use_reentrant=False, preserve_rng_state=False,
        )
        for part in (slice(start, start + rows) for start in range(0, queries, rows))
    ]  # fmt: skip
    return torch.cat(outputs, dim=2)
