"""Average precision and errors of each class, and the benchmark's averages over them.

Letters: R evaluations (weightings of the same matches), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.evaluate.protocol import (
    ERROR_MATCH,
    ERROR_NAMES,
    MAP_WEIGHT,
    MATCH_DISTANCES_M,
    measured,
)
from aqr_exp.evaluate.records import DISTANCES, MatchTable
from aqr_exp.evaluate.weighting import (
    Curve,
    Found,
    KnownErrors,
    Ranking,
    Targets,
    mean_errors,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Parts that every metric is an average of.

    Attributes:
        ap: Average precision by class and match distance, in [0, 1].
        errors: True-positive errors by class, as `ERROR_NAMES`; NaN where the class has no such
            error, 1 where nothing was found.
        truths: Ground truths by class.
        samples: Number of samples.
        description: Of the data, with the classes.
    """

    ap: Float[np.ndarray, "R C 4"]
    errors: Float[np.ndarray, "R C 5"]
    truths: Int[np.ndarray, "R C"]
    samples: Int[np.ndarray, " R"]
    description: DataDescription = NUSCENES

    def _labels(self, labels: Sequence[int] | None) -> list[int]:
        # Always a list: a mean over a slice of the same numbers may have another last digit.
        return list(range(len(self.description.classes)) if labels is None else labels)

    def class_ap(self) -> Float[np.ndarray, "R C"]:
        """AP by class, over the four distances."""
        return self.ap.mean(axis=2)

    def mean_ap(self, labels: Sequence[int] | None = None) -> Float[np.ndarray, " R"]:
        """Mean of the classes' AP: mAP."""
        return self.class_ap()[:, self._labels(labels)].mean(axis=1)

    def mean_errors(self, labels: Sequence[int] | None = None) -> Float[np.ndarray, "R 5"]:
        """The five errors over the classes that have them; NaN where none does."""
        errors = self.errors[:, self._labels(labels)]
        has = ~np.isnan(errors)
        total = np.where(has, errors, 0.0).sum(axis=1)
        count = has.sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def nds(self, labels: Sequence[int] | None = None) -> Float[np.ndarray, " R"]:
        """The nuScenes detection score over some classes; NaN where an error is.

        Errors that no class of the data has do not count.
        """
        counted = self._counted_errors()
        quality = np.maximum(1.0 - self.mean_errors(labels)[:, counted], 0.0)
        total = MAP_WEIGHT * self.mean_ap(labels) + quality.sum(axis=1)
        return total / (MAP_WEIGHT + len(counted))

    def _counted_errors(self) -> list[int]:
        return np.flatnonzero(measured(self.description).any(axis=0)).tolist()

    def metrics(
        self, labels: Sequence[int] | None = None, evaluation: int = 0
    ) -> dict[str, float | int]:
        """Metrics of one of the R evaluations, over some classes.

        Returns:
            `mAP`, `NDS`, the errors that classes of the data have, `AP/<class>` and `gt/<class>` for
            the classes that count, `samples`.
        """
        errors = self.mean_errors(labels)[evaluation]
        class_ap, truths = self.class_ap()[evaluation], self.truths[evaluation]
        names = [(label, self.description.names[label]) for label in self._labels(labels)]
        return {
            "mAP": float(self.mean_ap(labels)[evaluation]),
            "NDS": float(self.nds(labels)[evaluation]),
            **{ERROR_NAMES[at]: float(errors[at]) for at in self._counted_errors()},
            **{f"AP/{name}": float(class_ap[label]) for label, name in names},
            **{f"gt/{name}": int(truths[label]) for label, name in names},
            "samples": int(self.samples[evaluation]),
        }


_ENTRIES_AT_ONCE = 1 << 15
"""Weightings are worked on together while their detections are at most this many: what a cache holds."""


class _ClassScorer:
    """One class's detections, laid out for weighting."""

    def __init__(self, table: MatchTable, label: int, description: DataDescription) -> None:
        rows = table.rows(label)
        self.sample = table.sample[rows].astype(np.intp)
        self.score = table.score[rows].astype(np.float64)
        self.matched = table.matched[rows]
        hits = table.hits(label, ERROR_MATCH)
        self.matches, self.match_index = np.flatnonzero(hits), np.cumsum(hits) - 1
        self.measured = np.flatnonzero(measured(description)[label])
        self.errors = KnownErrors.of(table.class_errors(label)[:, self.measured].T)

    def score_rows(
        self,
        weights: Int[np.ndarray, "R S"],
        targets: Targets,
        ap: Float[np.ndarray, "R 4"],
        errors: Float[np.ndarray, "R 5"],
    ) -> None:
        """Write AP and errors into their arrays; errors that the class lacks stay unchanged."""
        ap[:] = 0.0
        errors[:, self.measured] = 1.0
        if not len(self.sample):
            return
        copies = weights.take(self.sample, axis=1)
        ranking = Ranking(copies)
        matched = self.matched.take(ranking.detection)
        for distance in DISTANCES:
            found = Found(ranking, (matched & 1 << distance).astype(bool))
            if not len(found.place):
                continue
            curve = Curve(ranking, found, targets)
            ap[:, distance] = curve.average_precision()
            if distance == ERROR_MATCH:
                match = self.match_index.take(ranking.detection.take(found.place))
                errors[:, self.measured] = mean_errors(
                    curve.scores(self.score), copies.take(self.matches, axis=1), found, match,
                    self.score.take(self.matches), self.errors,
                )  # fmt: skip


class Scorer:
    """Scores of a match table under any weighting; work that weights do not change is done once."""

    def __init__(self, table: MatchTable, description: DataDescription = NUSCENES) -> None:
        self.description = description
        self._truths = table.truths.astype(np.int64)
        labels = range(len(description.classes))
        self._classes = [_ClassScorer(table, label, description) for label in labels]

    def scores(self, weights: np.ndarray | None = None) -> Scores:
        """Scores under each weighting [R, S], equal to those of a data set with as many copies.

        Without weights each sample counts once (R = 1).

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
        ap = np.empty((count, len(self._classes), len(MATCH_DISTANCES_M)))
        errors = np.full((count, len(self._classes), len(ERROR_NAMES)), np.nan)
        for label, scorer in enumerate(self._classes):
            targets = Targets.of(truths[:, label])
            step = max(1, _ENTRIES_AT_ONCE // max(1, len(scorer.sample)))
            for start in range(0, count, step):
                part = slice(start, start + step)
                scorer.score_rows(
                    weights[part], targets.rows(part), ap[part, label], errors[part, label]
                )
        return Scores(
            ap=ap,
            errors=errors,
            truths=truths,
            samples=weights.sum(axis=1),
            description=self.description,
        )
