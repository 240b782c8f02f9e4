"""Noise of a mean or a mean difference, of seeds and of scenes apart.

Letters: N runs of an arm, R resamples.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log

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


def mean_noise(values: Float[np.ndarray, " N"]) -> Noise | None:
    """Noise of a mean from its spread over seeds (for paired arms: differences); None below two values."""
    if len(values) < 2:
        return None
    variance = _without_rounding(float(np.var(values, ddof=1)))
    return Noise(variance=variance / len(values), degrees=len(values) - 1)


def welch_noise(reference: Float[np.ndarray, " N"], other: Float[np.ndarray, " M"]) -> Noise | None:
    """Noise of the difference of two means over different seeds, with Welch's degrees of freedom.

    None where an arm has one value.
    """
    known = [part for part in map(mean_noise, (reference, other)) if part is not None]
    if len(known) < 2:
        return None
    variance = sum(part.variance for part in known)
    if variance == 0:
        return Noise(variance=0.0, degrees=min(part.degrees for part in known))
    degrees = variance**2 / sum(part.variance**2 / part.degrees for part in known)
    return Noise(variance=variance, degrees=degrees)


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


MOST_SEEDS = 1000
_QUANTILES = 400


def power(effect: float, seeds: Noise, scenes: Noise | None, alpha: float) -> float:
    """Power: the share of experiments that find a true effect."""
    from scipy.special import ndtr, stdtrit

    seen = seeds.variance * _seen_variances(seeds.degrees)
    square = stdtrit(seeds.degrees, alpha / 2) ** 2 * seen
    variance = seeds.variance
    if scenes is not None:
        square = square + stdtrit(scenes.degrees, alpha / 2) ** 2 * scenes.variance
        variance += scenes.variance
    if variance == 0:
        return 1.0 if effect else 0.0
    half, sd = np.sqrt(square), variance**0.5
    return float((ndtr((effect - half) / sd) + ndtr((-effect - half) / sd)).mean())


@lru_cache(maxsize=256)
def _seen_variances(degrees: float) -> Float[np.ndarray, " quantiles"]:
    """Estimates of a variance of 1, each as likely as the others."""
    from scipy.special import chdtri

    shares = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.asarray(chdtri(degrees, shares) / degrees)


def detectable(seeds: Noise, scenes: Noise | None, alpha: float, wanted: float) -> float:
    """The minimum detectable effect: the smallest true difference that is found often enough."""
    from scipy.optimize import brentq

    high = (seeds.variance + (scenes.variance if scenes else 0.0)) ** 0.5
    if high == 0:
        return 0.0
    while power(high, seeds, scenes, alpha) < wanted:
        high *= 2
    found = brentq(
        lambda effect: power(effect, seeds, scenes, alpha) - wanted, 0.0, high, rtol=1e-6
    )
    return float(found)


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """The noise that a plan of more seeds rests on.

    Attributes:
        sd: Standard deviation of one seed's difference.
        degrees: Degrees of freedom for each seed beyond the first: 1 for pairs, up to 2 for Welch.
        scenes: Noise that scenes give the mean, which more seeds do not lessen.
    """

    sd: float
    degrees: float = 1.0
    scenes: Noise | None = None

    def noise(self, seeds: int) -> Noise:
        """Noise that so many seeds, at least 2, would give the mean."""
        return Noise(variance=self.sd**2 / seeds, degrees=self.degrees * (seeds - 1))

    def seeds_for(self, effect: float, alpha: float, wanted: float) -> int | None:
        """The number of seeds, at least 2, that find an effect often enough; None beyond `MOST_SEEDS`."""

        def enough(seeds: int) -> bool:
            return power(abs(effect), self.noise(seeds), self.scenes, alpha) >= wanted

        low, high = 1, 2
        while not enough(high):
            low, high = high, high * 2
            if high > MOST_SEEDS:
                return None
        return low + 1 + bisect_left(range(low + 1, high), True, key=enough)
