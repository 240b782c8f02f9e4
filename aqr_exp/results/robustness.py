"""What sensor failures leave of a score: relative accuracy, its means, the worst case."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from aqr_exp.data.failures.case import FailureCase
from aqr_exp.data.failures.registry import FAILURES


def ratio(failed: float | None, clean: float | None) -> float | None:
    """A score under a failure over the clean one; None where there is none or the clean one is 0."""
    return None if failed is None or not clean else failed / clean


def relative_accuracies(
    scores: Mapping[FailureCase, float], clean: float | None
) -> dict[str, float]:
    """RA of one run by failure: the mean over severities of NDS under the failure / clean NDS.

    Args:
        scores: NDS by case; only the severities of the registry count.
        clean: NDS on clean data.

    Returns:
        RA of each failure of which every severity was evaluated, in the registry's order.
    """
    found: dict[str, float] = {}
    for name, failure in FAILURES.items():
        wanted = [FailureCase(failure=name, severity=level) for level in failure.severities]
        ratios = [ratio(scores.get(case), clean) for case in wanted]
        known = [value for value in ratios if value is not None]
        if len(known) == len(wanted):
            found[name] = fmean(known)
    return found


def mean_relative_accuracy(
    accuracies: Sequence[Mapping[str, float]], failures: Sequence[str]
) -> list[float]:
    """The mean over failures (mRA) of each run that has an RA of all of them.

    Args:
        accuracies: RA by failure, for each run.
        failures: What the mean is over; empty gives none.
    """
    if not failures:
        return []
    return [
        fmean(run[name] for name in failures)
        for run in accuracies
        if all(name in run for name in failures)
    ]
