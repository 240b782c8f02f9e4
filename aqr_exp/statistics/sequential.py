"""Seeds until decided: after each seed a look, at levels that hold together (docs/statistics.md).

A look takes counts, means and sums of squares alone, so that whoever has the same runs decides the same.

Letters: R experiments, K arms of which the first is the reference, J = K - 1, L looks.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from aqr_exp.statistics.rule import satterthwaite, shrunk

LEVEL = 0.045
"""That of all looks and arms together: with growing degrees of freedom it comes to 5 % at most."""

_SPENT_LATE = 1.5
_FUTILITY = 0.98
"""One-sided confidence that an arm differs by less than the smallest effect of interest."""
_GRID = 1201


@lru_cache(maxsize=256)
def look_levels(hypotheses: int, start: int, most: int) -> tuple[float, ...]:
    """The two-sided level of each look at one arm, from `start` to `most` seeds.

    Of LEVEL / hypotheses the share (seeds / most) ** 1.5 is spent by each look: the chance that a walk
    of independent seeds crosses any of the bounds so far (Lan and DeMets 1983).
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    levels: list[float] = []
    at = np.zeros(1)
    weights, before, spent = np.ones(1), 0, 0.0
    for seeds in range(start, most + 1):
        step = (seeds - before) ** 0.5
        due = LEVEL / hypotheses * (seeds / most) ** _SPENT_LATE - spent

        def crosses(bound: float, at: np.ndarray = at, step: float = step) -> np.ndarray:
            return np.asarray(ndtr((at - bound) / step) + ndtr((-at - bound) / step))

        def excess(bound: float, weights: np.ndarray = weights, due: float = due) -> float:
            return float(weights @ crosses(bound)) - due

        bound = float(brentq(excess, 0.0, 12.0 * seeds**0.5))
        levels.append(2 * float(ndtr(-bound / seeds**0.5)))
        grid = np.linspace(-bound, bound, _GRID)
        density = weights @ np.exp(-(((grid - at[:, None]) / step) ** 2) / 2) / step
        width = (grid[1] - grid[0]) * np.where(np.abs(grid) == bound, 0.5, 1.0)
        spent += due
        at, weights, before = grid, density * width / (2 * np.pi) ** 0.5, seeds
    return tuple(levels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What a look at some experiments finds of each arm but the reference.

    Attributes:
        difference: Means less the reference's.
        sd: Standard deviation of that.
        degrees: Of its noise.
        p: Two-sided, of this look alone; 1 of arms that cannot be judged.
        found: Whether it differs, of arms that were in.
        level: At which it was judged.
        small: Whether it differs by less than the smallest effect of interest, of arms that were in.
    """

    difference: Float[np.ndarray, "R J"]
    sd: Float[np.ndarray, "R J"]
    degrees: Float[np.ndarray, "R J"]
    p: Float[np.ndarray, "R J"]
    found: Bool[np.ndarray, "R J"]
    level: Float[np.ndarray, "R J"]
    small: Bool[np.ndarray, "R J"]


def look_at(
    counts: Float[np.ndarray, "R K"],
    means: Float[np.ndarray, "R K"],
    squares: Float[np.ndarray, "R K"],
    is_in: Bool[np.ndarray, "R J"],
    left: Float[np.ndarray, " R"],
    levels: Float[np.ndarray, " J"],
    sesoi: float,
    least: int = 4,
) -> Look:
    """Look at experiments that are equally far.

    The arm with the smallest p is judged first; where it differs the next is judged at the level for one
    hypothesis less, and so on (Holm's way, group-sequential: Ye and others 2013).

    Args:
        counts: Seeds of each arm.
        squares: Sums of squares around the means.
        is_in: The arms that are not decided yet.
        left: How many arms were not found to differ, dropped ones included.
        levels: This look's level for 1, 2, ..., J hypotheses.
        sesoi: The smallest effect of interest, as `means`.
        least: Degrees of freedom of all arms below which nothing is decided.
    """
    from scipy.special import stdtr, stdtrit

    total = np.maximum(counts - 1, 0).sum(axis=1, keepdims=True)
    s2 = squares.sum(axis=1, keepdims=True) / np.maximum(total, 1)
    seeds = np.maximum(counts, 1)
    parts = shrunk(squares, seeds, s2)
    ours, theirs = parts[:, 1:], parts[:, :1]
    can = (total >= least) & (s2 > 0) & (counts[:, 1:] >= 1) & (counts[:, :1] >= 2)
    sd = np.sqrt(np.where(can, ours + theirs, np.inf))
    usual = np.where(can, ours, 1.0), np.where(can, theirs, 1.0)
    degrees = satterthwaite(usual, (seeds[:, 1:], seeds[:, :1]), np.maximum(total, 1))
    difference = means[:, 1:] - means[:, :1]
    p = np.where(can, 2 * stdtr(degrees, -np.abs(difference) / sd), 1.0)
    found, level, left = np.zeros_like(is_in), np.ones(p.shape), left.astype(int).copy()
    rows = np.arange(len(p))
    for _ in range(p.shape[1]):
        rest = is_in & ~found
        first = np.argmin(np.where(rest, p, 2.0), axis=1)
        now = levels[np.maximum(left, 1) - 1]
        level[rest] = np.broadcast_to(now[:, None], p.shape)[rest]
        hit = rest[rows, first] & (p[rows, first] <= now)
        found[rows[hit], first[hit]] = True
        left -= hit
    reach = np.abs(difference) + stdtrit(degrees, _FUTILITY) * sd
    return Look(
        difference=difference,
        sd=sd,
        degrees=degrees,
        p=p,
        found=found,
        level=level,
        small=is_in & ~found & (reach < sesoi),
    )
