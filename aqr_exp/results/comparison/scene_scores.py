"""AP of every scene alone, from a run's match records: sample weights that select one scene each.

Letters: T scenes.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from aqr_exp.errors import AqrExpError
from aqr_exp.evaluate.conditions import RunScorer, sample_weights
from aqr_exp.evaluate.records import read_records
from aqr_exp.evaluate.samples import Samples
from aqr_exp.results.collect import RunRow
from aqr_exp.results.inference.run_scores import MissingRecordsError, records_digest
from aqr_exp.results.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneScores:
    """A run's scores by scene.

    Attributes:
        samples: The split.
        class_ap: AP by class; 0 where the scene has no such object.
        truths: Ground truths by class.
        counts: Samples.
    """

    samples: Samples
    class_ap: Float[NDArray[Any], "T 10"]
    truths: Int[NDArray[Any], "T 10"]
    counts: Int[NDArray[Any], " T"]

    @property
    def has_class(self) -> Bool[NDArray[Any], "T 10"]:
        """Which classes a scene has objects of."""
        return self.truths > 0

    def mean_ap(self) -> Float[NDArray[Any], " T"]:
        """Mean AP over the classes that a scene has objects of; NaN for a scene without any.

        The benchmark's mAP counts absent classes as 0: over one scene most are absent, and two scenes
        could not be compared.
        """
        classes = self.has_class.sum(axis=1)
        total = np.where(self.has_class, self.class_ap, 0.0).sum(axis=1)
        return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def scene_scores(store: Store, row: RunRow) -> SceneScores:
    """Score every scene of a run alone.

    Args:
        store: Where the run is.
        row: A completed run.

    Raises:
        MissingRecordsError: It has no match records, or they are damaged or others than it was scored
            from.
    """
    path = store.folder(row.name).records_path
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise MissingRecordsError(row.name, "no match records") from None
    if found != records_digest(store, row):
        raise MissingRecordsError(row.name, f"its {path.name} is not what it was scored from")
    try:
        records = read_records(path)
    except AqrExpError:
        raise MissingRecordsError(row.name, f"its {path.name} is damaged") from None
    one_each = np.eye(len(records.samples.scene_names), dtype=np.int64)
    scores = RunScorer(records).scores(weights=sample_weights(records.samples, one_each))
    return SceneScores(
        samples=records.samples,
        class_ap=scores.class_ap(),
        truths=scores.truths,
        counts=scores.samples,
    )
