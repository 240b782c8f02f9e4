"""What a few seeds say about a mean, and no more than that."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

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
