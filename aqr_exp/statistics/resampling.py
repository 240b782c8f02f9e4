"""A run's metrics when its scenes are drawn again: the same draws for every run, so that runs stay paired.

Letters: T scenes that can be drawn, R resamples, E = 1 + R + T evaluations, S samples.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int

from aqr_exp.evaluate.conditions import DataCondition, RunScorer
from aqr_exp.evaluate.records import MatchRecords, SplitSamples
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.files.progress import Progress, no_progress

_REPORTS = 40
"""How often progress is told of at least, for a run large enough to wait for."""

_ENTRIES_AT_ONCE = 1 << 20
"""Evaluations are shared out to threads in parts of at least so many detections."""

"""Takes (done, total), in evaluations."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals and verdicts are made.

    Attributes:
        resamples: How often the scenes are drawn again.
        seed: Of the draws.
        confidence: Of intervals; a test's level is what it lacks to 1.
        power: With which a minimum detectable effect is found.
    """

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    power: float = 0.8

    def __post_init__(self) -> None:
        if self.resamples < 2:
            raise ValueError(f"resamples must be at least 2, got {self.resamples}")
        for name in ("confidence", "power"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")

    @property
    def alpha(self) -> float:
        """The level of a test."""
        return 1 - self.confidence


@dataclass(frozen=True, kw_only=True)
class Part:
    """What of a condition decides how scenes are drawn: conditions that differ in classes only share it.

    Attributes:
        table: Which match table.
        word: A condition of scenes; None for all.
        present: Whether scenes must be under it.
    """

    table: str
    word: str | None
    present: bool

    @classmethod
    def of(cls, condition: DataCondition) -> "Part":
        """The part that a condition looks at.

        Args:
            condition: The condition.
        """
        return cls(table=condition.table, word=condition.word, present=condition.present)

    def condition(self) -> DataCondition:
        """The part as a condition on all classes."""
        return DataCondition(table=self.table, word=self.word, present=self.present)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResampledRun:
    """A run's scores as they are, with scenes drawn again, and with each scene left out.

    Attributes:
        scores: E evaluations: the observed one, R resamples, T with one scene left out.
        scene_truths: Ground truths of each class in each scene that can be drawn.
        samples_digest: Equal for runs scored on the same samples in the same scenes.
        resamples: R.
    """

    scores: Scores = field(repr=False)
    scene_truths: Int[np.ndarray, "T 10"]
    samples_digest: str
    resamples: int

    @property
    def observed(self) -> slice:
        """Which evaluation is of the data as it is."""
        return slice(0, 1)

    @property
    def drawn(self) -> slice:
        """Which evaluations are resamples."""
        return slice(1, 1 + self.resamples)

    @property
    def left_out(self) -> slice:
        """Which evaluations lack one scene."""
        return slice(1 + self.resamples, None)


def resample(
    records: MatchRecords, part: Part, settings: Resampling, progress: Progress = no_progress
) -> ResampledRun:
    """Evaluate a run under resamples of its scenes.

    Only scenes that have a sample in the part are drawn: their number is taken as given.

    Args:
        records: A run's records.
        part: The part of the data.
        settings: How often, and from which seed.
        progress: Told about evaluations done; may be called from several threads.

    Returns:
        The scores. The draws depend on the settings and the number of scenes alone.

    Raises:
        KeyError: The records were made without range bands, and the part is one.
    """
    samples = records.samples
    condition = part.condition()
    ones = np.ones((1, len(samples)), dtype=np.int64)
    eligible = np.unique(samples.scene[condition.select(samples, ones)[0] > 0])
    weights = _scene_weights(len(eligible), settings)
    scenes = np.zeros((len(weights), len(samples.scene_names)), dtype=np.int64)
    scenes[:, eligible] = weights
    scores = _evaluate(
        RunScorer(records), condition, scenes, len(records.tables[part.table].score), progress
    )
    truths = records.tables[part.table].truths.astype(np.int64)
    scene_truths = np.zeros((len(samples.scene_names), truths.shape[1]), dtype=np.int64)
    np.add.at(scene_truths, samples.scene, truths)
    return ResampledRun(
        scores=scores,
        scene_truths=scene_truths[eligible],
        samples_digest=samples_digest(samples),
        resamples=settings.resamples,
    )


def samples_digest(samples: SplitSamples) -> str:
    """A fingerprint of the samples, their order and their scenes.

    Args:
        samples: A split's samples.
    """
    digest = hashlib.sha256("\n".join((*samples.tokens, "", *samples.scene_names)).encode())
    digest.update(np.ascontiguousarray(samples.scene, dtype=np.int64).tobytes())
    return digest.hexdigest()


def _scene_weights(scenes: int, settings: Resampling) -> Int[np.ndarray, "E T"]:
    if scenes == 0:
        return np.zeros((1 + settings.resamples, 0), dtype=np.int64)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.multinomial(scenes, np.full(scenes, 1 / scenes), settings.resamples)
    left_out = 1 - np.eye(scenes, dtype=np.int64)
    return np.concatenate([np.ones((1, scenes), dtype=np.int64), drawn, left_out])


def _evaluate(
    scorer: RunScorer,
    condition: DataCondition,
    scenes: Int[np.ndarray, "E scenes"],
    detections: int,
    progress: Progress,
) -> Scores:
    scorer.scores(condition, np.zeros((0, len(scorer.samples)), dtype=np.int64))  # lays out once
    threads, done = _threads(), 0
    step = _rows_at_once(len(scenes), detections, threads)

    def evaluate(start: int) -> Scores:
        nonlocal done
        rows = scenes[start : start + step]
        scores = scorer.scores(condition, rows[:, scorer.samples.scene])
        done += len(rows)
        progress(done, len(scenes))
        return scores

    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(evaluate, range(0, len(scenes), step)))
    return Scores(
        ap=np.concatenate([each.ap for each in parts]),
        errors=np.concatenate([each.errors for each in parts]),
        truths=np.concatenate([each.truths for each in parts]),
        samples=np.concatenate([each.samples for each in parts]),
    )


def _rows_at_once(rows: int, detections: int, threads: int) -> int:
    """Few parts for a small run, where each costs more than its rows; many where one waits."""
    shared = -(-rows // threads)
    return max(1, -(-rows // _REPORTS), min(shared, _ENTRIES_AT_ONCE // max(detections, 1)))


def _threads() -> int:
    """Cores this process may use: NumPy lets go of the interpreter while it counts."""
    import os

    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
