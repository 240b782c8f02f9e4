"""Scores of a match table under any whole-number weighting of its samples.

Letters: R weightings, S samples, P detections of a class, M of them matched.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.match_table import DISTANCES, MatchTable
from aqr_exp.evaluate.protocol import (
    ERROR_MATCH,
    ERROR_NAMES,
    MATCH_DISTANCES_M,
    MEASURED,
)
from aqr_exp.evaluate.scores import Scores
from aqr_exp.evaluate.weighting import Counts, Targets, curve, mean_errors

_ENTRIES_AT_ONCE = 1 << 17
"""Weightings are worked on together while their detections are at most this many: what a cache holds."""


class _ClassScorer:
    """One class's detections, laid out for weighting."""

    def __init__(self, table: MatchTable, label: int) -> None:
        rows = table.rows(label)
        self.sample = table.sample[rows].astype(np.intp)
        self.score = table.score[rows].astype(np.float64)
        self.matches = [np.flatnonzero(table.hits(label, distance)) for distance in DISTANCES]
        self.measured = np.flatnonzero(MEASURED[label])
        self.errors = np.ascontiguousarray(table.class_errors(label)[:, self.measured].T)

    def score_rows(
        self,
        weights: Int[np.ndarray, "R S"],
        truths: Int[np.ndarray, " R"],
        ap: Float[np.ndarray, "R 4"],
        errors: Float[np.ndarray, "R 5"],
    ) -> None:
        """Fill in AP and errors.

        Args:
            weights: How often each sample occurs.
            truths: Ground truths of the class under each weighting.
            ap: Where AP goes.
            errors: Where the errors go; those that the class lacks are left alone.
        """
        ap[:] = 0.0
        errors[:, self.measured] = 1.0
        if not len(self.sample):
            return
        copies = weights.take(self.sample, axis=1)
        ranks = Counts(copies)
        targets = Targets.of(truths)
        for distance in DISTANCES:
            index = self.matches[distance]
            if not len(index):
                continue
            match_copies = copies.take(index, axis=1)
            found = Counts(match_copies)
            read = curve(ranks, found, index, self.score, targets)
            ap[:, distance] = read.average_precision()
            if distance == ERROR_MATCH:
                errors[:, self.measured] = mean_errors(
                    read.score, match_copies, found, self.score[index], self.errors
                )


class Scorer:
    """Evaluates a match table as often as wanted; everything that weights do not change is done once.

    Args:
        table: Matched detections.
    """

    def __init__(self, table: MatchTable) -> None:
        self._truths = table.truths.astype(np.int64)
        self._classes = [_ClassScorer(table, label) for label in range(len(CLASS_NAMES))]

    def scores(self, weights: np.ndarray | None = None) -> Scores:
        """Scores under each weighting.

        Args:
            weights: [R, S] how often each sample occurs; None counts each once, as R = 1.

        Returns:
            Scores equal to those of a data set that holds each sample so often.

        Raises:
            ValueError: The weights are no whole numbers of 0 or more, one for each sample.
        """
        samples = len(self._truths)
        if weights is None:
            weights = np.ones((1, samples), dtype=np.int64)
        if weights.ndim != 2 or weights.shape[1] != samples:
            raise ValueError(f"weights has shape {weights.shape}, not (R, {samples})")
        if weights.dtype.kind not in "iub" or weights.min(initial=0) < 0:
            raise ValueError(f"weights must be whole numbers of 0 or more, got {weights.dtype}")
        weights = weights.astype(np.int32)
        truths = weights.astype(np.int64) @ self._truths
        count = len(weights)
        ap = np.empty((count, len(CLASS_NAMES), len(MATCH_DISTANCES_M)))
        errors = np.full((count, len(CLASS_NAMES), len(ERROR_NAMES)), np.nan)
        for label, scorer in enumerate(self._classes):
            for part in _parts(count, len(scorer.sample)):
                scorer.score_rows(
                    weights[part], truths[part, label], ap[part, label], errors[part, label]
                )
        return Scores(ap=ap, errors=errors, truths=truths, samples=weights.sum(axis=1))


def _parts(count: int, entries: int) -> Iterator[slice]:
    step = max(1, _ENTRIES_AT_ONCE // max(1, entries))
    for start in range(0, count, step):
        yield slice(start, start + step)
