"""A metric of an arm with its interval, as figures draw it."""

from collections.abc import Sequence
from dataclasses import dataclass

from aqr_exp.results.collect import RunRow
from aqr_exp.results.statistics import summarize


@dataclass(frozen=True, kw_only=True)
class MeanInterval:
    """A mean over seeds with what it rests on.

    Attributes:
        n: Seeds that have the metric.
        mean: Their mean; None for no seed.
        low: Lower end of the 95 % interval; None where there is none.
        high: Its upper end.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None


def mean_interval(group: Sequence[RunRow], metric: str) -> MeanInterval:
    """The mean of a metric over an arm's seeds.

    Args:
        group: The arm's runs, one a seed.
        metric: Its name.
    """
    values = [value for row in group if (value := row.metric(metric)) is not None]
    found = summarize(values)
    return MeanInterval(n=found.n, mean=found.mean, low=found.low, high=found.high)
