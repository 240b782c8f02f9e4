"""One interval and one p from sources of noise that are known unequally well.

The half width is the root of the sum of squared half widths, each with its own Student t. Banerjee (1960,
Sankhya 22, 357-358) shows that such an interval holds the truth at least as often as it says, whatever the
true variances are; with one source it is the t interval.
"""

from collections.abc import Sequence
from math import exp, log

from aqr_exp.results.inference.noise import Noise

_UNDERFLOW = 1e-200
"""Below it quantiles are not known any more, and nobody minds."""


def half_width(sources: Sequence[Noise], alpha: float) -> float:
    """How far an interval reaches to each side.

    Args:
        sources: Independent sources of noise.
        alpha: What the confidence lacks to 1.
    """
    from scipy.special import stdtrit

    squares = (float(stdtrit(each.degrees, alpha / 2)) ** 2 * each.variance for each in sources)
    return float(sum(squares) ** 0.5)


def p_value(estimate: float, sources: Sequence[Noise]) -> float | None:
    """The level at which the interval around an estimate just reaches 0.

    Args:
        estimate: A difference.
        sources: Independent sources of its noise.

    Returns:
        Two-sided p; None where there is a difference but no noise at all, which no spread can judge.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtr

    noisy = [each for each in sources if each.variance > 0]
    if estimate == 0:
        return 1.0
    if not noisy:
        return None
    alone = [2 * float(stdtr(each.degrees, -abs(estimate) / each.sd)) for each in noisy]
    if len(alone) == 1:
        return alone[0]
    lowest = max(alone)  # each source alone gives a narrower interval, so p is above the largest
    if lowest < _UNDERFLOW or half_width(noisy, lowest) <= abs(estimate):
        return lowest
    found = brentq(lambda log_p: half_width(noisy, exp(log_p)) - abs(estimate), log(lowest), 0.0)
    return float(exp(found))
