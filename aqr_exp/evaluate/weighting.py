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
        way: Share of the way from their recall to that of one more, at which the point lies.
        at_rank: What the inverse of a rank with so many true positives counts in the precision.
        after: What the inverse of the next rank counts, which is of one more.
    """

    truths: Int[np.ndarray, "R 1"]
    below: Int[np.ndarray, "R Q"]
    way: Float[np.ndarray, "R Q"]
    at_rank: Float[np.ndarray, "R Q"]
    after: Float[np.ndarray, "R Q"]

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
        way = (RECALLS - recall) / ((below + 1) / count - recall)
        parts = (count, below, way, below * (1 - way), (below + 1) * way)
        names = ("truths", "below", "way", "at_rank", "after")
        return cls(**{name: part[place] for name, part in zip(names, parts, strict=True)})

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
        # In steps, into few arrays: most of the time is spent on memory.
        rank = self._rank.astype(np.float64)
        values = rank + 1
        np.divide(self._targets.after[:, self._columns], values, out=values)
        # Where nothing is ranked before the first true positive, its own precision holds down to recall 0.
        first = self._rank == 0 if not self._targets.below[:, :1].all() else None
        np.maximum(rank, 1, out=rank)
        values += np.divide(self._targets.at_rank[:, self._columns], rank, out=rank)
        if first is not None:
            values[first] = 1.0
        values -= PRECISION_FLOOR
        np.maximum(values, 0.0, out=values)
        rows, _ = self._highest
        last = self._found.total[rows, 0] / self._ranking.total[rows, 0]
        # All points, also those that no row reaches: a row's sum must not depend on other rows.
        curve = np.zeros(self._targets.below.shape)
        np.multiply(values, self._inside, out=curve[:, self._columns])
        curve[self._highest] = np.maximum(last - PRECISION_FLOOR, 0.0)
        return curve.sum(axis=1) / (len(RECALLS) * (1.0 - PRECISION_FLOOR))

    def scores(self, score: Float[np.ndarray, " P"]) -> Float[np.ndarray, "R Q"]:
        """Scores at the recall points; 0 beyond the last recall that is reached."""
        ranking = self._ranking
        before = ranking.start + np.maximum(self._rank - 1, 0)
        at_rank, after = (
            score.take(ranking.detection.take(at, mode="clip")) for at in (before, self._upper)
        )
        result = np.zeros(self._targets.below.shape)
        values = np.subtract(after, at_rank, out=after)
        values *= self._targets.way[:, self._columns]
        values += at_rank
        np.copyto(result[:, self._columns], values, where=self._inside)
        last = (ranking.start + ranking.total - 1)[self._highest[0], 0]
        result[self._highest] = score[ranking.detection[last]]
        return result


class _Between:
    """Where the scores at the recall points lie among those of the true positives.

    Attributes:
        counts: The recall points that the errors are averaged over; those left out count in no row.
        higher: How many true positives have a higher score.
        through: In running sums (`_sums`), the place of the sum over these.
        after: The first detection that matches whose score is not higher.
        part: Share of the way from the score of `after` up to that of the last one with a higher score; 0
            where none has a higher score, 1 where all have.
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
        before[none_before] = -1
        self.through = first + before + 1
        self.higher = higher.astype(np.float64)
        after_score = match_score.take(self.after)
        gap = match_score.take(before, mode="clip") - after_score
        gap[none_before | none_after] = 1.0
        self.part = (wanted - after_score) / gap
        self.part[none_before] = 0.0
        self.part[none_after] = 1.0


def _sums(values: Float[np.ndarray, "R M"]) -> Float[np.ndarray, "R sums"]:
    """Running sums along each row, with a 0 before them."""
    sums = np.empty((len(values), values.shape[1] + 1))
    sums[:, 0] = 0.0
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


@dataclass(frozen=True)
class KnownErrors:
    """Errors that the same detections have: their running means share much of the work.

    Attributes:
        columns: Which errors these are.
        known: Whether a detection that matches has them.
        values: 0 where it does not.
    """

    columns: Int[np.ndarray, " E"]
    known: Bool[np.ndarray, " M"]
    values: Float[np.ndarray, "E M"]

    @classmethod
    def of(cls, errors: Float[np.ndarray, "E M"]) -> "list[KnownErrors]":
        """Errors by who has them; NaN is unknown."""
        masks, group = np.unique(~np.isnan(errors), axis=0, return_inverse=True)
        columns = [np.flatnonzero(group == number) for number in range(len(masks))]
        return [
            cls(which, known, np.where(known, errors[which], 0.0))
            for which, known in zip(columns, masks, strict=True)
        ]


def mean_errors(
    point_score: Float[np.ndarray, "R Q"],
    copies: Int[np.ndarray, "R M"],
    found: Found,
    match: Int[np.ndarray, " F"],
    match_score: Float[np.ndarray, " M"],
    errors: list[KnownErrors],
) -> Float[np.ndarray, "R E"]:
    """True-positive errors: running means over the ranking, averaged over the recalls above the floor.

    Args:
        point_score: Scores at the recall points.
        copies: Of the detections that match.
        match: The one of these that each true positive is a copy of.
        errors: All their errors.

    Returns:
        Errors; 1 where recall stays at the floor or no true positive has the error.
    """
    # Floating-point numbers, which hold these counts exactly, need no conversion at each use.
    copies = copies.astype(np.float64)
    place = _Between(point_score, copies, found, match, match_score)
    points = place.counts.sum(axis=1)[:, None]
    result = np.ones((len(copies), sum(len(each.columns) for each in errors)))
    for each in errors:
        parts, has = _parts_in_means(each.known, copies, place)
        # Unlike in a product of matrices, a row's sums do not depend on other rows.
        total = np.einsum("rm,em->re", parts, each.values)
        means = total / np.maximum(points, 1)
        result[:, each.columns] = np.where((points > 0) & has, means, 1.0)
    return result


def _parts_in_means(
    known: Bool[np.ndarray, " M"], copies: Float[np.ndarray, "R M"], place: _Between
) -> tuple[Float[np.ndarray, "R M"], Bool[np.ndarray, "R 1"]]:
    """What each detection's error counts in the sum of the running means over the recall points.

    Args:
        known: Whether a detection has the error.

    Returns:
        The parts, and whether a weighting has any copy with the error.
    """
    rows, matches = copies.shape
    has, count = np.ones((rows, 1), dtype=bool), place.higher
    more: float | np.ndarray = 1.0
    if not known.all():
        copies = copies * known
        sums = _sums(copies)
        has, count = sums[:, -1:] > 0, sums.take(place.through)
        more = known.astype(np.float64).take(place.after)
    # A mean is a sum over all before the point's place, and one that is after it, by the way between.
    after = place.counts * (1.0 - place.part)
    after /= np.maximum(count + more, 1)
    before = place.counts * place.part
    before /= np.maximum(count, 1)
    before += after
    after *= more
    size = rows * (matches + 1)
    shares = np.bincount(place.through.ravel(), before.ravel(), size).reshape(rows, matches + 1)
    parts = np.cumsum(shares[:, :0:-1], axis=1)[:, ::-1] * copies
    own = place.after + np.arange(rows)[:, None] * matches
    parts += np.bincount(own.ravel(), after.ravel(), rows * matches).reshape(rows, matches)
    return parts, has
