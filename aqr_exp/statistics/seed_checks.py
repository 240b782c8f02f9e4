"""Seeds that a careful reader would ask about: outliers, divergence, arms that scatter more than others.

Nothing is dropped: a verdict stays, and what it would be without them stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np

from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import judge
from aqr_exp.statistics.metrics import MAIN_METRICS
from aqr_exp.statistics.noise import NOTHING, SceneNoise
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.rule import sum_of_squares
from aqr_exp.statistics.verdicts import ArmDifference, number

LEVEL = 0.05
DIVERGED_BELOW = 0.5
"""A run diverged whose score is below this share of its siblings'."""

NOISIER = 2.0
"""An arm scatters more whose sd is so many times that of all arms."""


def judge_openly(
    metric: str,
    condition: str | None,
    reference: ArmMean,
    others: Sequence[ArmMean],
    further: Sequence[ArmMean],
    scenes: Sequence[SceneNoise],
    settings: Resampling,
    looks: Sequence[int] | None = None,
) -> list[ArmDifference]:
    """As `judge`; notes name odd seeds, with the verdict without them, and arms that scatter more."""
    arms, count = [reference, *others, *further], 1 + len(others)
    found = judge(metric, condition, reference, others, further, scenes, settings, looks)
    odd = odd_seeds(arms, metric)
    without = found
    if any(odd):
        usual = [
            arm.without(one.places) if one else arm for arm, one in zip(arms, odd, strict=True)
        ]
        without = judge(
            metric, condition, usual[0], usual[1:count], usual[count:], scenes, settings, looks
        )
    wide = noisier(arms)
    done = []
    for place, (one, then) in enumerate(zip(found, without, strict=True), start=1):
        about = ((0, "the reference's "), (place, ""))
        seen = [
            f"{whose}{odds.words(arms[at], metric)}" for at, whose in about if (odds := odd[at])
        ]
        notes = [f"{' and '.join(seen)}: without {then.short}"] if seen else []
        if not seen and then.word != one.word:
            notes = [f"without the odd seeds of other arms {then.short}"]
        notes += [_wide_words(one, arms[at], whose) for at, whose in about if at in wide]
        done.append(replace(one, note="; ".join(filter(None, (one.note, *notes)))))
    return done


def _wide_words(one: ArmDifference, arm: ArmMean, whose: str) -> str:
    sd, all_sd = (number(one.metric, each) for each in (arm.spread, one.seed_sd or 0.0))
    return (
        f"{whose}seeds scatter more than those of the other arms (sd {sd}, all arms {all_sd}): "
        "the test of the two arms alone guards against it"
    )


@dataclass(frozen=True, kw_only=True)
class OddSeeds:
    """The odd seeds of one arm.

    Attributes:
        places: Which of its values.
        diverged: How many of them diverged.
    """

    places: tuple[int, ...]
    diverged: int

    def words(self, arm: ArmMean, metric: str) -> str:
        """Their names and values beside those of their siblings."""
        names = ", ".join(str(arm.seeds[place]) for place in self.places)
        values = ", ".join(number(metric, arm.values[place]) for place in self.places)
        siblings = [value for at, value in enumerate(arm.values) if at not in self.places]
        beside = f", the others {number(metric, fmean(siblings))} on average" if siblings else ""
        found = f"{self.diverged} of {arm.n} diverged" if self.diverged else "beyond chance"
        return f"seed{'s' if len(self.places) > 1 else ''} {names} ({metric} {values}{beside}; {found})"


def odd_seeds(arms: Sequence[ArmMean], metric: str) -> list[OddSeeds | None]:
    """For each arm its seeds that diverged, and those that lie beyond chance; None where all are usual.

    Beyond chance is what the residual says that is measured in the noise of all other runs, at 5 % for
    all of them together.
    """
    from scipy.special import stdtr

    squares = [sum_of_squares(arm.values) for arm in arms]
    runs = sum(arm.n for arm in arms if arm.n > 1)
    degrees = sum(max(arm.n - 1, 0) for arm in arms) - 1
    found: list[OddSeeds | None] = []
    for arm in arms:
        odd = {at for at in range(arm.n) if metric in MAIN_METRICS and _diverged(arm.values, at)}
        diverged = len(odd)
        for at, value in enumerate(arm.values if arm.n > 1 and degrees > 1 else ()):
            own = (value - fmean(arm.values)) ** 2 / (1 - 1 / arm.n)
            rest = max(sum(squares) - own, 0.0) / degrees
            t = (own / max(rest, NOTHING**2)) ** 0.5
            if own > NOTHING and 2 * float(stdtr(degrees, -t)) * runs <= LEVEL:
                odd.add(at)
        found.append(OddSeeds(places=tuple(sorted(odd)), diverged=diverged) if odd else None)
    return found


def _diverged(values: Sequence[float], place: int) -> bool:
    siblings = [value for at, value in enumerate(values) if at != place]
    return bool(siblings) and values[place] < DIVERGED_BELOW * median(siblings)


def noisier(arms: Sequence[ArmMean]) -> list[int]:
    """The arms that scatter more: the widest by Bartlett's test, and any twice as wide as all."""
    from scipy.special import chdtrc

    known = [
        (at, sum_of_squares(arm.values), arm.n - 1) for at, arm in enumerate(arms) if arm.n > 1
    ]
    known = [one for one in known if one[1] > 0]
    if len(known) < 2:
        return []
    squares, f = np.array([one[1] for one in known]), np.array([one[2] for one in known])
    variances, total = squares / f, f.sum()
    pooled = squares.sum() / total
    scale = 1 + (np.sum(1 / f) - 1 / total) / 3 / (len(f) - 1)
    bartlett = (total * np.log(pooled) - np.sum(f * np.log(variances))) / scale
    wide = {known[at][0] for at in np.flatnonzero(variances > NOISIER**2 * pooled)}
    if chdtrc(len(f) - 1, bartlett) < LEVEL:
        wide.add(known[int(np.argmax(variances))][0])
    return sorted(wide)
