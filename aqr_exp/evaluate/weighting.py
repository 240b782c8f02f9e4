"""Metrics of a data set in which every sample occurs a given number of times, without matching again.

A weight says how often a sample occurs: 0 or 1 picks a subset, other counts make a bootstrap resample. The
copies of a detection follow one another in the ranking. Nothing is approximated: the benchmark reads its
curves at 101 recalls, and the two ranks around each of them are found in sums of the weights.

Letters: R weightings, S samples, P detections of a class, M of them matched, Q recall points.
Counts are of copies; a rank counts from 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.evaluate.protocol import FIRST_RECALL_POINT, PRECISION_FLOOR, RECALL_POINTS

RECALLS = np.linspace(0, 1, RECALL_POINTS)


class Counts:
    """Running sums of whole numbers of 0 or more along each row, and their inverse."""

    def __init__(self, weights: Int[np.ndarray, "R N"]) -> None:
        rows, self.columns = weights.shape
        # One sum that runs on through all rows: it can be searched for all of them at once.
        self._flat = np.cumsum(weights.reshape(-1), dtype=np.int64)
        self._first = (np.arange(rows) * self.columns)[:, None]
        self._before = np.zeros((rows, 1), dtype=np.int64)
        self._before[1:, 0] = self._flat[self.columns - 1 : -1 : self.columns]
        ends = self._flat[self.columns - 1 :: self.columns]
        self.total: Int[np.ndarray, "R 1"] = ends[:, None] - self._before

    def through(self, index: Int[np.ndarray, "R Q"]) -> Int[np.ndarray, "R Q"]:
        """The sum up to and with each entry; an index of -1 is before the first."""
        sums = self._flat[self._first + np.maximum(index, 0)] - self._before
        return np.where(index < 0, 0, sums)

    def reaching(self, count: Int[np.ndarray, "R Q"]) -> Int[np.ndarray, "R Q"]:
        """Index of the entry that brings the sum to `count`; an entry of the row where none does."""
        wanted = np.clip(count, 1, np.maximum(self.total, 1)) + self._before
        found = np.searchsorted(self._flat, wanted, side="left") - self._first
        return np.minimum(found, self.columns - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """True positives that each recall point stands for.

    Attributes:
        truths: Ground truths; at least 1.
        below: The most true positives whose recall is not above the point's.
    """

    truths: Int[np.ndarray, "R 1"]
    below: Int[np.ndarray, "R Q"]

    @classmethod
    def of(cls, truths: Int[np.ndarray, " R"]) -> "Targets":
        """Targets for some numbers of ground truths; 0 counts as 1."""
        count = np.maximum(truths, 1)[:, None]
        below = np.floor(RECALLS * count).astype(np.int64)
        # The product may round across a whole number; the quotient is what the benchmark compares.
        below -= below / count > RECALLS
        below += (below + 1) / count <= RECALLS
        return cls(truths=count, below=below)


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Precision and score at the recall points; 0 beyond the last recall that is reached."""

    precision: Float[np.ndarray, "R Q"]
    score: Float[np.ndarray, "R Q"]

    def average_precision(self) -> Float[np.ndarray, " R"]:
        """AP with the benchmark's floors."""
        above = np.maximum(self.precision[:, FIRST_RECALL_POINT:] - PRECISION_FLOOR, 0.0)
        return above.mean(axis=1) / (1.0 - PRECISION_FLOOR)


def curve(
    ranks: Counts,
    found: Counts,
    match_index: Int[np.ndarray, " M"],
    score: Float[np.ndarray, " P"],
    targets: Targets,
) -> Curve:
    """Precision and score at the recall points, interpolated between ranks as in the benchmark.

    Args:
        ranks: Copies of the class's detections, by rank.
        found: Copies of those that match.
        match_index: Indices of the detections that match.
        targets: True positives at the recall points.
    """
    below, truths = targets.below, targets.truths
    # The true positive that raises recall above the point: the upper end of the interval to interpolate in.
    upper = found.reaching(below + 1)
    false = ranks.through(match_index[upper]) - found.through(upper)
    rank = below + false
    recall = below / truths
    part, width = RECALLS - recall, (below + 1) / truths - recall
    # Where nothing is ranked before the first true positive, its own value holds down to recall 0.
    precision, next_precision = below / np.maximum(rank, 1), (below + 1) / (rank + 1)
    precision = np.where(rank == 0, next_precision, precision)
    next_score = score[match_index[upper]]
    point_score = score[ranks.reaching(rank)]
    # A recall that is the highest of all is read at the last rank; higher ones are never reached.
    at_end = (below == found.total) & (found.total / truths == RECALLS) & (found.total > 0)
    last_precision = np.where(at_end, found.total / np.maximum(ranks.total, 1), 0.0)
    last_score = np.where(at_end, score[ranks.reaching(ranks.total)], 0.0)
    inside = below < found.total
    return Curve(
        precision=np.where(
            inside, (next_precision - precision) / width * part + precision, last_precision
        ),
        score=np.where(inside, (next_score - point_score) / width * part + point_score, last_score),
    )


class _Between:
    """Position [R, Q] of the recall points' scores among the scores of the true positives.

    Attributes:
        before: The last true positive with a higher score.
        after: The first one whose score is not higher.
        none_before: True where there is no such true positive.
        none_after: True where there is no such true positive.
        part: Share of the way from the score of `after` up to that of `before`.
        counts: The recall points that the errors are averaged over.
    """

    def __init__(
        self,
        point_score: Float[np.ndarray, "R Q"],
        found: Counts,
        match_score: Float[np.ndarray, " M"],
    ) -> None:
        reached = point_score != 0
        last = np.where(reached.any(axis=1), RECALL_POINTS - 1 - reached[:, ::-1].argmax(axis=1), 0)
        wanted = point_score[:, FIRST_RECALL_POINT:]
        # Scores fall; searchsorted needs them to rise.
        higher = found.through(np.searchsorted(-match_score, -wanted, side="left") - 1)
        self.before, self.after = found.reaching(higher), found.reaching(higher + 1)
        self.none_before, self.none_after = higher == 0, higher >= found.total
        gap = match_score[self.before] - match_score[self.after]
        gap = np.where(self.none_before | self.none_after, 1.0, gap)
        self.part = (wanted - match_score[self.after]) / gap
        self.counts = np.arange(FIRST_RECALL_POINT, RECALL_POINTS) <= last[:, None]


def mean_errors(
    point_score: Float[np.ndarray, "R Q"],
    weights: Int[np.ndarray, "R M"],
    found: Counts,
    match_score: Float[np.ndarray, " M"],
    errors: Float[np.ndarray, "E M"],
) -> Float[np.ndarray, "R E"]:
    """True-positive errors: running means over the ranking, averaged over the recalls above the floor.

    Args:
        point_score: Scores at the recall points.
        weights: Copies of the true positives.
        errors: Their errors; NaN does not count.

    Returns:
        Errors; 1 where recall stays at the floor or no true positive has the error.
    """
    place = _Between(point_score, found, match_score)
    points = place.counts.sum(axis=1)
    result = np.ones((len(weights), len(errors)))
    for column, error in enumerate(errors):
        values = _running_means(error, weights, found, place)
        total = np.where(place.counts, values, 0.0).sum(axis=1)
        result[:, column] = np.where(points > 0, total / np.maximum(points, 1), 1.0)
    return result


def _running_means(
    error: Float[np.ndarray, " M"],
    weights: Int[np.ndarray, "R M"],
    found: Counts,
    place: _Between,
) -> Float[np.ndarray, "R Q"]:
    """The running mean of one error at the recall points; 1 everywhere where it is never defined."""
    unknown = np.isnan(error)
    known_error = np.where(unknown, 0.0, error)
    known = Counts(weights * ~unknown) if unknown.any() else found
    sums = np.cumsum(weights * known_error, axis=1)
    sum_before = np.where(place.none_before, 0.0, np.take_along_axis(sums, place.before, axis=1))
    count_before = np.where(place.none_before, 0, known.through(place.before))
    count_after = count_before + ~unknown[place.after]
    mean_before = sum_before / np.maximum(count_before, 1)
    mean_after = (sum_before + known_error[place.after]) / np.maximum(count_after, 1)
    means = (mean_before - mean_after) * place.part + mean_after
    means = np.where(place.none_before, mean_after, means)
    means = np.where(place.none_after, mean_before, means)
    return np.where(known.total > 0, means, 1.0)
