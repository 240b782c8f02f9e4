"""Runs that never were: match records of made-up detectors, in a store as real runs leave them.

A detector finds each object with a probability whose logit is the sum of what the scene, the arm, the seed
and their meetings add; scores rise with being right. All of it is drawn from one generator.

Letters: S samples, T scenes, G ground truths.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.protocol import MEASURED
from aqr_exp.evaluate.records import WHOLE, MatchRecords, MatchTable, SplitSamples, write_records
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.store.collect import RunRow
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store

_NESTED = np.array([0b1000, 0b1100, 0b1110, 0b1111])


@dataclass(frozen=True, kw_only=True)
class MadeUpData:
    """A split: how many objects of each class its samples hold."""

    samples: SplitSamples
    truths: np.ndarray

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        scenes: int = 20,
        per_scene: int = 4,
        objects: float = 1.5,
        night: int = 0,
        present: Collection[str] = CLASS_NAMES,
    ) -> "MadeUpData":
        """Scenes of equal length; the first `night` are night scenes; `objects` of a class in a sample."""
        count = scenes * per_scene
        truths = rng.poisson(objects, (count, len(CLASS_NAMES)))
        truths *= np.array([name in present for name in CLASS_NAMES])
        samples = SplitSamples(
            tokens=tuple(f"t{sample}" for sample in range(count)),
            scene=np.repeat(np.arange(scenes), per_scene),
            scene_names=tuple(f"scene-{scene:04d}" for scene in range(scenes)),
            scene_descriptions=tuple("Night" if scene < night else "" for scene in range(scenes)),
        )
        return cls(samples=samples, truths=truths.astype(np.uint8))


def made_up_records(
    data: MadeUpData, logit: np.ndarray, rng: np.random.Generator, false: float = 1.0
) -> MatchRecords:
    """Records of a detector; `logit` [T] says how well it finds objects of each scene."""
    truth_sample, truth_label = _places(data.truths)
    chance = 1 / (1 + np.exp(-logit[data.samples.scene]))[truth_sample]
    found = rng.random(len(chance)) < chance
    expected = false * data.truths.any(axis=0)
    false_sample, false_label = _places(rng.poisson(expected, data.truths.shape))
    hits, misses = int(found.sum()), len(false_sample)
    sample = np.concatenate([truth_sample[found], false_sample])
    label = np.concatenate([truth_label[found], false_label])
    score = np.concatenate([rng.beta(3, 2, hits), rng.beta(2, 3, misses)])
    matched = np.concatenate([rng.choice(_NESTED, hits, p=[0.1, 0.2, 0.3, 0.4]), np.zeros(misses)])
    order = np.lexsort((-score, label))
    matched = matched[order].astype(np.uint8)
    right = (matched >> 2 & 1).astype(bool)
    errors = rng.random((int(right.sum()), 5)) * (1.5 - chance.mean())
    errors[~MEASURED[label[order][right]]] = np.nan
    table = MatchTable(
        class_start=np.searchsorted(label[order], np.arange(11)),
        sample=sample[order].astype(np.uint16),
        score=score[order],
        matched=matched,
        errors=errors,
        truths=data.truths,
    )
    return MatchRecords(samples=data.samples, tables={WHOLE: table}, header={"split": "made_up"})


def _places(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sample and class of each of so many objects."""
    place = np.repeat(np.arange(counts.size), counts.reshape(-1))
    return np.divmod(place, counts.shape[1])


def kept_run(
    store: Store, arm: str, seed: int | None, records: MatchRecords, **changes: Any
) -> RunRow:
    """Leave a run's records in the store; the row is what its folder would say."""
    folder = store.folder(f"{arm}-s{seed}")
    folder.path.mkdir(parents=True)
    write_records(folder.records_path, records)
    metrics: dict[str, Any] = dict(Scorer(records.tables[WHOLE]).scores().metrics())
    digest = hashlib.sha256(folder.records_path.read_bytes()).hexdigest()
    return RunRow(
        name=folder.name,
        status=RunStatus.COMPLETED,
        updated="2026-01-01",
        record={"variant": arm, "seed": seed, "fingerprint": arm},
        metrics={**metrics, "records_sha256": digest} | changes,
    )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviations of what is added to the logit."""

    scene: float = 0.5
    seed: float = 0.05
    arm_seed: float = 0.08
    arm_scene: float = 0.0
    every: float = 0.1
    effects: Mapping[str, float] = field(default_factory=dict)


def made_up_arms(
    store: Store,
    rng: np.random.Generator,
    arms: tuple[str, ...] = ("a", "b"),
    seeds: int = 3,
    data: MadeUpData | None = None,
    spread: Spread | None = None,
) -> dict[str, list[RunRow]]:
    """Arms with the same seeds on the same data."""
    data = data or MadeUpData.draw(rng)
    spread = spread or Spread()
    count = len(data.samples.scene_names)
    of_scene = rng.normal(0, spread.scene, count)
    of_seed = rng.normal(0, spread.seed, seeds)
    rows: dict[str, list[RunRow]] = {}
    for arm in arms:
        of_arm = spread.effects.get(arm, 0.0) + rng.normal(0, spread.arm_scene, count)
        rows[arm] = []
        for seed in range(seeds):
            alone = rng.normal(0, spread.arm_seed) + rng.normal(0, spread.every, count)
            logit = 0.8 + of_scene + of_seed[seed] + of_arm + alone
            rows[arm].append(kept_run(store, arm, seed, made_up_records(data, logit, rng)))
    return rows
