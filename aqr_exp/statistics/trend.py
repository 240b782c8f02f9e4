"""Effect of a number that is swept: whether it matters at all, and where its best value lies.

docs/statistics.md has the formulas. Letters: K values of a parameter, D draws, G places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import SeedNoise, seed_noise
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.statistics.noise import NOTHING
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.rule import (
    FIRST_SHARE,
    LATER_SHARE,
    PRIOR_DEGREES,
    evidence,
    shrunk,
    sum_of_squares,
)
from aqr_exp.statistics.verdicts import LEAST_DEGREES

LEAST_VALUES = 3
_PEAKS = (0.25, 0.5, 0.75)
_SHAPES = (
    "a steady {}",
    "a {} at first",
    "a {} at the end",
    "an early {}",
    "a {} in the middle",
    "a late {}",
)
_DIRECTIONS = 4096


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Whether a parameter matters: the strongest of several contrasts over its ordered values.

    Attributes:
        p: Corrected for all contrasts and for looking again.
        shape: The contrast in words, such as `a late peak`.
        degrees: Of the noise it was judged in.
        look: Which look it is, from 1.
    """

    p: float
    shape: str
    degrees: float
    values: int
    look: int = 1


def effect_of_values(noise: SeedNoise, count: int, look: int = 1) -> Effect | None:
    """Whether a parameter matters; None where noise is not known well enough.

    Args:
        noise: That of all arms; the first `count` are those of the parameter's values, rising.
    """
    if noise.degrees < LEAST_DEGREES or noise.variance <= 0 or count < LEAST_VALUES:
        return None
    seeds = np.array([float(arm.n) for arm in noise.arms[:count]])
    means = np.array([np.mean(arm.values) for arm in noise.arms[:count]])
    squares = np.asarray(noise.squares[:count])
    own = None if noise.paired else PRIOR_DEGREES + seeds - 1
    parts = noise.variance / seeds if noise.paired else shrunk(squares, seeds, noise.variance)
    unit = np.diag(1 / seeds)
    return _strongest(means, unit, np.diag(parts), noise.degrees, noise.variance, own, look)


def told_apart(values: Sequence[Sequence[float]]) -> bool:
    """Whether arms at such values of two parameters can tell the effect of one from the other's."""
    firsts, seconds = (
        np.unique(each, return_inverse=True)[1] for each in zip(*values, strict=True)
    )
    design = np.concatenate([np.eye(max(one) + 1)[one] for one in (firsts, seconds)], axis=1)
    return bool(np.linalg.matrix_rank(design) == design.shape[1] - 1)


def factorial(
    cells: Sequence[tuple[int, int, ArmMean]], further: Sequence[ArmMean], look: int = 1
) -> tuple[Effect | None, Effect | None, float | None]:
    """The main effects of two parameters, and p of their interaction; None of what cannot be told.

    Args:
        cells: The place of each arm among the values of both parameters, and the arm.
        further: Arms of the same setting without the parameters, whose seeds tell of noise.
    """
    from scipy.special import fdtrc

    if not told_apart([cell[:2] for cell in cells]):
        return None, None, None
    rows = [(a, b, value) for a, b, arm in cells for value in arm.values]
    at, found = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    effects: list[Effect | None] = []
    pure = sum(sum_of_squares(arm.values) for _, _, arm in cells)
    beside = sum(sum_of_squares(arm.values) for arm in further)
    free = sum(max(arm.n - 1, 0) for arm in further)
    for first, second in (at.T, at.T[::-1]):
        # A mean for each value of the one, and what values of the other but its first add.
        count = int(first.max()) + 1
        others = np.eye(second.max() + 1)[second][:, 1:]
        design = np.concatenate([np.eye(count)[first], others], axis=1)
        unit = np.linalg.inv(design.T @ design)
        fitted = unit @ design.T @ found
        left = sum_of_squares(found - design @ fitted)
        degrees = len(rows) - len(fitted) + free
        s2 = (left + beside) / max(degrees, 1)
        block = unit[:count, :count]
        one = fitted[:count], block, s2 * block, degrees, s2, None, look
        known = count >= LEAST_VALUES and degrees >= LEAST_DEGREES and s2 > 0
        effects.append(_strongest(*one) if known else None)
    lacking, within = len(cells) - len(fitted), len(rows) - len(cells) + free
    if lacking < 1 or within < LEAST_DEGREES or pure + beside == 0:
        return effects[0], effects[1], None
    ratio = max(left - pure, 0.0) / lacking / ((pure + beside) / within)
    return effects[0], effects[1], float(fdtrc(lacking, within, ratio))


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
    u = np.linspace(0, 1, len(means))
    bumps = [np.exp(-8 * (u - peak) ** 2) for peak in _PEAKS]
    shapes = np.stack([u, u / (u + 0.2), np.exp(2 * u), *bumps])
    # A bet that goes on must be on the same contrast at each look, whatever seeds there are.
    weights = np.linalg.inv(unit) if look == 1 else np.eye(len(means))
    level = weights.sum(axis=0) / weights.sum()
    contrasts = (shapes - (shapes @ level)[:, None]) @ weights
    spread = np.einsum("ck,kl,cl->c", contrasts, covariance, contrasts)
    degrees = np.full(len(shapes), float(total))
    if own is not None:
        parts = contrasts**2 * np.diag(covariance)
        degrees = np.minimum(total, spread**2 / (parts**2 / own).sum(axis=1))
    if look == 1:  # scattered noise and equal noise: the larger p counts
        pooled = _joint_p(contrasts, means, s2 * unit, np.full(len(shapes), float(total)))
        each = np.maximum(_joint_p(contrasts, means, covariance, degrees), pooled)
        best, least = int(np.argmin(each)), min(1.0, float(each.min()) / FIRST_SHARE)
    else:
        contrasts *= (2 / (contrasts**2).sum(axis=1, keepdims=True)) ** 0.5
        free = np.einsum("ck,kl,cl->c", contrasts, unit, contrasts)
        bets = evidence((contrasts @ means) ** 2 / (s2 * free), total, 1 / free)
        best = int(bets.argmax())
        mean = np.logaddexp.reduce(bets) - np.log(len(bets))
        least = float(np.exp(min(0.0, -mean - np.log(LATER_SHARE))))
    names = ("peak", "dip") if best >= len(_SHAPES) - len(_PEAKS) else ("rise", "fall")
    words = _SHAPES[best].format(names[int(contrasts[best] @ means < 0)])
    return Effect(p=least, shape=words, degrees=float(degrees[best]), values=len(u), look=look)


def _joint_p(
    contrasts: np.ndarray, means: np.ndarray, covariance: np.ndarray, degrees: np.ndarray
) -> np.ndarray:
    """The chance that the largest |t| comes to that of each contrast."""
    from scipy.special import fdtrc

    spread = np.einsum("ck,kl,cl->c", contrasts, covariance, contrasts)
    normed = contrasts / np.sqrt(spread)[:, None]
    values, vectors = np.linalg.eigh(normed @ covariance @ normed.T)
    root = (vectors * np.sqrt(np.maximum(values, 0)))[:, values > 1e-9]
    rank, t2 = root.shape[1], (normed @ means)[:, None] ** 2
    # Along each direction the largest t^2 is an F, times the largest contrast of that direction.
    reach = np.max((_directions(rank) @ root.T) ** 2, axis=1)
    return np.asarray(fdtrc(rank, degrees[:, None], t2 / rank / reach).mean(axis=1))


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


PLACES = 61
_LENGTHS = np.geomspace(0.12, 2.0, 6)
_AMPLITUDES = np.geomspace(0.3, 10.0, 6)
_DRAWS = 300


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A metric over a parameter, by a Gaussian process; intervals are of 95 %.

    Attributes:
        at: Values of the parameter, from the least to the largest that was tried.
        low: Lower end of the interval of the curve at each of them.
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

    @property
    def near(self) -> str:
        """The best value with its interval, in words."""
        ends = self.best, self.best_low, self.best_high
        near, low, high = (f"{one:.2g}" if abs(one) < 100 else f"{one:.0f}" for one in ends)
        return f"{near} [{low}, {high}]"


def over_values(
    values: Sequence[float],
    arms: Sequence[ArmMean],
    further: Sequence[ArmMean],
    metric: str,
    settings: Resampling,
    look: int = 1,
) -> tuple[Effect | None, Curve | None]:
    """Whether a parameter matters, and the curve over it; None where noise is not known well enough.

    Args:
        values: Of the parameter, rising.
        arms: One a value.
        further: Arms of the same setting without the parameter, whose seeds tell of noise.
    """
    noise = seed_noise(arms[0], arms[1:], further, settings)
    effect, kept = effect_of_values(noise, len(arms), look), noise.arms[: len(arms)]
    if effect is None:
        return None, None
    means = [float(np.mean(arm.values)) for arm in kept]
    spread, down = [noise.variance / arm.n for arm in kept], lower_is_better(metric)
    return effect, curve_of(values, means, spread, lower_is_better=down)


def curve_of(
    values: Sequence[float],
    means: Sequence[float],
    variances: Sequence[float],
    *,
    lower_is_better: bool = False,
) -> Curve:
    """Draw a smooth curve through noisy means.

    Args:
        values: Rising, at least two.
        variances: Those of the means.
    """
    tried, y = np.asarray(values, dtype=np.float64), np.asarray(means, dtype=np.float64)
    noise = np.maximum(np.asarray(variances, dtype=np.float64), NOTHING**2)
    # As smooth by ratios as by steps, from the smallest value above 0.
    unit = tried[tried > 0].min() if tried[0] >= 0 else 0.0
    spots = np.log1p(tried / unit) if unit else tried
    spots = (spots - spots[0]) / (spots[-1] - spots[0])
    places = np.linspace(0, 1, PLACES)
    first, last = tried[0] + unit, tried[-1] + unit
    scale = first * (last / first) ** places if unit else first + (last - first) * places
    at = np.clip(scale - unit, tried[0], tried[-1])
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
    best, tops = int(np.argmax(sign * mean)), at[np.argmax(sign * curves, axis=0)]
    ends, bands = _middle(tops, each), np.array([_middle(row, each) for row in curves])
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


def _middle(
    values: Float[np.ndarray, " D"], weights: Float[np.ndarray, " D"]
) -> Float[np.ndarray, " 2"]:
    """Where 2.5 % of the weight lies below, and above."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    return np.asarray(values[order][np.searchsorted(below, [0.025, 0.975 - 1e-12])])
