"""The rule by which a difference counts, and what it can detect (docs/statistics.md has the formulas).

Two tests must agree: Dunnett's over all arms, with the noise of all of them, and Welch's on the two arms
alone. Power is of the very same rule.

Letters: SS sum of squares over the seeds of an arm, n its seeds, f = n - 1 its degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aqr_exp.statistics.dunnett import JointT, chi_square, equal_arms, shares_of
from aqr_exp.statistics.noise import NOTHING, Noise, t_bound

PRIOR_DEGREES = 6.0
"""How many degrees of freedom the variance of all arms counts for beside an arm's own."""

PRIOR_EFFECT = 1.5
"""The sd of effects, in sds of one run, that the test for looking again expects."""

FIRST_SHARE, LATER_SHARE = 0.85, 0.4
"""The parts of the level that the first look and all later ones may spend.

Together they keep the level, by simulation: later looks seldom find what the first one has not.
"""

MOST_SEEDS = 1000
_DRAWS = (12, 12, 6)
"""How finely the chi squares of the arm, the reference and the further arms are drawn for power."""

Parts = tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]
"""A number of the arm, of the reference, and of all further arms together."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """The noise of a difference of two means: by all arms, and by its two arms alone.

    Attributes:
        shared: The reference's share of `variance`.
    """

    variance: np.ndarray
    degrees: np.ndarray
    shared: np.ndarray
    alone: np.ndarray
    alone_degrees: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Design:
    """The sizes of a comparison.

    Attributes:
        other: Seeds of the arm.
        reference: Seeds of the reference.
        further: Degrees of freedom that further arms add.
        paired: Whether seeds are compared one by one: SS of the arm is then that of its differences to
            the reference over the root of 2, and the reference has none of its own.
    """

    other: int
    reference: int
    further: int
    paired: bool = False

    @property
    def degrees(self) -> tuple[int, int, int]:
        """Degrees of freedom of the arm, of the reference, and of further arms."""
        return self.other - 1, 0 if self.paired else self.reference - 1, self.further

    @property
    def total(self) -> int:
        """F: degrees of freedom of all arms."""
        return sum(self.degrees)

    @property
    def size(self) -> float:
        """The seeds that a mean of one arm alone would need to be known as well as the difference is."""
        return self.other / 2 if self.paired else 1 / (1 / self.other + 1 / self.reference)

    def spread(self, squares: Parts) -> Spread:
        """The noise that sums of squares tell of."""
        other, reference, further = map(np.asarray, squares)
        f_other, f_reference, _ = self.degrees
        s2 = (other + reference + further) / self.total
        like = np.ones_like(s2)
        if self.paired:
            return Spread(
                variance=2 * s2 / self.other,
                degrees=self.total * like,
                shared=0.5 * like,
                alone=2 * other / f_other / self.other,
                alone_degrees=f_other * like,
            )
        ours, theirs = shrunk(other, self.other, s2), shrunk(reference, self.reference, s2)
        variance = ours + theirs
        if min(self.other, self.reference) >= 3:  # Welch
            a, b = other / f_other / self.other, reference / f_reference / self.reference
            alone = a + b
            alone_degrees = alone**2 / np.maximum(
                a**2 / f_other + b**2 / f_reference, NOTHING**4 * like
            )
            alone_degrees = np.maximum(alone_degrees, min(f_other, f_reference))
        else:  # the pooled variance of the two
            count = f_other + f_reference
            alone = (other + reference) / count * (1 / self.other + 1 / self.reference)
            alone_degrees = count * like
        return Spread(
            variance=variance,
            degrees=satterthwaite((ours, theirs), (self.other, self.reference), self.total),
            shared=theirs / variance,
            alone=alone,
            alone_degrees=alone_degrees,
        )


def shrunk(squares: Any, seeds: Any, s2: Any) -> Any:
    """The variance of an arm's mean: its own shrunk to S2, which counts for 6 degrees of freedom."""
    return (PRIOR_DEGREES * s2 + squares) / (PRIOR_DEGREES + seeds - 1) / seeds


def satterthwaite(variances: tuple[Any, Any], seeds: tuple[Any, Any], total: Any) -> Any:
    """Degrees of freedom of a difference, at most those of all arms.

    Args:
        variances: Of the two means, as `shrunk` has them.
    """
    parts = zip(variances, seeds, strict=True)
    weight = sum(one**2 / (PRIOR_DEGREES + count - 1) for one, count in parts)
    return np.minimum((variances[0] + variances[1]) ** 2 / weight, total)


def evidence(t2: Any, degrees: Any, size: Any) -> Any:
    """The log of the Bayes factor of a difference against none: from the first look on a test martingale.

    Args:
        t2: The squared difference in its variance with the noise of all arms.
        degrees: Those of that noise.
        size: See `Design.size`.
    """
    g = 1 + PRIOR_EFFECT**2 * size
    return (degrees + 1) / 2 * (np.log1p(t2 / degrees) - np.log1p(t2 / degrees / g)) - np.log(g) / 2


def anytime_bound(level: float, degrees: float, size: float) -> float:
    """What |t| exceeds at any look with a chance of at most `level`; infinite where none is enough."""
    g = 1 + PRIOR_EFFECT**2 * size
    ratio = float(np.exp((np.log(g) / 2 - np.log(level)) * 2 / (degrees + 1)))
    return (degrees * (ratio - 1) / (1 - ratio / g)) ** 0.5 if ratio < g else np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Rule:
    """When a difference counts.

    Attributes:
        joint: The largest |t| of all comparisons with the reference.
        comparisons: How many there are.
        scenes: Noise of scenes, where the question is about other scenes as well.
        again: Whether the arms were looked at before, with fewer seeds or others.
    """

    design: Design
    joint: JointT
    comparisons: int
    level: float
    scenes: Noise | None = None
    again: bool = False

    def half_width(self, squares: Parts, level: float) -> np.ndarray:
        """What |difference| must exceed to count: half the width of its simultaneous interval."""
        one = self.design.spread(squares)
        if self.scenes is None:
            bound = self.joint.critical(FIRST_SHARE * level, one.degrees, self.design.total)
            square = bound**2 * one.variance
        else:  # Banerjee's interval, after Bonferroni
            share = FIRST_SHARE * level / self.comparisons
            square = t_bound(one.degrees, share) ** 2 * one.variance
            square = square + t_bound(self.scenes.degrees, share) ** 2 * self.scenes.variance
        guard = t_bound(one.alone_degrees, level) ** 2 * one.alone
        if self.again:
            design, noise = self.design, np.asarray(sum(squares)) / self.design.total
            most = anytime_bound(LATER_SHARE * level / self.comparisons, design.total, design.size)
            looked = np.asarray(most**2 * noise / design.size)
            square = looked if self.scenes is None else np.maximum(looked, square)
        return np.sqrt(np.maximum(square, guard))

    def detectable(self, variances: Parts, power: float) -> float:
        """The minimum detectable effect: the smallest true difference that is found often enough.

        Args:
            variances: True ones of one run.
        """
        from scipy.optimize import brentq

        outcomes = self._outcomes(variances)
        high = outcomes[2]
        if not np.isfinite(outcomes[0]).any():
            return np.inf
        while _found(high, *outcomes) < power:
            high *= 2
        return float(brentq(lambda effect: _found(effect, *outcomes) - power, 0, high, rtol=1e-4))

    def power(self, effect: float, variances: Parts) -> float:
        """The share of experiments that find a true effect."""
        return _found(effect, *self._outcomes(variances))

    def _outcomes(self, variances: Parts) -> tuple[np.ndarray, np.ndarray, float]:
        """Half widths that experiments come to, how likely each is, and the sd of the difference."""
        shares = [
            shares_of(count if f else 1)
            for count, f in zip(_DRAWS, self.design.degrees, strict=True)
        ]
        drawn = [
            variance * chi_square(f, each) if f else np.zeros(1)
            for variance, f, (each, _) in zip(variances, self.design.degrees, shares, strict=True)
        ]
        other, reference, further = np.meshgrid(*drawn, indexing="ij")
        half = self.half_width((other, reference, further), self.level)
        likely = np.einsum("i,j,k->ijk", *(weights for _, weights in shares))
        true = variances[0] / self.design.other + variances[1] / self.design.reference
        return half, likely, float(true + (self.scenes.variance if self.scenes else 0.0)) ** 0.5

    def with_seeds(self, seeds: int, arms: int) -> "Rule":
        """The rule for so many seeds of every arm."""
        design = Design(
            other=seeds,
            reference=seeds,
            further=(arms - 2) * (seeds - 1),
            paired=self.design.paired,
        )
        return replace(self, design=design, joint=equal_arms(self.comparisons))

    def seeds_for(self, effect: float, variances: Parts, arms: int, power: float) -> int | None:
        """The seeds of every arm, at least 3, that find a true effect; None beyond `MOST_SEEDS`."""

        def enough(seeds: int) -> bool:
            return self.with_seeds(seeds, arms).power(effect, variances) >= power

        low, high = 2, 3
        while not enough(high):
            if high == MOST_SEEDS:
                return None
            low, high = high, min(2 * high, MOST_SEEDS)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high


def _found(effect: float, half: np.ndarray, likely: np.ndarray, sd: float) -> float:
    from scipy.special import ndtr

    beyond = ndtr((effect - half) / sd) + ndtr((-effect - half) / sd)
    return float(np.sum(likely * beyond))


def two_way(values: np.ndarray) -> tuple[float, int]:
    """Sum of squares of [K, n] values that neither arm nor seed explains; its (K - 1)(n - 1) degrees."""
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    return float(np.sum(rest**2)), (values.shape[0] - 1) * (values.shape[1] - 1)


def sum_of_squares(values: Sequence[float] | np.ndarray) -> float:
    """Of deviations from the mean; what is rounding alone is nothing."""
    found = np.asarray(values, dtype=np.float64)
    total = float(np.sum((found - found.mean()) ** 2)) if len(found) else 0.0
    return total if total > NOTHING**2 else 0.0
