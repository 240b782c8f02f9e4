"""What a few seeds say about a mean, and no more than that."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float

from aqr_exp.statistics.noise import Noise, SeedPlan

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A mean over seeds.

    Attributes:
        n: How many seeds.
        mean: Their mean; None for no seed.
        sd: Sample standard deviation (n - 1); None below two seeds.
        low: Lower end of the 95 % Student-t interval of the mean; None below two seeds.
        high: Its upper end.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


def summarize(values: Sequence[float]) -> Summary:
    """Mean, standard deviation and 95 % Student-t interval.

    Args:
        values: One value a seed.

    Returns:
        The summary; what one seed cannot say is None.
    """
    n = len(values)
    if n == 0:
        return Summary(n=0)
    mean = statistics.fmean(values)
    if n == 1:
        return Summary(n=1, mean=mean)
    sd = statistics.stdev(values)
    half = student_t(n - 1) * sd / math.sqrt(n)
    return Summary(n=n, mean=mean, sd=sd, low=mean - half, high=mean + half)


def student_t(degrees: int) -> float:
    """How many standard errors the 95 % interval reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))


Ends = tuple[float, float]


def percentile_interval(drawn: Float[np.ndarray, " R"], confidence: float) -> Ends | None:
    """The middle of the distribution.

    Args:
        drawn: Values under resamples; NaN where undefined, left out.
        confidence: Share of the values within.

    Returns:
        Lower and upper end; None below two values.
    """
    known = drawn[~np.isnan(drawn)]
    if len(known) < 2:
        return None
    alpha = (1 - confidence) / 2
    low, high = np.quantile(known, [alpha, 1 - alpha])
    return float(low), float(high)


def bca_interval(
    observed: float,
    drawn: Float[np.ndarray, " R"],
    left_out: Float[np.ndarray, " T"],
    confidence: float,
) -> Ends | None:
    """The percentile interval corrected for bias and for a spread that changes with the value.

    Args:
        observed: The value on the data as it is.
        drawn: Values under resamples; NaN left out.
        left_out: Values with one scene left out; NaN left out.
        confidence: Of the interval.

    Returns:
        Lower and upper end; None where it is not defined: no spread, or all resamples on one side.
    """
    from scipy.special import ndtr, ndtri

    known, jackknife = drawn[~np.isnan(drawn)], left_out[~np.isnan(left_out)]
    if len(known) < 2 or len(jackknife) < 2:
        return None
    below = ((known < observed).mean() + (known <= observed).mean()) / 2
    pull = jackknife.mean() - jackknife
    spread = float((pull**2).sum())
    if spread == 0 or not 0 < below < 1:
        return None
    bias = ndtri(below)
    acceleration = float((pull**3).sum()) / (6 * spread**1.5)
    ends = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    shares = ndtr(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(known, shares)
    return float(low), float(high)


def two_level_draws(draws: Float[np.ndarray, "N R"], seed: int) -> Float[np.ndarray, " R"]:
    """Means over seeds drawn again, each under its resample of scenes: a bootstrap of both levels.

    It is shown, not decided by: of few seeds it shows (n - 1) / n of their variance and knows no t, while
    what scenes do to single seeds is counted twice.

    Args:
        draws: Values of each seed under the same resamples of scenes.
        seed: Of the draws of seeds.
    """
    seeds, count = draws.shape
    chosen = np.random.default_rng([seed, seeds]).integers(0, seeds, (seeds, count))
    means: Float[np.ndarray, " R"] = np.take_along_axis(draws, chosen, axis=0).mean(axis=0)
    return means


MOST = 16
"""Beyond so many pairs the flips are not all tried: the floor is out of the way by then."""


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Share of sign patterns whose mean is at least as far from 0 as the observed one.

    Exact when under no difference each sign is as likely as the other, whatever the distribution (Fisher
    1935); the test that permutes which of the two arms a value of a seed belongs to.

    Args:
        differences: One a seed.

    Returns:
        Two-sided p; None for no pair or more than `MOST`.
    """
    if not 0 < len(differences) <= MOST:
        return None
    observed = abs(sum(differences))
    enough = observed - 1e-12 * sum(abs(value) for value in differences)
    patterns = list(product((1, -1), repeat=len(differences)))
    reached = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) >= enough
        for signs in patterns
    )
    return reached / len(patterns)


def least_p(pairs: int) -> float:
    """The smallest two-sided p of a sign-flip or signed-rank test: all signs equal.

    Args:
        pairs: How many differences, at least one.
    """
    return float(2.0 ** (1 - pairs))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Another arm minus the reference; what cannot be known is None.

    Attributes:
        metric: The metric.
        condition: The part of the data; None for all.
        n_pairs: Pairs of runs with the same seed; 0 where none or one seed is common and the arms are
            compared unpaired.
        n_reference: Runs of the reference that were used.
        n_other: Runs of the other arm that were used.
        seeds: The common seeds.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        mean: Mean difference.
        low: Lower end of its interval.
        high: Upper end.
        p: Two-sided p of no difference; None with one seed, whose noise is unknown.
        method: How interval and p were made.
        mde: The minimum detectable effect of as many seeds and scenes.
        seeds_needed: Seeds of each arm that would find a true difference as large as the mean; None where
            no number would, or it is unknown.
        seed_sd: Standard deviation of one seed's difference: seed noise.
        seed_degrees: Degrees of freedom of `seed_sd` for each seed beyond the first.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        percentile: Bootstrap over scenes, these seeds: percentile interval.
        bca: The same, bias-corrected and accelerated.
        two_level: Bootstrap over seeds and scenes: percentile interval.
        exact_p: Exact sign-flip test of the pairs.
        least_p: The least that so many pairs could have given it.
        note: What a reader has to know; empty when nothing.
    """

    metric: str
    condition: str | None
    n_pairs: int
    n_reference: int
    n_other: int
    seeds: tuple[int, ...]
    scenes: int
    method: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    mde: float | None = None
    seeds_needed: int | None = None
    seed_sd: float | None = None
    seed_degrees: float = 1.0
    scene_sd: float | None = None
    percentile: Ends | None = None
    bca: Ends | None = None
    two_level: Ends | None = None
    exact_p: float | None = None
    least_p: float | None = None
    note: str = ""

    @property
    def n(self) -> int:
        """Seeds of the arm that has fewer."""
        return self.n_pairs or min(self.n_reference, self.n_other)

    def seeds_for(self, effect: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
        """How many seeds of each arm would find a true difference.

        Args:
            effect: Its size, in the metric's unit.
            alpha: Level of the test.
            power: How often it is to be found.

        Returns:
            At least 2; None where scene noise alone is too much, or seed noise is unknown.
        """
        if self.seed_sd is None or effect == 0:
            return None
        scenes = None
        if self.scene_sd is not None and self.scenes > 1:
            scenes = Noise(variance=self.scene_sd**2, degrees=self.scenes - 1)
        plan = SeedPlan(sd=self.seed_sd, degrees=self.seed_degrees, scenes=scenes)
        return plan.seeds_for(effect, alpha, power)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The mean of an arm; what cannot be known is None.

    Attributes:
        mean: Mean over seeds.
        sd: Sample standard deviation over seeds: seed noise of one run.
        n: How many seeds.
        low: Lower end of the mean's interval, for other seeds and other scenes.
        high: Upper end.
        method: How it was made.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        seed_low: Lower end for other seeds on the same scenes; None below two seeds.
        seed_high: Upper end.
        note: What a reader has to know; empty when nothing.
    """

    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None
    method: str
    scene_sd: float | None = None
    scenes: int = 0
    seed_low: float | None = None
    seed_high: float | None = None
    note: str = ""
