"""Noise of a mean or a mean difference, of seeds and of scenes apart.

Letters: N runs of an arm, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from jaxtyping import Float

NOTHING = 1e-12
"""A standard deviation below it is rounding, not noise."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """One source of noise of a mean.

    Attributes:
        variance: Its estimated part of the mean's variance.
        degrees: Degrees of freedom of that estimate.
    """

    variance: float
    degrees: float

    @property
    def sd(self) -> float:
        """Standard deviation that this source gives the mean."""
        return float(np.sqrt(self.variance))


@dataclass(frozen=True, kw_only=True)
class SceneNoise:
    """What the choice of scenes does to a mean or a difference.

    Attributes:
        noise: None where it is unknown.
        scenes: How many scenes with such objects were drawn from; 0 where it is unknown.
        note: Remarks for the reader; may be empty.
    """

    noise: Noise | None = None
    scenes: int = 0
    note: str = ""


def mean_noise(values: Float[np.ndarray, " N"]) -> Noise | None:
    """Noise of a mean from its spread over seeds; None below two values."""
    if len(values) < 2:
        return None
    variance = _without_rounding(float(np.var(values, ddof=1)))
    return Noise(variance=variance / len(values), degrees=len(values) - 1)


def shared_scene_noise(draws: Float[np.ndarray, "N R"], scenes: int) -> Noise | None:
    """Noise that the choice of scenes gives all seeds in common.

    With one row it is the bootstrap variance. With several it is the mean covariance between two seeds
    under the same resamples: what scenes do to one seed alone is in the spread over seeds already
    (Obuchowski and Rockette 1995, readers being seeds and cases being scenes).

    Args:
        draws: Values of each seed (for paired arms: differences) under the same resamples.

    Returns:
        The noise, at least 0; None below two scenes or two resamples.
    """
    if scenes < 2 or draws.shape[1] < 2:
        return None
    covariance = np.atleast_2d(np.cov(draws))
    return _scene_noise(_between(covariance), scenes)


def unpaired_scene_noise(
    reference: Float[np.ndarray, "N R"], other: Float[np.ndarray, "M R"], scenes: int
) -> Noise | None:
    """As `shared_scene_noise`, for the difference of two arms whose seeds are different ones."""
    if scenes < 2 or reference.shape[1] < 2:
        return None
    runs = len(reference)
    covariance = np.cov(np.concatenate([reference, other]))
    across = float(covariance[:runs, runs:].mean())
    within = _between(covariance[:runs, :runs]) + _between(covariance[runs:, runs:])
    return _scene_noise(within - 2 * across, scenes)


def _between(covariance: Float[np.ndarray, "N N"]) -> float:
    """Mean covariance of two different runs; of one run its variance."""
    runs = len(covariance)
    if runs == 1:
        return float(covariance[0, 0])
    return float(covariance.sum() - np.trace(covariance)) / (runs * (runs - 1))


def _scene_noise(variance: float, scenes: int) -> Noise:
    # Drawing with replacement from T scenes shows (T - 1) / T of the variance of a mean.
    full = max(variance, 0.0) * scenes / (scenes - 1)
    return Noise(variance=_without_rounding(full), degrees=scenes - 1)


def _without_rounding(variance: float) -> float:
    return variance if variance > NOTHING**2 else 0.0


_UNDERFLOW = 1e-200
"""Quantiles are not computed below it: p is as good as 0."""


def half_width(sources: Sequence[Noise], alpha: float) -> float:
    """Half the width of an interval."""
    from scipy.special import stdtrit

    squares = (float(stdtrit(each.degrees, alpha / 2)) ** 2 * each.variance for each in sources)
    return float(sum(squares) ** 0.5)


def p_value(estimate: float, sources: Sequence[Noise]) -> float | None:
    """Two-sided p: the level at which the interval around an estimate just reaches 0.

    None where there is a difference but no noise at all, which no spread can judge.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr

    noisy = [each for each in sources if each.variance > 0]
    if estimate == 0:
        return 1.0
    if not noisy:
        return None
    alone = [2 * float(stdtr(each.degrees, -abs(estimate) / each.sd)) for each in noisy]
    if len(alone) == 1:
        return alone[0]
    lowest = max(alone)  # each source alone gives a narrower interval, so p is above the largest
    if lowest < _UNDERFLOW or half_width(noisy, lowest) <= abs(estimate):
        return lowest
    found = brentq(lambda log_p: half_width(noisy, exp(log_p)) - abs(estimate), log(lowest), 0.0)
    return float(exp(found))


_KNOTS = 40


def t_bound(degrees: Any, level: float) -> Any:
    """What |t| exceeds with the chance `level`, for each number of degrees of freedom."""
    from scipy.special import stdtrit

    inverse = 1 / np.asarray(degrees, dtype=np.float64)
    if inverse.size <= _KNOTS:
        return -stdtrit(1 / inverse, level / 2)
    # Quantiles are slow, and nearly straight over 1 / degrees.
    knots = np.linspace(inverse.min(), inverse.max(), _KNOTS)
    return np.interp(inverse, knots, -stdtrit(1 / knots, level / 2))


def t_p(estimate: float, variance: float, degrees: float) -> float:
    """Two-sided p of one t test; without any noise a difference is certain."""
    from scipy.special import stdtr

    if estimate == 0:
        return 1.0
    return 2 * float(stdtr(degrees, -abs(estimate) / variance**0.5)) if variance > 0 else 0.0


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) of those that are known, in the given order.

    As statsmodels' `multipletests`, without its import time.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        corrected[place] = highest = max(highest, min(1.0, (len(known) - rank) * p))
    return corrected
