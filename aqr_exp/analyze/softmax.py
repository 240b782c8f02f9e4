"""How an attention score bias moves a softmax: everything from the definition, on numpy alone.

A bias b is added to a key's score before softmax. With probability p for the key, dp/db = p (1 - p):
at even odds a quarter, and nearly nothing once |b| is large, where a router no longer learns.

Letters: K keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

SATURATION_BIASES = (0.0, 1.0, 2.0, 3.0, 5.0)
# A product such as 0.1 * 30 must not leave its region by its last bit.
_ROUNDING = 1e-9


class Verdict(str, Enum):
    """What a bias of some size does to a softmax."""

    RESPONSIVE = "responsive"
    SAFE = "safe"
    EDGE = "edge"
    SATURATED = "saturated"


# Up to which |bias| a verdict reaches; beyond the last it is saturated.
VERDICT_LIMITS = ((Verdict.RESPONSIVE, 2.0), (Verdict.SAFE, 3.0), (Verdict.EDGE, 5.0))


@dataclass(frozen=True, kw_only=True)
class ScaleResponse:
    """What one scale makes of the weights.

    Attributes:
        scale: The bias scale s.
        probabilities: [K], softmax of scale * weights; sums to one.
        entropy_nats: Their entropy, from 0 (one key takes all) to log K (even).
        maximum: The largest of them.
        largest_bias: The bias scale * weight of greatest size, with its sign.
        verdict: What a bias of that size does.
    """

    scale: float
    probabilities: Float[NDArray[Any], " keys"]
    entropy_nats: float
    maximum: float
    largest_bias: float
    verdict: Verdict


def softmax(scores: Float[NDArray[Any], " keys"]) -> Float[NDArray[Any], " keys"]:
    """Softmax that neither overflows nor divides by zero, whatever finite scores it is given.

    Args:
        scores: Finite scores.

    Returns:
        Probabilities in [0, 1] that sum to one.
    """
    # Two far ends of the number range may lie further apart than it reaches: minus infinity is right.
    with np.errstate(over="ignore"):
        powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def entropy_nats(probabilities: Float[NDArray[Any], " keys"]) -> float:
    """Shannon entropy in nats; a probability of zero adds nothing."""
    positive = probabilities[probabilities > 0]
    # A sum of nothing but 1 log 1 is minus zero.
    return abs(float((positive * np.log(positive)).sum()))


def verdict(bias: float) -> Verdict:
    """Name the region of softmax a bias of this size reaches: 2 responsive, 3 safe, 5 the edge."""
    for name, limit in VERDICT_LIMITS:
        if abs(bias) <= limit * (1 + _ROUNDING):
            return name
    return Verdict.SATURATED


def responses(weights: Sequence[float], scales: Sequence[float]) -> list[ScaleResponse]:
    """Softmax over keys whose scores are scale * weight, for each scale.

    Args:
        weights: One weight a key, finite.
        scales: Bias scales, finite, with finite products.

    Returns:
        One response a scale, in the order of the scales.
    """
    return [_response(np.asarray(weights, dtype=np.float64), scale) for scale in scales]


def _response(weights: Float[NDArray[Any], " keys"], scale: float) -> ScaleResponse:
    biases = scale * weights
    probabilities = softmax(biases)
    largest = float(biases[np.abs(biases).argmax()])
    return ScaleResponse(
        scale=scale,
        probabilities=probabilities,
        entropy_nats=entropy_nats(probabilities),
        maximum=float(probabilities.max()),
        largest_bias=largest,
        verdict=verdict(largest),
    )


def sigmoid(score: float) -> float:
    """1 / (1 + e^-score), for any finite score."""
    return float(np.exp(-np.logaddexp(0.0, -score)))


def slope(bias: float) -> float:
    """How fast a probability follows its bias: p (1 - p) with p = sigmoid(bias); even in the bias."""
    return sigmoid(bias) * sigmoid(-bias)


def window_mass(bias: float, window_keys: int, keys: int) -> float:
    """The share of the attention a window gets when all scores are even but for its bias.

    n e^b / (n e^b + N - n), for n of N keys with the bias b.

    Args:
        bias: The bias of each key in the window.
        window_keys: n, keys in the window.
        keys: N, all keys; more than n.

    Returns:
        The share, in [0, 1].
    """
    return sigmoid(bias - _even_mass_bias(window_keys, keys))


def bias_for_mass(share: float, window_keys: int, keys: int) -> float:
    """The bias at which a window gets this share of the attention: the inverse of `window_mass`.

    Args:
        share: The share, between 0 and 1, both exclusive.
        window_keys: n, keys in the window.
        keys: N, all keys; more than n.

    Returns:
        The bias; log((N - n) / n) for a half.
    """
    return _even_mass_bias(window_keys, keys) + float(np.log(share) - np.log1p(-share))


def _even_mass_bias(window_keys: int, keys: int) -> float:
    if not 1 <= window_keys < keys:
        raise ValueError(f"a window of {window_keys} keys must hold from 1 to {keys - 1} of {keys}")
    return float(np.log((keys - window_keys) / window_keys))
