"""The exact sign-flip test of paired differences, and the least p that so few seeds can give."""

from collections.abc import Sequence
from itertools import product

MOST = 16
"""Beyond so many pairs the flips are not all tried: the floor is out of the way by then."""


def sign_flip_p(differences: Sequence[float]) -> float | None:
    """Share of sign patterns whose mean is at least as far from 0 as the observed one.

    Exact when under no difference each sign is as likely as the other, whatever the distribution (Fisher
    1935); the test that permutes which of the two arms a value of a seed belongs to.

    Args:
        differences: One a seed.

    Returns:
        Two-sided p; None for no pair or more than `MOST`.
    """
    if not 0 < len(differences) <= MOST:
        return None
    observed = abs(sum(differences))
    enough = observed - 1e-12 * sum(abs(value) for value in differences)
    patterns = list(product((1, -1), repeat=len(differences)))
    reached = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) >= enough
        for signs in patterns
    )
    return reached / len(patterns)


def least_p(pairs: int) -> float:
    """The smallest two-sided p of a sign-flip or signed-rank test: all signs equal.

    Args:
        pairs: How many differences, at least one.
    """
    return float(2.0 ** (1 - pairs))
