"""From what runs measured to a difference or a mean with its interval (docs/statistics.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from aqr_exp.statistics.arms import Arm, Measured
from aqr_exp.statistics.estimates import (
    Difference,
    Interval,
    bca_interval,
    least_p,
    percentile_interval,
    sign_flip_p,
    two_level_draws,
)
from aqr_exp.statistics.noise import (
    Noise,
    detectable,
    half_width,
    mean_noise,
    p_value,
    shared_scene_noise,
    unpaired_scene_noise,
    welch_noise,
)
from aqr_exp.statistics.resampling import Resampling


@dataclass(frozen=True, kw_only=True, eq=False)
class _Contrast:
    """A difference of two arms before anything is concluded.

    Attributes:
        values: Differences by seed, or the one difference of the means where seeds are not paired.
        draws: The same under resamples.
        left_out: The same with one scene left out.
        paired: Whether the rows are seeds.
        seeds: Noise of seeds.
        scenes: Noise of scenes.
        plan_sd: Standard deviation of one seed's difference.
        plan_degrees: See `SeedPlan`.
    """

    values: Float[np.ndarray, " N"]
    draws: Float[np.ndarray, "N R"]
    left_out: Float[np.ndarray, "N T"]
    paired: bool
    seeds: Noise | None
    scenes: Noise | None
    plan_sd: float | None
    plan_degrees: float = 1.0


def estimate_difference(
    metric: str, condition: str | None, measured: Measured, settings: Resampling
) -> Difference:
    """Compare two arms.

    Args:
        metric: The metric.
        condition: The part of the data.
        measured: The reference and the other arm.
        settings: Confidence, power, and the seed of draws.

    Returns:
        The difference, other minus reference.
    """
    reference, other = measured.arms
    notes = list(measured.notes)
    common = sorted(set(reference.seeds) & set(other.seeds) - {None}, key=str)
    paired = len(common) > 1 or (bool(common) and min(len(reference.seeds), len(other.seeds)) < 2)
    if paired:
        notes += _left_out(reference, other, common)
        reference = reference.take([reference.seeds.index(seed) for seed in common])
        other = other.take([other.seeds.index(seed) for seed in common])
    elif len(reference.seeds) and len(other.seeds):
        notes.append("the arms have different seeds: compared unpaired (Welch)")
    blank = Difference(
        metric=metric,
        condition=condition,
        n_pairs=len(common) if paired else 0,
        n_reference=len(reference.seeds),
        n_other=len(other.seeds),
        seeds=tuple(sorted(seed for seed in common if seed is not None)),
        scenes=measured.scenes,
        method="nothing to compare",
        note="; ".join(notes),
    )
    if blank.n == 0:
        return blank
    contrast = (_paired if paired else _unpaired)(reference, other, measured.scenes)
    return _concluded(blank, contrast, notes, settings)


def _left_out(reference: Arm, other: Arm, common: Sequence[int | None]) -> list[str]:
    only = {*reference.seeds, *other.seeds} - {*common}
    if not only:
        return []
    names = ", ".join(sorted(map(str, only)))
    return [f"seeds {names} are not in both arms and were left out"]


def _paired(reference: Arm, other: Arm, scenes: int) -> _Contrast:
    values = other.values - reference.values
    draws = other.draws - reference.draws
    seeds = mean_noise(values)
    return _Contrast(
        values=values,
        draws=draws,
        left_out=other.left_out - reference.left_out,
        paired=True,
        seeds=seeds,
        scenes=shared_scene_noise(draws, scenes),
        plan_sd=None if seeds is None else float(np.sqrt(seeds.variance * len(values))),
    )


def _unpaired(reference: Arm, other: Arm, scenes: int) -> _Contrast:
    def gap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.atleast_1d(second.mean(axis=0) - first.mean(axis=0))

    parts = [mean_noise(arm.values) for arm in (reference, other)]
    variances = [
        part.variance * len(arm.values)
        for part, arm in zip(parts, (reference, other), strict=True)
        if part is not None
    ]
    total, known = sum(variances), len(variances) == 2
    return _Contrast(
        values=gap(reference.values, other.values),
        draws=gap(reference.draws, other.draws)[None],
        left_out=gap(reference.left_out, other.left_out)[None],
        paired=False,
        seeds=welch_noise(reference.values, other.values),
        scenes=unpaired_scene_noise(reference.draws, other.draws, scenes),
        plan_sd=float(np.sqrt(total)) if known else None,
        plan_degrees=total**2 / sum(each**2 for each in variances) if known and total else 1.0,
    )


def _concluded(
    blank: Difference, contrast: _Contrast, notes: list[str], settings: Resampling
) -> Difference:
    mean = float(contrast.values.mean())
    sources = [noise for noise in (contrast.seeds, contrast.scenes) if noise is not None]
    flips = [float(value) for value in contrast.values] if contrast.paired else []
    several = contrast.seeds is not None
    exact = sign_flip_p(flips) if several else None
    p = p_value(mean, sources) if several else None
    if contrast.seeds is not None and contrast.seeds.variance == 0 and mean != 0:
        notes.append("all seeds give the same difference: only the exact test is used")
        p = exact if p is None else max(p, exact or p)
    half = half_width(sources, settings.alpha) if sources else None
    known = replace(
        blank,
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        p=p,
        method=_method(contrast),
        seed_sd=contrast.plan_sd,
        seed_degrees=contrast.plan_degrees,
        scene_sd=None if contrast.scenes is None else contrast.scenes.sd,
        exact_p=exact,
        least_p=least_p(len(flips)) if several and flips else None,
        note="; ".join(notes),
    )
    known = _with_bootstrap(known, contrast, settings)
    if contrast.seeds is None:
        return known
    return replace(
        known,
        mde=detectable(contrast.seeds, contrast.scenes, settings.alpha, settings.power),
        seeds_needed=known.seeds_for(mean, settings.alpha, settings.power),
    )


def _with_bootstrap(known: Difference, contrast: _Contrast, settings: Resampling) -> Difference:
    if contrast.scenes is None:
        return known
    mean, draws = float(contrast.values.mean()), contrast.draws.mean(axis=0)
    two_level = None
    if contrast.paired and len(contrast.values) > 1:
        drawn = two_level_draws(contrast.draws, settings.seed)
        two_level = percentile_interval(drawn, settings.confidence)
    return replace(
        known,
        percentile=percentile_interval(draws, settings.confidence),
        bca=bca_interval(mean, draws, contrast.left_out.mean(axis=0), settings.confidence),
        two_level=two_level,
    )


def _method(contrast: _Contrast) -> str:
    if contrast.seeds is None:
        return "one seed: noise of scenes only" if contrast.scenes else "one seed: no interval"
    seeds = "t over paired seeds" if contrast.paired else "Welch t over seeds"
    return f"{seeds} and bootstrap over scenes" if contrast.scenes else f"{seeds}, scenes unknown"


def estimate_mean(measured: Measured, settings: Resampling) -> Interval:
    """The mean of one arm.

    Args:
        measured: The arm.
        settings: Confidence.
    """
    arm, *_ = measured.arms
    note = "; ".join(measured.notes)
    if not len(arm.values):
        return Interval(mean=None, sd=None, n=0, low=None, high=None, method="no value", note=note)
    seeds, scenes = mean_noise(arm.values), shared_scene_noise(arm.draws, measured.scenes)
    sources = [noise for noise in (seeds, scenes) if noise is not None]
    mean = float(arm.values.mean())
    half = half_width(sources, settings.alpha) if sources else None
    of_seeds = half_width([seeds], settings.alpha) if seeds else None
    names = (["t over seeds"] if seeds else []) + (["bootstrap over scenes"] if scenes else [])
    return Interval(
        mean=mean,
        sd=float(np.std(arm.values, ddof=1)) if seeds else None,
        n=len(arm.values),
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        method=" and ".join(names) or "one seed: no interval",
        scene_sd=None if scenes is None else scenes.sd,
        scenes=measured.scenes,
        seed_low=None if of_seeds is None else mean - of_seeds,
        seed_high=None if of_seeds is None else mean + of_seeds,
        note=note,
    )
