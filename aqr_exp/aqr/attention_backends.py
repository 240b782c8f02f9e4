"""Which of the ways to attend with a bias in windows is taken, and why not the one that was asked for.

Letters: B samples, H heads, Q queries, K keys, c width of a head.
"""

import logging
from functools import cache

from torch import Tensor

from aqr_exp.aqr import flex_windows, windowed_attention
from aqr_exp.aqr.bias import LocalBias

BACKENDS = ("auto", "windowed", "dense", "flex")

# On a small map with large windows the matrix is faster than its correction: measured on a CPU, from
# a quarter of the keys in the windows on, as long as the matrix stays in the cache (16 MiB).
_DENSE_SHARE, _DENSE_SCORES = 4, 2**22

_LOG = logging.getLogger(__name__)


def choose(wanted: str, query: Tensor, key: Tensor, bias: LocalBias, blocked: Tensor | None) -> str:
    """The way to attend.

    A backend that cannot serve gives way to the one of the queries' device, and that to `dense`,
    which always can. The log says so, and why, once for each reason.

    Args:
        wanted: One of `BACKENDS`.
        query: [B, H, Q, c].
        key: [B, H, K, c].
        bias: Of the scores.
        blocked: [Q, K] a mask beside the bias, or None.

    Returns:
        `windowed`, `flex` or `dense`.
    """
    if wanted == "dense" or (wanted == "auto" and is_small(query, key, bias)):
        return "dense"
    native = "flex" if query.device.type == "cuda" else "windowed"
    first = native if wanted == "auto" else wanted
    reason = _refusal(first, query, bias, blocked)
    if reason is None:
        return first
    taken = "dense"
    if native != first and _refusal(native, query, bias, blocked) is None:
        taken = native
    _say(first, taken, reason)
    return taken


def is_small(query: Tensor, key: Tensor, bias: LocalBias) -> bool:
    """Whether the matrix is faster than its correction: few scores, and large windows among them."""
    keys = key.shape[2]
    scores = query.shape[:3].numel() * keys
    return bias.index.shape[-1] * _DENSE_SHARE >= keys and scores <= _DENSE_SCORES


def _refusal(backend: str, query: Tensor, bias: LocalBias, blocked: Tensor | None) -> str | None:
    """Why a backend cannot serve; None where it can."""
    if blocked is not None:
        return "a mask beside the bias"
    if backend == "flex":
        return flex_windows.refusal(query, bias)
    return windowed_attention.refusal(query)


@cache
def _say(wanted: str, taken: str, reason: str) -> None:
    _LOG.info("attention backend %s cannot serve, %s does: %s", wanted, taken, reason)
