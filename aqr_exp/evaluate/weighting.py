"""Metrics of a data set in which every sample occurs a given number of times, without matching again.

A weight says how often a sample occurs: 0 or 1 picks a subset, other counts make a bootstrap resample. The
copies of a detection follow one another in the ranking. Nothing is approximated: the benchmark reads its
curves at recall points, and the two ranks around each of them are looked up in the list of all copies.

Letters: R weightings, S samples, P detections of a class, M of them matched, C copies of detections in all
rankings together, F of them true positives, Q recall points above the floor.
Counts are of copies; a rank counts from 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from aqr_exp.evaluate.protocol import FIRST_RECALL_POINT, PRECISION_FLOOR, RECALL_POINTS

RECALLS = np.linspace(0, 1, RECALL_POINTS)[FIRST_RECALL_POINT:]


class Ranking:
    """Copies of a class's detections by rank: one list, each weighting's copies after those before it.

    Attributes:
        detection: The detection that each copy is of.
        start: Where each weighting's copies begin.
    """

    def __init__(self, copies: Int[np.ndarray, "R P"]) -> None:
        rows, columns = copies.shape
        each = np.tile(np.arange(columns, dtype=np.int32), rows)
        self.detection: Int[np.ndarray, " C"] = np.repeat(each, copies.reshape(-1))
        self.total: Int[np.ndarray, "R 1"] = copies.sum(axis=1, dtype=np.int64)[:, None]
        self.start: Int[np.ndarray, "R 1"] = np.cumsum(self.total, axis=0) - self.total


class Found:
    """The copies of a ranking that match.

    Attributes:
        place: Where they are in the ranking's list.
        start: Where each weighting's begin among them.
    """

    def __init__(self, ranking: Ranking, hits: Bool[np.ndarray, " C"]) -> None:
        self.place: Int[np.ndarray, " F"] = np.flatnonzero(hits)
        ends = np.searchsorted(self.place, ranking.start + ranking.total)
        self.start: Int[np.ndarray, "R 1"] = np.concatenate([[[0]], ends[:-1]])
        self.total: Int[np.ndarray, "R 1"] = ends - self.start


@dataclass(frozen=True, kw_only=True)
class Targets:
    """True positives that each recall point stands for.

    Attributes:
        truths: Ground truths; at least 1.
        below: The most true positives whose recall is not above the point's.
        number: The same as floating-point numbers.
        part: How far the point's recall is above theirs.
        width: How far that of one more is.
    """

    truths: Int[np.ndarray, "R 1"]
    below: Int[np.ndarray, "R Q"]
    number: Float[np.ndarray, "R Q"]
    part: Float[np.ndarray, "R Q"]
    width: Float[np.ndarray, "R Q"]

    @classmethod
    def of(cls, truths: Int[np.ndarray, " R"]) -> "Targets":
        """Targets for some numbers of ground truths; 0 counts as 1."""
        # Resamples share few numbers.
        counts, place = np.unique(np.maximum(truths, 1), return_inverse=True)
        count = counts[:, None]
        below = np.floor(RECALLS * count).astype(np.int64)
        # The product may round across a whole number; the quotient is what the benchmark compares.
        below -= below / count > RECALLS
        below += (below + 1) / count <= RECALLS
        recall = below / count
        part, width = RECALLS - recall, (below + 1) / count - recall
        return cls(
            truths=count[place],
            below=below[place],
            number=below.astype(np.float64)[place],
            part=part[place],
            width=width[place],
        )

    def rows(self, part: slice) -> "Targets":
        """The targets of some of the weightings."""
        return Targets(**{name: value[part] for name, value in vars(self).items()})


class Curve:
    """A class over recall at one match distance, interpolated between ranks as in the benchmark."""

    def __init__(self, ranking: Ranking, found: Found, targets: Targets) -> None:
        self._ranking, self._found, self._targets = ranking, found, targets
        recall = (found.total / targets.truths)[:, 0]
        reached = np.searchsorted(RECALLS, recall, side="left")
        # Recall rises from point to point: what no weighting reaches is left out.
        self._columns = slice(0, min(int(reached.max(initial=0)) + 1, len(RECALLS)))
        self._inside = np.arange(self._columns.stop) < reached[:, None]
        below = targets.below[:, self._columns]
        # The true positive that raises recall above the point: where its interval ends.
        self._upper = found.place.take(found.start + below, mode="clip")
        self._rank = np.maximum(self._upper - ranking.start, 0)
        # A recall that is the highest of all is read at the last rank; higher ones are never reached.
        rows = np.flatnonzero(
            (reached < len(RECALLS)) & (RECALLS.take(reached, mode="clip") == recall)
        )
        self._highest = rows, reached[rows]

    def average_precision(self) -> Float[np.ndarray, " R"]:
        """AP with the benchmark's floors."""
        rank, number = self._rank.astype(np.float64), self._targets.number[:, self._columns]
        # In steps, into few arrays: most of the time is spent on memory.
        after = rank + 1
        np.divide(number + 1, after, out=after)
        first = rank == 0
        precision = np.divide(number, np.maximum(rank, 1, out=rank), out=rank)
        # Where nothing is ranked before the first true positive, its own value holds down to recall 0.
        if first.any():
            np.copyto(precision, after, where=first)
        rows, _ = self._highest
        last = self._found.total[rows, 0] / self._ranking.total[rows, 0]
        curve = self._interpolated(precision, after, last)
        above = curve[:, self._columns]
        above -= PRECISION_FLOOR
        np.maximum(above, 0.0, out=above)
        return curve.mean(axis=1) / (1.0 - PRECISION_FLOOR)

    def scores(self, score: Float[np.ndarray, " P"]) -> Float[np.ndarray, "R Q"]:
        """Scores at the recall points; 0 beyond the last recall that is reached."""
        ranking, (rows, _) = self._ranking, self._highest
        before = ranking.start + np.maximum(self._rank - 1, 0)
        last = (ranking.start + ranking.total - 1)[rows, 0]
        places = (before, self._upper, last)
        return self._interpolated(
            *(score.take(ranking.detection.take(at, mode="clip")) for at in places)
        )

    def _interpolated(
        self,
        at_rank: Float[np.ndarray, "R q"],
        after: Float[np.ndarray, "R q"],
        last: Float[np.ndarray, " highest"],
    ) -> Float[np.ndarray, "R Q"]:
        """Values at the points, of those at the ranks around them and at the last rank."""
        result = np.zeros(self._targets.below.shape)
        values = np.subtract(after, at_rank, out=after)
        values /= self._targets.width[:, self._columns]
        values *= self._targets.part[:, self._columns]
        values += at_rank
        np.copyto(result[:, self._columns], values, where=self._inside)
        result[self._highest] = last
        return result


class _Between:
    """Where the scores at the recall points lie among those of the true positives.

    Attributes:
        counts: The recall points that the errors are averaged over; those left out count in no row.
        higher: How many true positives have a higher score.
        through: In running sums (`_sums`), the place of the sum over these.
        after: The first detection that matches whose score is not higher.
        only_after: The places where no true positive has a higher score.
        only_before: The places where all have.
        part: Share of the way from the score of `after` up to that of the last one with a higher score.
    """

    def __init__(
        self,
        point_score: Float[np.ndarray, "R Q"],
        copies: Float[np.ndarray, "R M"],
        found: Found,
        match: Int[np.ndarray, " F"],
        match_score: Float[np.ndarray, " M"],
    ) -> None:
        reached = point_score != 0
        last = np.where(reached.any(axis=1), len(RECALLS) - reached[:, ::-1].argmax(axis=1), 0)
        self.counts = np.arange(last.max(initial=0)) < last[:, None]
        wanted = point_score[:, : self.counts.shape[1]]
        first = np.arange(len(copies))[:, None] * (copies.shape[1] + 1)
        # Scores fall; searchsorted needs them to rise.
        place = np.searchsorted(-match_score, -wanted, side="left")
        higher = _sums(copies).take(first + place).astype(np.int64)
        at = found.start + higher
        before, self.after = (match.take(each, mode="clip") for each in (at - 1, at))
        none_before, none_after = higher == 0, higher >= found.total
        self.only_after, self.only_before = np.nonzero(none_before), np.nonzero(none_after)
        before[self.only_after] = -1
        self.through = first + before + 1
        self.higher = higher.astype(np.float64)
        after_score = match_score.take(self.after)
        gap = match_score.take(before, mode="clip") - after_score
        gap[none_before | none_after] = 1.0
        self.part = (wanted - after_score) / gap


def _sums(values: Float[np.ndarray, "R M"]) -> Float[np.ndarray, "R sums"]:
    """Running sums along each row, with a 0 before them."""
    sums = np.empty((len(values), values.shape[1] + 1))
    sums[:, 0] = 0.0
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def mean_errors(
    point_score: Float[np.ndarray, "R Q"],
    copies: Int[np.ndarray, "R M"],
    found: Found,
    match: Int[np.ndarray, " F"],
    match_score: Float[np.ndarray, " M"],
    errors: Float[np.ndarray, "E M"],
) -> Float[np.ndarray, "R E"]:
    """True-positive errors: running means over the ranking, averaged over the recalls above the floor.

    Args:
        point_score: Scores at the recall points.
        copies: Of the detections that match.
        match: The one of these that each true positive is a copy of.
        errors: Their errors; NaN does not count.

    Returns:
        Errors; 1 where recall stays at the floor or no true positive has the error.
    """
    # Floating-point numbers, which hold these counts exactly, need no conversion at each use.
    copies = copies.astype(np.float64)
    place = _Between(point_score, copies, found, match, match_score)
    points = place.counts.sum(axis=1)
    result = np.ones((len(copies), len(errors)))
    values = np.zeros(point_score.shape)
    for column, error in enumerate(errors):
        means = _running_means(error, copies, place)
        np.copyto(values[:, : means.shape[1]], means, where=place.counts)
        total = values.sum(axis=1)
        result[:, column] = np.where(points > 0, total / np.maximum(points, 1), 1.0)
    return result


def _running_means(
    error: Float[np.ndarray, " M"], copies: Float[np.ndarray, "R M"], place: _Between
) -> Float[np.ndarray, "R q"]:
    """The running mean of one error at the recall points; 1 everywhere where it is never defined."""
    unknown = np.isnan(error)
    known_error = np.where(unknown, 0.0, error)
    sums = _sums(copies * known_error).take(place.through)
    count, more, known = place.higher, 1.0, None
    if unknown.any():
        known = _sums(copies * ~unknown)
        count, more = known.take(place.through), (~unknown).astype(np.float64).take(place.after)
    mean_before = sums / np.maximum(count, 1)
    sums += known_error.take(place.after)
    mean_after = np.divide(sums, np.maximum(count + more, 1), out=sums)
    means = mean_before - mean_after
    means *= place.part
    means += mean_after
    means[place.only_after] = mean_after[place.only_after]
    means[place.only_before] = mean_before[place.only_before]
    return means if known is None else np.where(known[:, -1:] > 0, means, 1.0)
