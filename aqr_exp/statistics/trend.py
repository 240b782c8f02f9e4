"""Sweeps over numbers: whether a parameter matters at all, and where its best value lies.

docs/statistics.md has the formulas. Letters: K values of a parameter, C contrasts, D draws, G places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import SeedNoise
from aqr_exp.statistics.noise import NOTHING
from aqr_exp.statistics.rule import LATER_SHARE, PRIOR_DEGREES, evidence, shrunk
from aqr_exp.statistics.verdicts import LEAST_DEGREES

LEAST_VALUES = 3
_PEAKS = (0.25, 0.5, 0.75)
_SHAPES = ("a steady {}", "a {} at first", "a {} at the end")
_BUMPS = ("an early {}", "a {} in the middle", "a late {}")
_DIRECTIONS = 4096


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Whether a parameter matters: the strongest of several contrasts over its ordered values.

    Attributes:
        p: Corrected for all contrasts; at a later look it holds at any look.
        shape: The contrast in words, such as `a late peak`.
        degrees: Of the noise it was judged in.
        look: Which look it is, from 1.
    """

    p: float
    shape: str
    degrees: float
    values: int
    look: int = 1


@dataclass(frozen=True, kw_only=True)
class Factorial:
    """The two parameters of a sweep over both.

    Attributes:
        effects: Of each parameter; None where its values cannot be told apart.
        interaction: p of an effect of one that depends on the other; None without noise to judge it in.
    """

    effects: tuple[Effect | None, Effect | None]
    interaction: float | None


def effect_of_values(noise: SeedNoise, count: int, look: int = 1) -> Effect | None:
    """Whether a parameter matters.

    Args:
        noise: That of all arms; the first `count` are those of the parameter's values, rising.

    Returns:
        None where noise is not known well enough.
    """
    if noise.degrees < LEAST_DEGREES or noise.variance <= 0 or count < LEAST_VALUES:
        return None
    arms = noise.arms[:count]
    seeds = np.array([arm.n for arm in arms], dtype=np.float64)
    means = np.array([np.mean(arm.values) for arm in arms])
    squares = np.asarray(noise.squares[:count])
    own = None if noise.paired else PRIOR_DEGREES + seeds - 1
    parts = noise.variance / seeds if noise.paired else shrunk(squares, seeds, noise.variance)
    unit = np.diag(1 / seeds)
    return _strongest(means, unit, np.diag(parts), noise.degrees, noise.variance, own, look)


def factorial(
    cells: Sequence[tuple[int, int, ArmMean]], further: Sequence[ArmMean], look: int = 1
) -> Factorial | None:
    """The main effects of two parameters, judged in what they do not explain: interaction and seeds.

    Args:
        cells: The place of each arm among the values of both parameters, and the arm.
        further: Arms of the same setting without the parameters, whose seeds tell of noise.

    Returns:
        None where nothing is left to judge by, or the two cannot be told apart.
    """
    rows = [(a, b, value) for a, b, arm in cells for value in arm.values]
    first, second, found = (np.array(part) for part in zip(*rows, strict=True))
    k, m = int(first.max()) + 1, int(second.max()) + 1
    design = np.zeros((len(rows), k + m - 1))
    design[np.arange(len(rows)), first] = 1
    late = second > 0
    design[late, k + second[late] - 1] = 1
    if np.linalg.matrix_rank(design) < k + m - 1:
        return None
    unit = np.linalg.inv(design.T @ design)
    fitted = unit @ design.T @ found
    pure = sum(float(np.var(arm.values)) * arm.n for _, _, arm in cells)
    pure_degrees = len(rows) - len(cells)
    beside = sum(float(np.var(arm.values)) * arm.n for arm in further if arm.n)
    beside_degrees = sum(arm.n - 1 for arm in further if arm.n)
    left = float(np.sum((found - design @ fitted) ** 2))
    degrees = len(rows) - (k + m - 1) + beside_degrees
    if degrees < LEAST_DEGREES or left + beside <= NOTHING**2:
        return None
    s2 = (left + beside) / degrees
    effects = []
    for places in (np.arange(k), np.arange(k, k + m - 1)):
        block, means = unit[np.ix_(places, places)], fitted[places]
        if places[0]:  # the second parameter's first value is what its others are measured from
            both = np.zeros((m, m + k - 1))
            both[:, 0] = 1
            both[np.arange(1, m), places] = 1
            block, means = both @ unit @ both.T, both @ fitted
        known = len(means) >= LEAST_VALUES
        effects.append(
            _strongest(means, block, s2 * block, degrees, s2, None, look) if known else None
        )
    return Factorial(
        effects=(effects[0], effects[1]),
        interaction=_lack_of_fit(
            (left - pure, len(cells) - (k + m - 1)), (pure + beside, pure_degrees + beside_degrees)
        ),
    )


def _lack_of_fit(lacking: tuple[float, int], noise: tuple[float, int]) -> float | None:
    """P of the F test of sums of squares with their degrees of freedom."""
    from scipy.special import fdtrc

    if lacking[1] < 1 or noise[1] < LEAST_DEGREES or noise[0] <= NOTHING**2:
        return None
    ratio = max(lacking[0], 0.0) / lacking[1] / (noise[0] / noise[1])
    return float(fdtrc(lacking[1], noise[1], ratio))


def _strongest(
    means: Float[np.ndarray, " K"],
    unit: Float[np.ndarray, "K K"],
    covariance: Float[np.ndarray, "K K"],
    total: float,
    s2: float,
    own: Float[np.ndarray, " K"] | None,
    look: int,
) -> Effect:
    """The largest |t| of contrasts, each the best for its shape, in their joint t distribution.

    Args:
        unit: The covariance of `means`, were the variance of one run 1.
        own: Degrees of freedom of each variance of a diagonal `covariance`; None where all have `total`.
        s2: The variance of one run.
    """
    shapes = _shapes(len(means))
    # A bet that goes on must be on the same contrast at each look, whatever seeds there are.
    weights = np.linalg.inv(unit) if look == 1 else np.eye(len(means))
    level = weights.sum(axis=0) / weights.sum()
    contrasts = (shapes - (shapes @ level)[:, None]) @ weights
    spread = np.einsum("ck,kl,cl->c", contrasts, covariance, contrasts)
    degrees = np.full(len(shapes), float(total))
    if own is not None:
        parts = contrasts**2 * np.diag(covariance)
        degrees = np.minimum(total, spread**2 / (parts**2 / own).sum(axis=1))
    t = contrasts @ means / np.sqrt(spread)
    if look == 1:
        normed = contrasts / np.sqrt(spread)[:, None]
        reach = _reach(normed @ covariance @ normed.T)
        p = np.array([_joint_p(*one, *reach) for one in zip(t, degrees, strict=True)])
        best = int(p.argmin())
        least = float(p[best])
    else:
        contrasts *= (2 / (contrasts**2).sum(axis=1, keepdims=True)) ** 0.5
        free = np.einsum("ck,kl,cl->c", contrasts, unit, contrasts)
        bets = evidence((contrasts @ means) ** 2 / (s2 * free), total, 1 / free)
        best = int(bets.argmax())
        mean = np.logaddexp.reduce(bets) - np.log(len(bets))
        least = float(np.exp(min(0.0, -mean - np.log(LATER_SHARE))))
    bump = best >= len(_SHAPES)
    names = ("peak", "dip") if bump else ("rise", "fall")
    words = (*_SHAPES, *_BUMPS)[best].format(names[int(t[best] < 0)])
    return Effect(p=least, shape=words, degrees=float(degrees[best]), values=len(means), look=look)


def _shapes(count: int) -> Float[np.ndarray, "C K"]:
    """The shapes that a curve may have over the ranks of its values, from 0 to 1."""
    u = np.linspace(0, 1, count)
    bumps = (np.exp(-(((u - peak) / 0.25) ** 2) / 2) for peak in _PEAKS)
    return np.stack([u, u / (u + 0.2), np.exp(2 * u), *bumps])


def _reach(correlation: Float[np.ndarray, "C C"]) -> tuple[int, Float[np.ndarray, " D"]]:
    """The rank of the contrasts, and the largest squared contrast in each of many directions."""
    values, vectors = np.linalg.eigh(correlation)
    kept = values > 1e-9
    root = vectors[:, kept] * np.sqrt(values[kept])
    rank = root.shape[1]
    return rank, np.max((_directions(rank) @ root.T) ** 2, axis=1)


@lru_cache(maxsize=8)
def _directions(rank: int) -> Float[np.ndarray, "D R"]:
    """Directions that fill the sphere evenly (Kronecker's sequence, by roots of x^(R+1) = x + 1)."""
    from scipy.special import ndtri

    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (rank + 1))
    steps = root ** -np.arange(1.0, rank + 1)
    normal = ndtri((0.5 + np.arange(1.0, _DIRECTIONS + 1)[:, None] * steps) % 1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _joint_p(t: float, degrees: float, rank: int, reach: Float[np.ndarray, " D"]) -> float:
    """The chance that the largest |t| is at least this large: along each direction it is an F."""
    from scipy.special import fdtrc

    return float(np.mean(fdtrc(rank, degrees, t**2 / rank / reach)))


PLACES = 61
_LENGTHS = np.geomspace(0.12, 2.0, 6)
_AMPLITUDES = np.geomspace(0.3, 10.0, 6)
_DRAWS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A metric over a parameter, by a Gaussian process; intervals are of 95 %.

    Attributes:
        at: Values of the parameter, from the least to the largest that was tried.
        best: Where the curve is best.
        best_low: Lower end of the interval of where it truly is.
        best_mean: The curve there.
    """

    at: Float[np.ndarray, " G"]
    mean: Float[np.ndarray, " G"]
    low: Float[np.ndarray, " G"]
    high: Float[np.ndarray, " G"]
    best: float
    best_low: float
    best_high: float
    best_mean: float


def curve_of(
    values: Sequence[float],
    means: Sequence[float],
    variances: Sequence[float],
    *,
    lower_is_better: bool = False,
) -> Curve:
    """Draw a smooth curve through noisy means.

    Its smoothness and height are not chosen: all that are likely count by how likely they are.

    Args:
        values: Rising, at least two.
        variances: Those of the means.
    """
    tried, y = np.asarray(values, dtype=np.float64), np.asarray(means, dtype=np.float64)
    noise = np.maximum(np.asarray(variances, dtype=np.float64), NOTHING**2)
    at, spots, places = _places(tried)
    rng = np.random.default_rng(0)
    count = len(tried)
    normal = rng.standard_normal((PLACES + 2 * count, _DRAWS))
    level = float(np.sqrt(noise.mean()))
    likely, drawn = [], []
    for length in _LENGTHS:
        where = np.concatenate([spots, places])
        kernel = np.exp(-(((where[:, None] - where) / length) ** 2) / 2)
        root = np.linalg.cholesky(kernel + 1e-8 * np.eye(len(where)))
        prior = root @ normal[: len(where)]
        for amplitude in level * _AMPLITUDES:
            kept = np.linalg.inv(amplitude**2 * kernel[:count, :count] + np.diag(noise))
            weight = kept.sum(axis=0)
            rest = y - weight @ y / weight.sum()
            _, size = np.linalg.slogdet(kept)
            likely.append((size - rest @ kept @ rest - np.log(weight.sum())) / 2)
            # A draw of the curve is one of the prior, moved by what the data say of it.
            errors = np.sqrt(noise)[:, None] * normal[len(where) :]
            missed = y[:, None] - amplitude * prior[:count] - errors
            base = weight @ missed / weight.sum()
            moved = amplitude**2 * kernel[count:, :count] @ (kept @ (missed - base))
            drawn.append(amplitude * prior[count:] + base + moved)
    weights = np.exp(np.array(likely) - max(likely))
    curves = np.concatenate(drawn, axis=1)
    each = np.repeat(weights / weights.sum() / _DRAWS, _DRAWS)
    mean = curves @ each
    sign = -1.0 if lower_is_better else 1.0
    best = int(np.argmax(sign * mean))
    ends = _quantiles(at[np.argmax(sign * curves, axis=0)], each)
    bands = np.array([_quantiles(row, each) for row in curves])
    return Curve(
        at=at,
        mean=mean,
        low=bands[:, 0],
        high=bands[:, 1],
        best=float(at[best]),
        best_low=float(ends[0]),
        best_high=float(ends[1]),
        best_mean=float(mean[best]),
    )


def _places(
    tried: Float[np.ndarray, " K"],
) -> tuple[Float[np.ndarray, " G"], Float[np.ndarray, " K"], Float[np.ndarray, " G"]]:
    """Values to draw a curve at; and the tried ones and these on a scale on which it is as smooth."""
    if tried[0] < 0:
        spread = tried
        at = np.linspace(tried[0], tried[-1], PLACES)
    else:  # by ratios, from the smallest value above 0
        unit = tried[tried > 0].min()
        spread = np.log1p(tried / unit)
        at = np.expm1(np.linspace(spread[0], spread[-1], PLACES)) * unit
    spots = (spread - spread[0]) / (spread[-1] - spread[0])
    return np.clip(at, tried[0], tried[-1]), spots, np.linspace(0, 1, PLACES)


def _quantiles(
    values: Float[np.ndarray, " D"], weights: Float[np.ndarray, " D"]
) -> Float[np.ndarray, " 2"]:
    """Where 2.5 % of the weight lies below, and above."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    return np.asarray(values[order][np.searchsorted(below, [0.025, 0.975 - 1e-12])])
