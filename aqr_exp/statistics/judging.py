"""Differences of several arms to one reference, judged together (docs/statistics.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aqr_exp.evaluate.conditions import CONDITIONS
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.statistics.dunnett import JointT, step_down
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.metrics import CLASS_AP, SCENES, bounds, in_points, lower_is_better
from aqr_exp.statistics.noise import NOTHING, Noise, SceneNoise, holm, p_value, t_p
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.rule import (
    FIRST_SHARE,
    LATER_SHARE,
    Design,
    Parts,
    Rule,
    Spread,
    evidence,
    sum_of_squares,
    two_way,
)
from aqr_exp.statistics.verdicts import (
    BETTER,
    LEAST_DEGREES,
    UNDECIDED,
    WORSE,
    ArmDifference,
    no_larger,
)

PAIRING_DEGREES, PAIRING_LEVEL = 12, 0.01
"""Residual degrees and level at which arms show that those of one seed move together."""


def kinds(metric: str, condition: str | None, classes: int) -> int:
    """How many numbers of its kind people look at together: classes, errors, conditions of each.

    It does not depend on what is shown: no choice of columns changes a verdict.
    """
    errors = len(ERROR_NAMES) if metric in ERROR_NAMES else 1
    kind = classes if metric.startswith(CLASS_AP) else errors
    return kind if condition is None else kind * len(CONDITIONS)


def judge(
    metric: str,
    condition: str | None,
    reference: ArmMean,
    others: Sequence[ArmMean],
    further: Sequence[ArmMean],
    scenes: Sequence[SceneNoise],
    settings: Resampling,
    looks: Sequence[int] | None = None,
) -> list[ArmDifference]:
    """Compare arms with their reference, as one family of comparisons.

    Args:
        further: Arms of the same setting that are not compared: their seeds tell of noise, too.
        scenes: What the choice of scenes does to each difference.
        looks: Which look this is at each difference, from 1; later ones have a test of their own.
    """
    looks = looks or [1] * len(others)
    seen = [at for at, arm in enumerate(others) if arm.n and reference.n]
    noise = seed_noise(reference, [others[at] for at in seen], further, settings)
    known = noise.degrees >= LEAST_DEGREES and noise.variance > 0 and noise.arms[0].n > 1
    found = [
        ArmDifference(
            metric=metric,
            condition=condition,
            n_reference=reference.n,
            n_other=arm.n,
            scenes=shared.scenes,
            sesoi=settings.sesoi if in_points(metric) else None,
            population=settings.population,
            look=look,
            comparisons=len(seen) * kinds(metric, condition, settings.classes),
            arms=len(noise.arms),
            degrees=noise.degrees,
            seed_sd=noise.variance**0.5 if noise.degrees else None,
            note="; ".join(filter(None, (shared.note, noise.note))),
        )
        for arm, shared, look in zip(others, scenes, looks, strict=True)
    ]
    for place, at in enumerate(seen, start=1):
        mean = float(np.mean(noise.arms[place].values) - np.mean(noise.arms[0].values))
        found[at] = replace(found[at], word=UNDECIDED, mean=mean, paired=noise.paired)
    if not known or not seen:
        return found
    chosen = [scenes[at].noise for at in seen]
    again = [looks[at] > 1 for at in seen]
    tests = run_tests([found[at].mean or 0.0 for at in seen], noise, chosen, again)
    for place, at in enumerate(seen):
        found[at] = _concluded(found[at], tests, place, noise, chosen[place], settings)
    return found


@dataclass(frozen=True, kw_only=True)
class SeedNoise:
    """The seed noise of all arms of a setting.

    Attributes:
        arms: The reference, the arms compared with it, then further ones.
        squares: SS of each; of pairs, of their differences to the reference over the root of 2.
        variance: S2, that of one run, over all arms.
        degrees: F, those of `variance`.
    """

    arms: Sequence[ArmMean]
    squares: Sequence[float]
    variance: float
    degrees: int
    paired: bool
    note: str

    def design(self, place: int) -> Design:
        """The sizes of the comparison of an arm."""
        design = Design(
            other=self.arms[place].n, reference=self.arms[0].n, further=0, paired=self.paired
        )
        return replace(design, further=self.degrees - design.total)

    def parts(self, place: int) -> Parts:
        """SS of an arm, of the reference, and of further arms."""
        other, reference = self.squares[place], 0.0 if self.paired else self.squares[0]
        return other, reference, max(self.variance * self.degrees - other - reference, 0.0)


def seed_noise(
    reference: ArmMean, others: Sequence[ArmMean], further: Sequence[ArmMean], settings: Resampling
) -> SeedNoise:
    """The seed noise of a reference, the arms compared with it and further ones."""
    arms, paired, note = _pairing([reference, *others], [a for a in further if a.n], settings)
    if paired:
        values = np.array([arm.values for arm in arms])
        rest, degrees = two_way(values)
        squares = [sum_of_squares(each) for each in (values - values[0]) / 2**0.5]
    else:
        squares = [sum_of_squares(arm.values) for arm in arms]
        rest, degrees = sum(squares), sum(max(arm.n - 1, 0) for arm in arms)
    variance = rest / degrees if degrees and rest > NOTHING**2 else 0.0
    return SeedNoise(
        arms=arms, squares=squares, variance=variance, degrees=degrees, paired=paired, note=note
    )


def _pairing(
    family: list[ArmMean], further: list[ArmMean], settings: Resampling
) -> tuple[list[ArmMean], bool, str]:
    """The arms to judge by, whether seed by seed, and a remark."""
    everyone = [*family, *further]
    if len(family) < 2:
        return everyone, False, ""
    if settings.paired:
        common = sorted(set.intersection(*(set(arm.seeds) - {None} for arm in family)), key=str)
        if (len(common) - 1) * (len(family) - 1) < LEAST_DEGREES:
            return everyone, False, "too few common seeds to compare seed by seed"
        left_out = {seed for arm in family for seed in arm.seeds} - {*common}
        names = ", ".join(sorted(map(str, left_out)))
        note = f"seeds {names} are not in all arms and were left out" if left_out else ""
        return [arm.of_seeds(common) for arm in family], True, note
    seeds = family[0].seeds
    alike = None not in seeds and all(arm.seeds == seeds for arm in everyone)
    if alike and _seeds_matter(np.array([arm.values for arm in everyone])):
        return everyone, True, "arms of one seed move together: compared seed by seed"
    return everyone, False, ""


def _seeds_matter(values: np.ndarray) -> bool:
    """Whether arms of one seed are alike beyond chance: an F test of the seed's effect."""
    from scipy.special import fdtrc

    rest, degrees = two_way(values)
    if degrees < PAIRING_DEGREES or rest <= NOTHING**2:
        return False
    count = values.shape[1] - 1
    effect = values.shape[0] * sum_of_squares(values.mean(axis=0)) / count
    return float(fdtrc(count, degrees, effect * degrees / rest)) < PAIRING_LEVEL


@dataclass(frozen=True, kw_only=True)
class Tests:
    """The tests of a family, one of each a comparison.

    Attributes:
        together: p of the test over all arms, corrected for them and for looking again.
        alone: p of the test of the two arms alone.
        beyond: p on other scenes as well, corrected likewise; None where scene noise is unknown.
    """

    designs: Sequence[Design]
    joint: JointT
    together: Sequence[float]
    alone: Sequence[float]
    beyond: Sequence[float | None]

    def here(self, place: int) -> float:
        """P on these scenes: both tests must agree."""
        return max(self.together[place], self.alone[place])

    def there(self, place: int) -> float | None:
        """P on other scenes as well."""
        p = self.beyond[place]
        return None if p is None else max(p, self.alone[place])


def run_tests(
    means: Sequence[float],
    noise: SeedNoise,
    scenes: Sequence[Noise | None],
    again: Sequence[bool] | None = None,
) -> Tests:
    """Test the mean differences of a family.

    Args:
        noise: Its first arms are the reference and those compared with it, in the order of `means`.
        again: Those looked at before: their p holds at whichever look it is taken.
    """
    designs = [noise.design(place) for place in range(1, len(means) + 1)]
    spreads = [one.spread(noise.parts(place)) for place, one in enumerate(designs, start=1)]
    pairs = list(zip(means, spreads, strict=True))
    together, joint = step_down(
        [mean / float(one.variance) ** 0.5 for mean, one in pairs],
        [float(one.degrees) for one in spreads],
        [float(one.shared) for one in spreads],
    )
    together = [min(1.0, p / FIRST_SHARE) for p in together]
    beyond = holm([_p_beyond(*pair, one) for pair, one in zip(pairs, scenes, strict=True)])
    if again and any(again):
        bets = [
            evidence(mean**2 * one.size / noise.variance, one.total, one.size)
            for mean, one in zip(means, designs, strict=True)
        ]
        later = holm([float(np.exp(min(0.0, -bet - np.log(LATER_SHARE)))) for bet in bets])
        pairs_of_p = zip(later, together, again, strict=True)
        together = [float(new or 0.0) if anew else p for new, p, anew in pairs_of_p]
        beyond = [
            max(p, together[at]) if again[at] and p is not None else p
            for at, p in enumerate(beyond)
        ]
    return Tests(
        designs=designs,
        joint=joint,
        together=together,
        alone=[t_p(mean, float(one.alone), float(one.alone_degrees)) for mean, one in pairs],
        beyond=beyond,
    )


def _p_beyond(mean: float, one: Spread, scenes: Noise | None) -> float | None:
    """Test for other scenes as well: p for one comparison; None where their noise is unknown."""
    if scenes is None:
        return None
    seeds = Noise(variance=float(one.variance), degrees=float(one.degrees))
    p = p_value(mean, [seeds, scenes])
    return None if p is None else min(1.0, p / FIRST_SHARE)


def _times(p: float | None, count: int) -> float | None:
    return None if p is None else min(1.0, p * count)


def _concluded(
    blank: ArmDifference,
    tests: Tests,
    place: int,
    noise: SeedNoise,
    shared: Noise | None,
    settings: Resampling,
) -> ArmDifference:
    """A difference with its p, word, interval, detectable effect and plan."""
    asked = settings.population == SCENES
    count = kinds(blank.metric, blank.condition, settings.classes)
    here, there = (tests.here(place), tests.there(place))
    alpha = settings.alpha / count
    one = replace(
        blank,
        p=_times(there if asked else here, count),
        held_back=tests.together[place] <= alpha < tests.alone[place],
        elsewhere=None if there is None else max(here, there) <= alpha,
    )
    if one.p is None:  # other scenes are asked about, and their noise is unknown
        return one
    rule = Rule(
        design=tests.designs[place],
        joint=tests.joint,
        comparisons=len(tests.designs),
        level=alpha,
        scenes=shared if asked else None,
        again=blank.look > 1,
    )
    mean, parts = float(one.mean or 0.0), noise.parts(place + 1)
    half = float(rule.half_width(parts, alpha))
    low, high = mean - half, mean + half
    word = UNDECIDED
    if one.p <= settings.alpha:
        # What is found only after larger ones have been has an interval that ends at 0.
        low, high = (max(low, 0.0), high) if mean > 0 else (low, min(high, 0.0))
        word = BETTER if (mean > 0) != lower_is_better(one.metric) else WORSE
    reach = abs(mean) + float(rule.half_width(parts, 2 * alpha))
    if word == UNDECIDED and one.sesoi is not None and reach < one.sesoi:
        word = no_larger(one.sesoi)
    spread = rule.design.spread(parts)
    own = float(spread.variance) * rule.design.other * (1 - float(spread.shared))
    theirs = float(spread.variance) * rule.design.reference * float(spread.shared)
    variances = own, theirs, noise.variance
    least, most = bounds(one.metric)
    return replace(
        one,
        word=word,
        low=max(low, least - most) if np.isfinite(half) else None,
        high=min(high, most - least) if np.isfinite(half) else None,
        reach=reach,
        mde=rule.detectable(variances, settings.power),
        needed=None
        if one.sesoi is None
        else rule.seeds_for(one.sesoi, variances, len(noise.arms), settings.power),
    )
