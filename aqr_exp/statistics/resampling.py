"""A run's metrics when its scenes are drawn again: the same draws for every run, so that runs stay paired.

Letters: T scenes that can be drawn, R resamples, E = 1 + R evaluations, S samples.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace

import numpy as np
from jaxtyping import Float, Int

from aqr_exp.config.identity import as_dict
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.evaluate.conditions import DataCondition, RunScorer
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.records import MatchRecords, SplitSamples
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.statistics.metrics import CLASS_AP, POPULATIONS, SESOI_POINTS, VAL, measured_labels

_REPORTS = 40
"""Progress is reported at least so often, for a run large enough to wait for."""

_ENTRIES_AT_ONCE = 1 << 20
"""Threads get evaluations in parts of at least so many detections."""

_ENTRIES_OF_A_THREAD = 1 << 23
"""Up to so many detections in all evaluations, threads would wait for each other."""


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """The settings of intervals and verdicts.

    Attributes:
        resamples: How often the scenes are drawn again.
        seed: Of the draws.
        confidence: Of intervals; a test's level is 1 minus it.
        power: With which a minimum detectable effect is found.
        population: What is asked about, of `POPULATIONS`.
        sesoi: The smallest effect of interest, of metrics between 0 and 1.
        paired: Whether arms of one seed share their start, and are compared seed by seed.
        classes: Of the data: so many APs are looked at together.
    """

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    power: float = 0.8
    population: str = VAL
    sesoi: float = SESOI_POINTS / 100
    paired: bool = False
    classes: int = len(NUSCENES.classes)

    def __post_init__(self) -> None:
        if self.resamples < 2:
            raise ValueError(f"resamples must be at least 2, got {self.resamples}")
        for name in ("confidence", "power"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        if self.population not in POPULATIONS:
            raise ValueError(f"population must be val or scenes, got {self.population}")
        if not 0 < self.sesoi < 1:
            raise ValueError(f"sesoi must lie between 0 and 100 points, got {100 * self.sesoi:g}")

    @property
    def alpha(self) -> float:
        """The level of a test."""
        return 1 - self.confidence


def scene_part(condition: DataCondition) -> DataCondition:
    """The condition on all classes: scenes are drawn for it, and conditions of other classes share them."""
    return replace(condition, beyond_m=0.0, small=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResampledRun:
    """A run's scores as they are, and with scenes drawn again.

    Attributes:
        scores: E evaluations: the observed one, then R resamples.
        scene_truths: Ground truths of each class in each scene that can be drawn.
        samples_digest: Equal for runs scored on the same samples in the same scenes.
    """

    scores: Scores = field(repr=False)
    scene_truths: Int[np.ndarray, "T C"]
    samples_digest: str

    def observed(self, metric: str, part: DataCondition) -> float:
        """A metric of the data as it is; see `metric_values`."""
        return float(metric_values(self.scores, metric, self._labels(part))[0])

    def drawn(self, metric: str, part: DataCondition) -> Float[np.ndarray, " R"]:
        """A metric under the resamples; see `metric_values`."""
        return metric_values(self.scores, metric, self._labels(part))[1:]

    def scenes(self, metric: str, part: DataCondition) -> int:
        """How many scenes that can be drawn have objects that a metric is of."""
        own = measured_labels(metric, self._labels(part), self.scores.description)
        return int((self.scene_truths[:, own].sum(axis=1) > 0).sum())

    def _labels(self, part: DataCondition) -> list[int]:
        return part.labels(self.scores.description)


def metric_values(scores: Scores, metric: str, labels: Sequence[int]) -> Float[np.ndarray, " E"]:
    """A metric of each evaluation.

    The benchmark counts a class without ground truth as AP 0; where nothing at all can be measured there
    is no number here, so that an empty condition is not taken for a bad one.

    Args:
        metric: A name for which `follows_from_records` is true.

    Returns:
        Values; NaN where no ground truth of these classes (for `AP/<class>`: of this class) counts.

    Raises:
        ValueError: Records do not give such a metric.
    """
    own = measured_labels(metric, labels, scores.description)
    if metric == "mAP" or metric.startswith(CLASS_AP):
        values = scores.mean_ap(own) if own else np.zeros(len(scores.samples))
    elif metric == "NDS":
        values = scores.nds(labels)
    elif metric in ERROR_NAMES:
        values = scores.mean_errors(labels)[:, ERROR_NAMES.index(metric)]
    else:
        raise ValueError(f"match records do not give '{metric}'")
    return np.where(scores.truths[:, own].sum(axis=1) > 0, values, np.nan)


def resample(
    records: MatchRecords,
    part: DataCondition,
    settings: Resampling,
    progress: Progress = no_progress,
) -> ResampledRun:
    """Evaluate a run under resamples of its scenes.

    Only scenes that have a sample in the part are drawn: their number is taken as given.

    Args:
        part: As `scene_part` gives it.
        progress: Gets (done, total) evaluations; may be called from several threads.

    Raises:
        KeyError: The records were made without range bands, and the part is one.
    """
    samples = records.samples
    eligible, scenes = drawn_scenes(samples, part, settings)
    detections = len(records.tables[part.table].score)
    scores = _evaluate(RunScorer(records), part, scenes, detections, progress)
    truths = records.tables[part.table].truths.astype(np.int64)
    scene_truths = np.zeros((len(samples.scene_names), truths.shape[1]), dtype=np.int64)
    np.add.at(scene_truths, samples.scene, truths)
    return ResampledRun(
        scores=scores,
        scene_truths=scene_truths[eligible],
        samples_digest=samples_digest(samples, records.description),
    )


def drawn_scenes(
    samples: SplitSamples, part: DataCondition, settings: Resampling
) -> tuple[Int[np.ndarray, " T"], Int[np.ndarray, "E scenes"]]:
    """The scenes that have a sample in the part, and how often each evaluation has every scene."""
    ones = np.ones((1, len(samples)), dtype=np.int64)
    eligible = np.unique(samples.scene[part.select(samples, ones)[0] > 0])
    weights = _scene_weights(len(eligible), settings)
    scenes = np.zeros((len(weights), len(samples.scene_names)), dtype=np.int64)
    scenes[:, eligible] = weights
    return eligible, scenes


def samples_digest(samples: SplitSamples, description: DataDescription = NUSCENES) -> str:
    """A fingerprint of a split's samples, their order and their scenes, and of the classes."""
    digest = hashlib.sha256("\n".join((*samples.tokens, "", *samples.scene_names)).encode())
    digest.update(np.ascontiguousarray(samples.scene, dtype=np.int64).tobytes())
    if description != NUSCENES:
        digest.update(json.dumps(as_dict(description), sort_keys=True).encode())
    return digest.hexdigest()


def _scene_weights(scenes: int, settings: Resampling) -> Int[np.ndarray, "E T"]:
    if scenes == 0:
        return np.zeros((1 + settings.resamples, 0), dtype=np.int64)
    rng = np.random.default_rng(settings.seed)
    drawn = rng.multinomial(scenes, np.full(scenes, 1 / scenes), settings.resamples)
    return np.concatenate([np.ones((1, scenes), dtype=np.int64), drawn])


def _evaluate(
    scorer: RunScorer,
    condition: DataCondition,
    scenes: Int[np.ndarray, "E scenes"],
    detections: int,
    progress: Progress,
) -> Scores:
    scorer.scores(condition, np.zeros((0, len(scorer.samples)), dtype=np.int64))  # lays out once
    small = len(scenes) * detections <= _ENTRIES_OF_A_THREAD
    threads, done = 1 if small else _threads(), 0
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
    names = [each.name for each in fields(Scores) if each.name != "description"]
    joined = {name: np.concatenate([getattr(one, name) for one in parts]) for name in names}
    return Scores(**joined, description=scorer.description)


def _rows_at_once(rows: int, detections: int, threads: int) -> int:
    """Evaluations a part: few parts for a small run, where each costs more than its rows."""
    shared = -(-rows // threads)
    return max(1, -(-rows // _REPORTS), min(shared, _ENTRIES_AT_ONCE // max(detections, 1)))


def _threads() -> int:
    """Cores this process may use: NumPy releases the interpreter while it counts."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
