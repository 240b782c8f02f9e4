"""Verdicts on differences: Holm's correction over the comparisons shown, and a sentence for each."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.statistics.estimates import ArmDifference, least_p
from aqr_exp.statistics.metrics import in_points, lower_is_better

BETTER = "better"
WORSE = "worse"
WITHIN_NOISE = "within noise"
UNDECIDABLE = "undecidable"

MOST_EXTRA_SEEDS = 20
"""With more extra seeds than this a plan is not realistic: the difference is called within noise."""

ENOUGH_SEEDS = 3
"""As many seeds are suggested where seed noise is unknown."""


@dataclass(frozen=True, kw_only=True)
class DifferenceResult:
    """A difference with its verdict.

    Attributes:
        word: `better`, `worse`, `within noise` or `undecidable`.
        p_holm: p corrected for the number of comparisons shown; None where there is no p.
        comparisons: How many comparisons it was corrected for.
        sentence: The verdict with its numbers, floor and outlook, for people.
    """

    difference: ArmDifference
    word: str
    p_holm: float | None
    comparisons: int
    sentence: str


def decide(differences: Sequence[ArmDifference], alpha: float = 0.05) -> list[DifferenceResult]:
    """Verdicts for all comparisons that are shown together, in their order."""
    known = [place for place, each in enumerate(differences) if each.p is not None]
    adjusted = holm([float(differences[place].p or 0.0) for place in known])
    corrected = dict(zip(known, adjusted, strict=True))
    return [
        _verdict(difference, corrected.get(place), len(known), alpha)
        for place, difference in enumerate(differences)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the given order.

    As statsmodels' `multipletests`, without its import time.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def _verdict(
    difference: ArmDifference, p_holm: float | None, comparisons: int, alpha: float
) -> DifferenceResult:
    word, reason = _word_and_reason(difference, p_holm, alpha, comparisons)
    parts = [f"{word}: {_amount(difference)}", reason, difference.note]
    if p_holm is not None:
        corrected = f", Holm over {comparisons}" if comparisons > 1 else ""
        parts.insert(1, f"p {_p(p_holm)}{corrected}")
    return DifferenceResult(
        difference=difference,
        word=word,
        p_holm=p_holm,
        comparisons=comparisons,
        sentence="; ".join(part for part in parts if part),
    )


def _word_and_reason(
    difference: ArmDifference, p_holm: float | None, alpha: float, comparisons: int
) -> tuple[str, str]:
    if difference.mean is None:
        return UNDECIDABLE, "there is nothing to compare"
    if p_holm is None:
        return UNDECIDABLE, _unknown_noise(difference)
    if p_holm <= alpha:
        up = (difference.mean > 0) != lower_is_better(difference.metric)
        return BETTER if up else WORSE, _floor(difference, alpha)
    needed = difference.seeds_for(difference.mean, alpha / max(comparisons, 1))
    extra = None if needed is None else max(needed - difference.n, 1)
    if extra is not None and extra <= MOST_EXTRA_SEEDS:
        words = f"cannot be decided with {_seeds(difference.n)}; about {extra} more needed"
        return UNDECIDABLE, words
    return WITHIN_NOISE, _visible(difference)


def _unknown_noise(difference: ArmDifference) -> str:
    if difference.seed_sd is None:
        more = max(ENOUGH_SEEDS - difference.n, 1)
        return (
            f"cannot be decided with {_seeds(difference.n)}: seed noise is unknown; "
            f"about {more} more needed"
        )
    return "cannot be decided: the seeds do not differ at all"


def _floor(difference: ArmDifference, alpha: float) -> str:
    """The caveat of a verdict that an exact test cannot confirm."""
    least = difference.least_p
    if least is None or least <= alpha:
        return ""
    return (
        f"rests on seed noise being normal: an exact test cannot go below p = {least:g} "
        f"with {_seeds(difference.n)}"
    )


def _visible(difference: ArmDifference) -> str:
    """The size of a difference that would have been seen."""
    amount = _number(difference.metric, difference.mde or 0.0) + _unit(difference.metric)
    words = f"{_seeds(difference.n)} can show ±{amount}"
    return words if difference.n > 5 else f"{words} (exact floor p = {least_p(difference.n):g})"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _amount(difference: ArmDifference) -> str:
    """The difference with its interval."""
    if difference.mean is None:
        return difference.name
    metric = difference.metric
    words = f"{difference.name} {_number(metric, difference.mean, '+')}"
    if difference.low is not None and difference.high is not None:
        words += (
            f" [{_number(metric, difference.low, '+')}, {_number(metric, difference.high, '+')}]"
        )
    return words + _unit(metric)


_UNITS = {
    "mATE": " m",
    "mAOE": " rad",
    "mAVE": " m/s",
    "train_time_s": " s",
    "peak_memory_mb": " MB",
    "peak_gpu_memory_mb": " MB",
}


def _unit(metric: str) -> str:
    return _UNITS.get(metric, " points" if in_points(metric) else "")


def _number(metric: str, value: float, sign: str = "") -> str:
    return f"{100 * value:{sign}.2f}" if in_points(metric) else f"{value:{sign}.4g}"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"= {value:.3f}".replace("= 0.", "= .")
