"""Several arms against one reference: the joint distribution of their t statistics (Dunnett 1955).

The differences share the reference's noise. Given it (z) and how far noise was misjudged (s, a chi over
the root of its degrees), they are independent: the chance that no |t| exceeds c is

    E_s E_z prod_k [ F((sqrt(r_k) z + c s) / sqrt(1 - r_k)) - F((sqrt(r_k) z - c s) / sqrt(1 - r_k)) ]

with F the normal distribution and r_k the reference's share of the variance of difference k.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

# The product is the same at z and -z.
_Z = np.arange(0.0, 6.3, 0.15)
_Z_WEIGHTS = 0.3 * np.exp(-(_Z**2) / 2) / np.sqrt(2 * np.pi) * np.where(_Z == 0, 0.5, 1.0)
_U = np.concatenate([np.arange(0.0, 6.0, 0.03), np.arange(6.0, 16.0, 0.25)])
_MOST_SHARED = 0.98
"""Above it the grid over z would be too coarse: a larger share is taken for this one."""
_KNOTS = 12


class JointT:
    """The largest |t| of comparisons with one reference, under no difference at all.

    Args:
        inside: The chance that no statistic exceeds each of a rising row of bounds, were noise known.
    """

    def __init__(self, inside: Float[np.ndarray, " U"]) -> None:
        self._inside = inside
        self._known: dict[tuple[float, float], tuple[np.ndarray, np.ndarray]] = {}

    def p(self, t: float, degrees: float) -> float:
        """The chance that the largest |t| is at least this large."""
        spread, weights = chi_over_root(degrees)
        return max(
            0.0, float(1 - weights @ np.interp(abs(t) * spread, _U, self._inside, right=1.0))
        )

    def critical(
        self, level: float, degrees: Float[np.ndarray, " D"], most: float
    ) -> Float[np.ndarray, " D"]:
        """The bound that the largest |t| exceeds with the chance `level`, for each number of degrees.

        Args:
            most: The largest number of degrees; between knots 1 / degrees is interpolated.
        """
        if (level, most) not in self._known:
            inverse = np.linspace(1 / most, 1 / min(most, 4.0), _KNOTS)
            bounds = np.array([self._bound(level, 1 / each) for each in inverse])
            self._known[level, most] = inverse, bounds
        inverse, bounds = self._known[level, most]
        return np.interp(1 / np.asarray(degrees), inverse, bounds)

    def _bound(self, level: float, degrees: float) -> float:
        from scipy.optimize import brentq

        high = 4.0
        while self.p(high, degrees) > level:
            high *= 2
        return float(brentq(lambda t: self.p(t, degrees) - level, 0.0, high, xtol=1e-6))


def step_down(
    t: Sequence[float], degrees: Sequence[float], shared: Sequence[float]
) -> tuple[list[float], JointT]:
    """Adjusted p of each comparison, and the joint distribution of all (Dunnett and Tamhane 1991).

    The largest |t| is judged among all, the next among those that are left, and so on; no p is smaller
    than that of a larger |t|.

    Args:
        shared: The reference's share of the variance of each difference.
    """
    product = np.ones((len(_Z), len(_U)))
    alone = [1.0] * len(t)
    joint = JointT(_Z_WEIGHTS @ product)
    rising = sorted(range(len(t)), key=lambda place: abs(t[place]))
    for place in rising:
        product *= _inside(shared[place])
        joint = JointT(_Z_WEIGHTS @ product)
        alone[place] = joint.p(t[place], degrees[place])
    highest = 0.0
    for place in reversed(rising):
        highest = alone[place] = max(highest, alone[place])
    return alone, joint


@lru_cache(maxsize=64)
def equal_arms(comparisons: int) -> JointT:
    """The joint distribution for arms of as many seeds as the reference has, and of equal noise."""
    return JointT(_Z_WEIGHTS @ _inside(0.5) ** comparisons)


def _inside(shared: float) -> Float[np.ndarray, "Z U"]:
    from scipy.special import ndtr

    shared = min(shared, _MOST_SHARED)
    centre, own = np.sqrt(shared) * _Z[:, None], np.sqrt(1 - shared)
    return np.asarray(ndtr((centre + _U) / own) - ndtr((centre - _U) / own))


@lru_cache(maxsize=256)
def chi_over_root(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of a chi over the root of its degrees, with weights that add up to 1."""
    shares, weights = shares_of(200)
    return np.sqrt(chi_square(degrees, shares) / degrees), weights


def chi_square(degrees: float, shares: Iterable[float]) -> Float[np.ndarray, " shares"]:
    """The chi square below which each share of it lies."""
    from scipy.special import chdtri

    return np.asarray(chdtri(degrees, 1 - np.asarray(shares)))


@lru_cache(maxsize=8)
def shares_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of a distribution, closer at its ends, with their weights (Gauss and Legendre)."""
    places, weights = np.polynomial.legendre.leggauss(count)  # type: ignore[no-untyped-call]
    return (places + 1) / 2, weights / 2
