"""AP of every scene alone, from a run's match records: sample weights that select one scene each.

Letters: T scenes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aqr_exp.evaluate.conditions import RunScorer, sample_weights
from aqr_exp.evaluate.records import SplitSamples
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.statistics.grouping import replicates
from aqr_exp.statistics.resampling import samples_digest
from aqr_exp.statistics.run_scores import MissingRecordsError, scored_records
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneScores:
    """A run's scores by scene: T evaluations of one scene each, AP 0 where it has no such object."""

    split: SplitSamples
    scores: Scores

    def mean_ap(self) -> Float[NDArray[Any], " T"]:
        """Mean AP over the classes that a scene has objects of; NaN for a scene without any.

        The benchmark's mAP counts absent classes as 0: over one scene most are absent, and two scenes
        could not be compared.
        """
        there = self.scores.truths > 0
        classes = there.sum(axis=1)
        total = np.where(there, self.scores.class_ap(), 0.0).sum(axis=1)
        return np.where(classes > 0, total / np.maximum(classes, 1), np.nan)


def scene_scores(store: Store, row: RunRow) -> SceneScores:
    """Score every scene of a run alone.

    Raises:
        MissingRecordsError: As `scored_records`.
    """
    records = scored_records(store, row)
    one_each = np.eye(len(records.samples.scene_names), dtype=np.int64)
    scores = RunScorer(records).scores(weights=sample_weights(records.samples, one_each))
    return SceneScores(split=records.samples, scores=scores)


SCENE_METRIC = "mAP over the scene's classes"


@dataclass(frozen=True, kw_only=True)
class SceneChange:
    """One scene under two arms.

    Attributes:
        description: Its description in the data set.
        samples: How many samples.
        truths: How many ground truths.
        reference: The reference arm's `SCENE_METRIC`, mean over its seeds.
        pairs: Pairs of runs with the same seed.
        agreeing: How many of these pairs differ in the direction that the means do.
    """

    scene: str
    description: str
    samples: int
    truths: int
    reference: float
    other: float
    pairs: int
    agreeing: int

    @property
    def difference(self) -> float:
        """Other minus reference."""
        return self.other - self.reference


@dataclass(frozen=True, kw_only=True)
class SceneChanges:
    """Scenes, the most changed first; or why there are none."""

    changes: tuple[SceneChange, ...] = ()
    notes: tuple[str, ...] = ()


def scene_changes(
    reference: Sequence[RunRow],
    other: Sequence[RunRow],
    *,
    store: Store,
    progress: Progress = no_progress,
) -> SceneChanges:
    """Order scenes by the difference between two arms."""
    chosen = (replicates(reference), replicates(other))
    total, done = sum(map(len, chosen)), 0
    scored: list[list[SceneScores]] = [[], []]
    for rows, scores in zip(chosen, scored, strict=True):
        for row in rows:
            try:
                scores.append(scene_scores(store, row))
            except MissingRecordsError as error:
                return SceneChanges(notes=(f"no scenes are compared: {error}",))
            done += 1
            progress(done, total)
    if not all(scored):
        return SceneChanges(notes=("no scenes are compared: an arm has no completed run",))
    digests = {
        samples_digest(one.split, one.scores.description) for scores in scored for one in scores
    }
    if len(digests) > 1:
        why = "no scenes are compared: the runs were scored on different samples"
        return SceneChanges(notes=(why,))
    paired = {row.seed for row in chosen[0]} == {row.seed for row in chosen[1]}
    return SceneChanges(changes=_ordered(*scored, paired=paired))


def _ordered(
    reference: Sequence[SceneScores], other: Sequence[SceneScores], *, paired: bool
) -> tuple[SceneChange, ...]:
    first = reference[0]
    ours, theirs = (np.stack([one.mean_ap() for one in scores]) for scores in (reference, other))
    pairs = theirs - ours if paired else np.zeros((0, ours.shape[1]))
    change = theirs.mean(axis=0) - ours.mean(axis=0)
    agreeing = (np.sign(pairs) == np.sign(change)).sum(axis=0)
    # Equal changes in the scenes' order; scenes without objects are left out.
    order = np.argsort(-np.abs(change), kind="stable")
    return tuple(
        SceneChange(
            scene=first.split.scene_names[at],
            description=first.split.scene_descriptions[at],
            samples=int(first.scores.samples[at]),
            truths=int(first.scores.truths[at].sum()),
            reference=float(ours[:, at].mean()),
            other=float(theirs[:, at].mean()),
            pairs=len(pairs),
            agreeing=int(agreeing[at]),
        )
        for at in map(int, order)
        if not np.isnan(change[at])
    )
