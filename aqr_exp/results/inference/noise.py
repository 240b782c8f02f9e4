"""How much of a mean or a mean difference is noise, of seeds and of scenes apart.

Letters: N runs of an arm, R resamples.
"""

from dataclasses import dataclass

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
    """Noise of a mean from its spread over seeds; for paired arms the values are differences.

    Args:
        values: One value a seed.

    Returns:
        The noise; None below two values.
    """
    if len(values) < 2:
        return None
    variance = _without_rounding(float(np.var(values, ddof=1)))
    return Noise(variance=variance / len(values), degrees=len(values) - 1)


def welch_noise(reference: Float[np.ndarray, " N"], other: Float[np.ndarray, " M"]) -> Noise | None:
    """Noise of the difference of two means over different seeds, with Welch's degrees of freedom.

    Args:
        reference: One value a seed.
        other: The same of the other arm.

    Returns:
        The noise; None where an arm has one value.
    """
    parts = [mean_noise(reference), mean_noise(other)]
    known = [part for part in parts if part is not None]
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
        scenes: How many scenes there are to draw from.

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
    """As `shared_scene_noise`, for the difference of two arms whose seeds are different ones.

    Args:
        reference: Values of each run under the resamples.
        other: Those of the other arm, under the same resamples.
        scenes: How many scenes there are to draw from.
    """
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
