"""Intervals from a bootstrap distribution: percentile, and BCa (Efron 1987).

`scipy.stats.bootstrap` would evaluate the metric itself; here the evaluations are shared by all pairs of
runs and read from the cache, so only the last step is left. The tests compare it with SciPy's.
"""

import numpy as np
from jaxtyping import Float

Ends = tuple[float, float]


def percentile_interval(drawn: Float[np.ndarray, " R"], confidence: float) -> Ends | None:
    """The middle of the distribution.

    Args:
        drawn: Values under resamples; NaN where undefined, left out.
        confidence: Share of the values within.

    Returns:
        Lower and upper end; None below two values.
    """
    known = drawn[~np.isnan(drawn)]
    if len(known) < 2:
        return None
    alpha = (1 - confidence) / 2
    low, high = np.quantile(known, [alpha, 1 - alpha])
    return float(low), float(high)


def bca_interval(
    observed: float,
    drawn: Float[np.ndarray, " R"],
    left_out: Float[np.ndarray, " T"],
    confidence: float,
) -> Ends | None:
    """The percentile interval corrected for bias and for a spread that changes with the value.

    Args:
        observed: The value on the data as it is.
        drawn: Values under resamples; NaN left out.
        left_out: Values with one scene left out; NaN left out.
        confidence: Of the interval.

    Returns:
        Lower and upper end; None where it is not defined: no spread, or all resamples on one side.
    """
    from scipy.special import ndtr, ndtri

    known, jackknife = drawn[~np.isnan(drawn)], left_out[~np.isnan(left_out)]
    if len(known) < 2 or len(jackknife) < 2:
        return None
    below = ((known < observed).mean() + (known <= observed).mean()) / 2
    pull = jackknife.mean() - jackknife
    spread = float((pull**2).sum())
    if spread == 0 or not 0 < below < 1:
        return None
    bias = ndtri(below)
    acceleration = float((pull**3).sum()) / (6 * spread**1.5)
    ends = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    shares = ndtr(bias + ends / (1 - acceleration * ends))
    low, high = np.quantile(known, shares)
    return float(low), float(high)


def two_level_draws(draws: Float[np.ndarray, "N R"], seed: int) -> Float[np.ndarray, " R"]:
    """Means over seeds drawn again, each under its resample of scenes: a bootstrap of both levels.

    It is shown, not decided by: of few seeds it shows (n - 1) / n of their variance and knows no t, while
    what scenes do to single seeds is counted twice.

    Args:
        draws: Values of each seed under the same resamples of scenes.
        seed: Of the draws of seeds.
    """
    seeds, count = draws.shape
    chosen = np.random.default_rng([seed, seeds]).integers(0, seeds, (seeds, count))
    means: Float[np.ndarray, " R"] = np.take_along_axis(draws, chosen, axis=0).mean(axis=0)
    return means
