"""What is left of detections and ground truth once they are matched: all metrics follow from it.

Letters: P detections, M of them matched at 2 m, S samples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from aqr_exp.evaluate.protocol import ERROR_MATCH, MATCH_DISTANCES_M

DISTANCES = range(len(MATCH_DISTANCES_M))


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchTable:
    """Matched detections by class and rank: falling score, ties as the benchmark breaks them.

    Attributes:
        class_start: Where each class's detections begin; the last entry is P.
        sample: Which sample a detection is from.
        score: Its score, as a number that holds it exactly.
        matched: Bit `i` is set where it matches at `MATCH_DISTANCES_M[i]`.
        errors: The five true-positive errors of those matched at 2 m, in their order; NaN where undefined.
        truths: How many ground truths of each class a sample has.
    """

    class_start: Int[np.ndarray, " 11"]
    sample: UInt[np.ndarray, " P"]
    score: Float[np.ndarray, " P"]
    matched: UInt[np.ndarray, " P"]
    errors: Float[np.ndarray, "M 5"]
    truths: UInt[np.ndarray, "S 10"]

    def rows(self, label: int) -> slice:
        """Where a class's detections are.

        Args:
            label: An index into `CLASS_NAMES`.
        """
        return slice(int(self.class_start[label]), int(self.class_start[label + 1]))

    def hits(self, label: int, distance: int) -> Bool[np.ndarray, " rows"]:
        """Which of a class's detections match at a distance.

        Args:
            label: An index into `CLASS_NAMES`.
            distance: An index into `MATCH_DISTANCES_M`.
        """
        return (self.matched[self.rows(label)] >> distance & 1).astype(bool)

    def class_errors(self, label: int) -> Float[np.ndarray, "matches 5"]:
        """The errors of a class's detections that match at 2 m, in their order.

        Args:
            label: An index into `CLASS_NAMES`.
        """
        first = sum(int(self.hits(earlier, ERROR_MATCH).sum()) for earlier in range(label))
        return self.errors[first : first + int(self.hits(label, ERROR_MATCH).sum())]

    def arrays(self) -> dict[str, np.ndarray]:
        """As arrays, for a file."""
        return dict(vars(self))


def smallest_unsigned(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in as few bytes as they need.

    Args:
        values: Numbers of 0 or more.
    """
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def exact_floats(values: np.ndarray) -> np.ndarray:
    """The same numbers in four bytes where that loses nothing.

    Args:
        values: Finite numbers.
    """
    short = values.astype(np.float32)
    return short if np.array_equal(short, values) else values
