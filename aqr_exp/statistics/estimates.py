"""Means of arms and differences between them, with intervals (docs/statistics.md).

Letters: N runs of an arm, R resamples.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Float

from aqr_exp.statistics.metrics import metric_name
from aqr_exp.statistics.noise import (
    Noise,
    SeedPlan,
    detectable,
    half_width,
    mean_noise,
    p_value,
    shared_scene_noise,
    unpaired_scene_noise,
    welch_noise,
)
from aqr_exp.statistics.resampling import Resampling


@dataclass(frozen=True, kw_only=True)
class ArmMean:
    """The mean of an arm; what cannot be known is None.

    Attributes:
        n: How many seeds.
        sd: Sample standard deviation (n - 1) over seeds: seed noise of one run.
        low: Lower end of the mean's interval, for other seeds and other scenes.
        method: How the interval was made.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        note: Remarks for the reader; may be empty.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = "no value"
    scene_sd: float | None = None
    scenes: int = 0
    note: str = ""


def summarize(values: Sequence[float]) -> ArmMean:
    """Mean, standard deviation and 95 % Student-t interval of one value a seed, without scene noise."""
    from scipy.special import stdtrit

    n = len(values)
    if n == 0:
        return ArmMean(n=0)
    mean = statistics.fmean(values)
    if n == 1:
        return ArmMean(n=1, mean=mean, method=_NO_INTERVAL)
    sd = statistics.stdev(values)
    half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
    return ArmMean(n=n, mean=mean, sd=sd, low=mean - half, high=mean + half, method=_OVER_SEEDS)


_NO_INTERVAL = "one seed: no interval"
_OVER_SEEDS = "t over seeds"


MOST = 16
"""With more pairs than this, not all flips are tried: the floor of p is low enough by then."""


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Share of sign patterns whose mean is at least as far from 0 as the observed one.

    Exact when under no difference each sign is as likely as the other, whatever the distribution (Fisher
    1935); the test that permutes which of the two arms a value of a seed belongs to.

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
    """The smallest two-sided p of a sign-flip or signed-rank test of at least one pair: all signs equal."""
    return float(2.0 ** (1 - pairs))


@dataclass(frozen=True, kw_only=True)
class ArmDifference:
    """Another arm minus the reference; what cannot be known is None.

    Attributes:
        condition: The part of the data; None for all.
        n_pairs: Pairs of runs with the same seed; 0 where none or one seed is common and the arms are
            compared unpaired.
        n_reference: Runs of the reference that were used.
        seeds: The common seeds.
        scenes: How many scenes with such objects were drawn from; 0 where scene noise is unknown.
        low: Lower end of the mean difference's interval.
        p: Two-sided p of no difference; None with one seed, whose noise is unknown.
        method: How interval and p were made.
        mde: The minimum detectable effect of as many seeds and scenes.
        seed_sd: Standard deviation of one seed's difference: seed noise.
        seed_degrees: Degrees of freedom of `seed_sd` for each seed beyond the first.
        scene_sd: Standard deviation that the choice of scenes gives the mean: scene noise.
        least_p: The least that an exact test of so many pairs could have given.
        note: Remarks for the reader; may be empty.
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
    seed_sd: float | None = None
    seed_degrees: float = 1.0
    scene_sd: float | None = None
    least_p: float | None = None
    note: str = ""

    @property
    def n(self) -> int:
        """Seeds of the arm that has fewer."""
        return self.n_pairs or min(self.n_reference, self.n_other)

    @property
    def name(self) -> str:
        """The metric with its condition."""
        return metric_name(self.metric, self.condition)

    def seeds_for(self, effect: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
        """The number of seeds of each arm, at least 2, that would find a true difference.

        None where scene noise alone is too much, or seed noise is unknown.
        """
        if self.seed_sd is None or effect == 0:
            return None
        scenes = None
        if self.scene_sd is not None and self.scenes > 1:
            scenes = Noise(variance=self.scene_sd**2, degrees=self.scenes - 1)
        plan = SeedPlan(sd=self.seed_sd, degrees=self.seed_degrees, scenes=scenes)
        return plan.seeds_for(effect, alpha, power)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArmValues:
    """A metric of an arm's runs.

    Attributes:
        seeds: None where unknown.
        draws: The values under resamples, equal ones for all runs of all arms; R is 0 without records.
    """

    seeds: tuple[int | None, ...]
    values: Float[np.ndarray, " N"]
    draws: Float[np.ndarray, "N R"]

    def of_seeds(self, seeds: Sequence[int | None]) -> "ArmValues":
        """The runs of some seeds, in their order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        return ArmValues(seeds=tuple(seeds), values=self.values[rows], draws=self.draws[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricSample:
    """A metric of several arms, with remarks for the reader.

    Attributes:
        scenes: How many scenes hold ground truth of it; 0 where scene noise is unknown.
    """

    arms: tuple[ArmValues, ...]
    scenes: int
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Contrast:
    """A difference of two arms with its noise.

    Attributes:
        values: Differences by seed, or the one difference of the means where seeds are not paired.
        plan_sd: Standard deviation of one seed's difference.
        plan_degrees: See `SeedPlan`.
    """

    values: Float[np.ndarray, " N"]
    paired: bool
    seeds: Noise | None
    scenes: Noise | None
    plan_sd: float | None
    plan_degrees: float = 1.0


def estimate_difference(
    metric: str, condition: str | None, sample: MetricSample, settings: Resampling
) -> ArmDifference:
    """The difference of two arms, the second minus the first, which is the reference."""
    reference, other = sample.arms
    notes = list(sample.notes)
    common = sorted(set(reference.seeds) & set(other.seeds) - {None}, key=str)
    paired = len(common) > 1 or (bool(common) and min(len(reference.seeds), len(other.seeds)) < 2)
    if paired:
        only = {*reference.seeds, *other.seeds} - {*common}
        if only:
            names = ", ".join(sorted(map(str, only)))
            notes.append(f"seeds {names} are not in both arms and were left out")
        reference, other = reference.of_seeds(common), other.of_seeds(common)
    elif len(reference.seeds) and len(other.seeds):
        notes.append("the arms have different seeds: compared unpaired (Welch)")
    blank = ArmDifference(
        metric=metric,
        condition=condition,
        n_pairs=len(common) if paired else 0,
        n_reference=len(reference.seeds),
        n_other=len(other.seeds),
        seeds=tuple(sorted(seed for seed in common if seed is not None)),
        scenes=sample.scenes,
        method="nothing to compare",
        note="; ".join(notes),
    )
    if blank.n == 0:
        return blank
    contrast = (_paired if paired else _unpaired)(reference, other, sample.scenes)
    return _concluded(blank, contrast, notes, settings)


def _paired(reference: ArmValues, other: ArmValues, scenes: int) -> _Contrast:
    values = other.values - reference.values
    seeds = mean_noise(values)
    return _Contrast(
        values=values,
        paired=True,
        seeds=seeds,
        scenes=shared_scene_noise(other.draws - reference.draws, scenes),
        plan_sd=None if seeds is None else float(np.sqrt(seeds.variance * len(values))),
    )


def _unpaired(reference: ArmValues, other: ArmValues, scenes: int) -> _Contrast:
    parts = [mean_noise(arm.values) for arm in (reference, other)]
    variances = [
        part.variance * len(arm.values)
        for part, arm in zip(parts, (reference, other), strict=True)
        if part is not None
    ]
    total, known = sum(variances), len(variances) == 2
    return _Contrast(
        values=np.atleast_1d(other.values.mean(axis=0) - reference.values.mean(axis=0)),
        paired=False,
        seeds=welch_noise(reference.values, other.values),
        scenes=unpaired_scene_noise(reference.draws, other.draws, scenes),
        plan_sd=float(np.sqrt(total)) if known else None,
        plan_degrees=total**2 / sum(each**2 for each in variances) if known and total else 1.0,
    )


def _concluded(
    blank: ArmDifference, contrast: _Contrast, notes: list[str], settings: Resampling
) -> ArmDifference:
    mean = float(contrast.values.mean())
    sources = [noise for noise in (contrast.seeds, contrast.scenes) if noise is not None]
    flips = [float(value) for value in contrast.values] if contrast.paired else []
    several = contrast.seeds is not None
    exact = sign_flip_p(flips) if several else None
    p = p_value(mean, sources) if several else None
    if contrast.seeds is not None and contrast.seeds.variance == 0 and mean != 0:
        notes.append("all seeds give the same difference: only the exact test is used")
        p = exact if p is None else max(p, exact or p)
    low, high = _interval(mean, sources, settings)
    return replace(
        blank,
        mean=mean,
        low=low,
        high=high,
        p=p,
        method=_method(contrast),
        seed_sd=contrast.plan_sd,
        seed_degrees=contrast.plan_degrees,
        scene_sd=None if contrast.scenes is None else contrast.scenes.sd,
        mde=None
        if contrast.seeds is None
        else detectable(contrast.seeds, contrast.scenes, settings.alpha, settings.power),
        least_p=least_p(len(flips)) if several and flips else None,
        note="; ".join(notes),
    )


def _interval(
    mean: float, sources: Sequence[Noise], settings: Resampling
) -> tuple[float, float] | tuple[None, None]:
    if not sources:
        return None, None
    half = half_width(sources, settings.alpha)
    return mean - half, mean + half


def _method(contrast: _Contrast) -> str:
    if contrast.seeds is None:
        return "one seed: noise of scenes only" if contrast.scenes else "one seed: no interval"
    seeds = "t over paired seeds" if contrast.paired else "Welch t over seeds"
    return f"{seeds} and bootstrap over scenes" if contrast.scenes else f"{seeds}, scenes unknown"


def estimate_mean(sample: MetricSample, settings: Resampling) -> ArmMean:
    """The mean of one arm."""
    arm, *_ = sample.arms
    note = "; ".join(sample.notes)
    if not len(arm.values):
        return ArmMean(n=0, note=note)
    seeds, scenes = mean_noise(arm.values), shared_scene_noise(arm.draws, sample.scenes)
    sources = [noise for noise in (seeds, scenes) if noise is not None]
    mean = float(arm.values.mean())
    low, high = _interval(mean, sources, settings)
    names = [_OVER_SEEDS] * (seeds is not None) + ["bootstrap over scenes"] * (scenes is not None)
    return ArmMean(
        n=len(arm.values),
        mean=mean,
        sd=float(np.std(arm.values, ddof=1)) if seeds else None,
        low=low,
        high=high,
        method=" and ".join(names) or _NO_INTERVAL,
        scene_sd=None if scenes is None else scenes.sd,
        scenes=sample.scenes,
        note=note,
    )
