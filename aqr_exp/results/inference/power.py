"""What a comparison could have seen, and how many seeds another would need.

Power is that of the interval of `combination`: the variance between seeds is unknown to the test and
follows a chi-square distribution, over which is averaged; the variance of scenes is taken as known.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from aqr_exp.results.inference.noise import Noise

MOST_SEEDS = 1000
_QUANTILES = 400


def power(effect: float, seeds: Noise, scenes: Noise | None, alpha: float) -> float:
    """How often a true effect is found.

    Args:
        effect: The true difference.
        seeds: Noise that seeds give the mean.
        scenes: Noise that scenes give the mean.
        alpha: Level of the two-sided test.

    Returns:
        A share, for no effect at most alpha.
    """
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
    """The minimum detectable effect: the smallest true difference that is found often enough.

    Args:
        seeds: Noise that seeds give the mean.
        scenes: Noise that scenes give the mean.
        alpha: Level of the two-sided test.
        wanted: How often it is to be found.
    """
    from scipy.optimize import brentq

    high = (seeds.variance + (scenes.variance if scenes else 0.0)) ** 0.5
    if high == 0:
        return 0.0
    while power(high, seeds, scenes, alpha) < wanted:
        high *= 2

    def excess(effect: float) -> float:
        return power(effect, seeds, scenes, alpha) - wanted

    return float(brentq(excess, 0.0, high, rtol=1e-6))


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """What is known for planning more seeds.

    Attributes:
        sd: Standard deviation of one seed's difference.
        degrees: Degrees of freedom for each seed beyond the first: 1 for pairs, up to 2 for Welch.
        scenes: Noise that scenes give the mean, which more seeds do not lessen.
    """

    sd: float
    degrees: float = 1.0
    scenes: Noise | None = None

    def noise(self, seeds: int) -> Noise:
        """Noise that so many seeds would give the mean.

        Args:
            seeds: At least 2.
        """
        return Noise(variance=self.sd**2 / seeds, degrees=self.degrees * (seeds - 1))

    def seeds_for(self, effect: float, alpha: float, wanted: float) -> int | None:
        """How many seeds a true effect needs to be found often enough.

        Args:
            effect: The true difference.
            alpha: Level of the two-sided test.
            wanted: How often it is to be found.

        Returns:
            At least 2; None where `MOST_SEEDS` are not enough.
        """

        def enough(seeds: int) -> bool:
            return power(abs(effect), self.noise(seeds), self.scenes, alpha) >= wanted

        low, high = 1, 2
        while not enough(high):
            low, high = high, high * 2
            if high > MOST_SEEDS:
                return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high
