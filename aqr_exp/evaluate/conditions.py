"""Metrics of parts of the data: night and rain, range bands, small and large objects.

Letters: R weightings, S samples.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from aqr_exp.config.schema.description import DataDescription
from aqr_exp.evaluate.records import BANDS_M, WHOLE, MatchRecords, SplitSamples
from aqr_exp.evaluate.scorer import Scorer, Scores


@dataclass(frozen=True, kw_only=True)
class DataCondition:
    """A part of the data.

    Attributes:
        table: Name of the match table it is computed from.
        word: `night` or `rain`; None takes all samples.
        present: True for samples under that condition, False for the others.
        beyond_m: Only classes count that are evaluated beyond this distance.
        small: True for small classes only, False for large ones.
    """

    table: str = WHOLE
    word: str | None = None
    present: bool = True
    beyond_m: float = 0.0
    small: bool | None = None

    def labels(self, description: DataDescription) -> list[int]:
        """The classes whose metrics count: those that the part can hold."""
        return [
            label
            for label, each in enumerate(description.classes)
            if each.range_m > self.beyond_m and self.small in (None, each.small)
        ]

    def select(
        self, samples: SplitSamples, weights: Int[np.ndarray, "R S"]
    ) -> Int[np.ndarray, "R S"]:
        """The weights, with 0 for samples outside the condition."""
        if self.word is None:
            return weights
        return weights * (samples.under(self.word) == self.present)


CONDITIONS: Mapping[str, DataCondition] = {
    "night": DataCondition(word="night"),
    "day": DataCondition(word="night", present=False),
    "rain": DataCondition(word="rain"),
    "dry": DataCondition(word="rain", present=False),
    **{name: DataCondition(table=name, beyond_m=low) for name, (low, _) in BANDS_M.items()},
    "small": DataCondition(small=True),
    "large": DataCondition(small=False),
}
"""Conditions by name, as it follows the @ of a metric."""


class RunScorer:
    """Scores of a run's records under any weighting and condition."""

    def __init__(self, records: MatchRecords) -> None:
        self.samples = records.samples
        self.description = records.description
        self._tables = records.tables
        self._scorers: dict[str, Scorer] = {}

    def scores(
        self, condition: DataCondition | None = None, weights: Int[np.ndarray, "R S"] | None = None
    ) -> Scores:
        """Scores under each weighting [R, S]; without weights each sample counts once (R = 1).

        Raises:
            KeyError: The records were made without range bands, and the condition is one.
            ValueError: The weights are no whole numbers of 0 or more, one for each sample.
        """
        part = condition or DataCondition()
        if weights is None:
            weights = np.ones((1, len(self.samples)), dtype=np.int64)
        if part.table not in self._scorers:
            self._scorers[part.table] = Scorer(self._tables[part.table], self.description)
        return self._scorers[part.table].scores(part.select(self.samples, weights))


def condition_metrics(records: MatchRecords) -> dict[str, dict[str, float | int]]:
    """Metrics under each condition with records, with the ground truths they rest on.

    Returns:
        By condition, what `Scores.metrics` gives for the classes that the condition can hold.
    """
    scorer = RunScorer(records)
    return {
        name: scorer.scores(condition).metrics(condition.labels(records.description))
        for name, condition in CONDITIONS.items()
        if condition.table in records.tables
    }


def sample_weights(
    samples: SplitSamples, scene_weights: Int[np.ndarray, "R scenes"]
) -> Int[np.ndarray, "R S"]:
    """Weights of samples from those of their scenes, for a bootstrap over scenes."""
    return scene_weights[:, samples.scene]
