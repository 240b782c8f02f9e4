"""Completed runs that never trained, in four degrees of detail: the one place that fabricates them.

- `run_row`: a row as a store would give it, without a folder;
- `MadeUpStore`: folders with real configurations and made-up metrics;
- `made_up_arms` and `kept_run`: match records of made-up detectors, in a store as real runs leave them;
- `make_run`: detections, match records, history and metrics that agree, on a made-up data set.

A made-up detector finds each object with a probability whose logit is the sum of what the scene, the arm,
the seed and their meetings add; scores rise with being right. All of it is drawn from one generator.

Letters: S samples, T scenes, G ground truths.
"""

import hashlib
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_tables import MadeUpBox, write_version
from small_world import SAMPLES_A_SCENE, SCENES, SPLITS, perturbed, small_world

from aqr_exp.config.compose import Override
from aqr_exp.config.data_files import record_files
from aqr_exp.config.identity import setting_fingerprint, to_yaml
from aqr_exp.config.inputs import identity_path, record_path
from aqr_exp.config.load import ConfigLoader, LoadedRun
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.evaluation import records_of_file
from aqr_exp.evaluate.protocol import measured
from aqr_exp.evaluate.records import WHOLE, MatchRecords, MatchTable, SplitSamples, write_records
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.files.checksum import replace_checked_json
from aqr_exp.files.reading import file_sha256
from aqr_exp.store.collect import RunRow
from aqr_exp.store.history import append_line, stability_metrics
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.sweep.values import read_override

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
    errors[~measured(NUSCENES)[label[order][right]]] = np.nan
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
        verified=True,
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


HARDWARE = {
    "processor": "AMD EPYC",
    "host": "one",
    "gpus": [],
    "cpus": 2,
    "device": "auto",
    "threads": 2,
    "loader_workers": 1,
}


def run_row(seed: int, mean_ap: float | None, **changes: Any) -> RunRow:
    """A completed run; metrics by their name, anything of the record or the row by its own.

    What `also` holds comes into the record besides.
    """
    record = {
        "variant": "baseline",
        "fingerprint": "0123456789ab",
        "preset": "quick",
        "seed": seed,
        "overrides": [],
        "setting": "a setting",
        "hardware": HARDWARE,
    }
    record |= {name: changes.pop(name) for name in list(changes) if name in record}
    record |= changes.pop("also", {})
    row = {
        "name": f"{record['variant']}-{record['fingerprint']}-s{seed}",
        "status": "completed",
        "updated": f"2026-01-0{seed + 1}",
        "attempt": 1,
        "reason": None,
        "verified": True,
    }
    row |= {name: changes.pop(name) for name in list(changes) if name in row}
    metrics = {"mAP": mean_ap, "NDS": 0.25, "split": "synth_val", "synthetic": True} | changes
    return RunRow(record=record, metrics=metrics, **row | {"status": RunStatus(row["status"])})


@cache
def _loader() -> ConfigLoader:
    return ConfigLoader(with_data=False)


@cache
def _composed(variant: str, typed: tuple[str, ...]) -> tuple[LoadedRun, str]:
    """An arm and its configuration as text."""
    overrides: list[Override] = [
        item for text in typed for item in read_override(text, _loader().groups)
    ]
    point = _loader().load(variant, overrides)
    return point, to_yaml(point.config)


class MadeUpStore(Store):
    """Runs that were never trained, as their folders would say."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)

    def add(self, variant: str, typed: Sequence[str], seed: int, **metrics: Any) -> RunFolder:
        """A completed run; without metrics, one that failed."""
        point, spec_text = _composed(variant, tuple(typed))
        folder = self.folder(point.name_of(seed))
        record = {
            "name": folder.name,
            "variant": variant,
            "fingerprint": point.fingerprint,
            "seed": seed,
            "preset": "quick",
            "overrides": [*typed, f"seed={seed}"],
        }
        folder.create(spec_text, record)
        record["setting"] = setting_fingerprint(folder.read_spec())
        if metrics:
            folder.write_metrics({"split": "synth_val", "synthetic": True, **metrics})
            folder.write_state("completed")
        else:
            folder.write_state("failed", reason="the loss is not finite at step 3 (loss)")
        return folder


VERSION, SPLIT = "v1.0-mini", "mini_val"
FINGERPRINT = "0123456789abcdef"
STEPS = 24


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A made-up nuScenes version with the identity a run asks for."""

    root: Path
    boxes: list[MadeUpBox]


def make_data_set(root: Path) -> DataSet:
    scenes, boxes = small_world()
    names = [scene.name for scene in SCENES]
    custom = {
        split: [names[index] for index in members]
        for split, members in SPLITS.items()
        if split != SPLIT
    }
    write_version(root, VERSION, scenes, boxes, custom)
    identity = {
        "fingerprint": FINGERPRINT,
        "version": VERSION,
        "splits": {SPLIT: 10},
        "synthetic": True,
    }
    identity_path(root).parent.mkdir()
    identity_path(root).write_text(json.dumps(identity))
    record_files(record_path(root), root, sorted((root / VERSION).iterdir()))
    return DataSet(root=root, boxes=boxes)


def make_record(name: str, variant: str, seed: int, data: DataSet) -> dict[str, Any]:
    return {
        "name": name,
        "variant": variant,
        "fingerprint": "0123456789ab",
        "seed": seed,
        "preset": "smoke",
        "overrides": [f"seed={seed}", "schedule.epochs=2"],
        "created": "2026-01-02T03:04:05+00:00",
        "data": {
            "name": "made up",
            "version": VERSION,
            "fingerprint": FINGERPRINT,
            "root": str(data.root),
        },
        "code": {"revision": "c0ffee" * 6 + "abcd", "dirty": False, "difference_sha256": None},
        "host": "one",
        "cpus": 2,
        "setting": "411e7542dade",
        "hardware": {"processor": "AMD EPYC", "cpus": 2, "gpus": [], "threads": 1},
    }


def make_run(store: Store, data: DataSet, seed: int, *, variant: str = "baseline") -> RunFolder:
    """A run that trained, was killed and resumed after step 12, and was scored."""
    folder = store.folder(f"{variant}-0123456789ab-s{seed}")
    spec = f"variant: {{name: {variant}}}\nmodel: {{queries: 300}}\nseed: {seed}\n"
    folder.create(spec, make_record(folder.name, variant, seed, data))
    draw = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    for attempt, steps in ((1, range(1, 17)), (2, range(13, STEPS + 1))):
        folder.write_state("running", attempt=attempt)
        for step in steps:
            line = {"kind": "train", "epoch": 1 + step // 13, "step": step}
            folder.append_history(
                line | {"loss": 3 + draw.random(), "grad_norm": 9 * draw.random()}
            )
    for name in ("epoch_1.pth", "epoch_2.pth"):
        (folder.checkpoints_dir / name).write_bytes(draw.randbytes(500))
    folder.train_log_path.write_text("=== attempt 1\nstep 1\nstep 2\n")
    folder.write_progress({"phase": "score", "step": 10, "steps": 10})
    folder.write_metrics(score(folder, data, seed))
    folder.write_state("completed")
    return folder


def score(folder: RunFolder, data: DataSet, seed: int) -> dict[str, Any]:
    """Write detections and their match records; the metrics as a training session states them."""
    samples = [index * SAMPLES_A_SCENE + step for index in (0, 1) for step in range(5)]
    path = folder.predictions_path(SPLIT)
    # Detections are written by the detection stack.
    pytest.importorskip("torch", exc_type=ImportError)
    from aqr_exp.evaluate.metric import write_results

    write_results(path, perturbed(data.boxes, samples, seed=seed))
    records = records_of_file(path, data.root, VERSION, SPLIT)
    write_records(folder.records_path, records)
    return {
        **Scorer(records.tables[WHOLE]).scores().metrics(),
        **stability_metrics(folder.read_history()),
        "aqr/final_scale": 2.5 + seed / 7,
        "predictions_sha256": file_sha256(path),
        "records_sha256": file_sha256(folder.records_path),
        "split": SPLIT,
        "evaluator": "aqr",
        "synthetic": True,
        "train_time_s": 286.5,
        "parameters": 1667634,
        "peak_memory_mb": 992.2,
    }


def copied_run(source: RunFolder, target: RunFolder) -> None:
    """Another run that came to the same end."""
    spec = source.spec_path.read_text().split("\n", 1)[1]
    target.create(spec, {**source.read_record(), "name": target.name})
    for line in source.read_history():
        target.append_history(line)
    if source.metrics_path.exists():
        target.write_metrics(source.read_metrics())
    state = source.read_state()
    target.write_state(state.status, reason=state.reason, attempt=state.attempt)


def as_older(folder: RunFolder, *, checksums: bool = True) -> RunFolder:
    """The run as an older version left it, with checksums of contents alone or without any."""
    for path in folder.path.rglob("*.json"):
        value = json.loads(path.read_text())
        if path == folder.record_path and isinstance(value.get("code"), dict):
            value["code"].pop("modules", None)  # which it did not know
        if value.pop("checksum", None):  # detections have none
            if checksums:
                replace_checked_json(path, value, None)
            else:
                value.pop("files", None)
                path.write_text(json.dumps(value))
    spec = folder.spec_path.read_text().split("\n", 1)[1]
    digest = hashlib.sha256(spec.encode()).hexdigest()
    line = f"# checksum: sha256:{digest} of the lines below\n" if checksums else ""
    folder.spec_path.write_text(line + spec)
    if folder.history_path.exists():
        lines = [json.loads(line) for line in folder.history_path.read_text().splitlines()]
        folder.history_path.unlink()
        for entry in lines:
            del entry["crc32"]
            if checksums:
                append_line(folder.history_path, entry, None)
            else:
                del entry["attempt"]
                with folder.history_path.open("a") as file:
                    file.write(json.dumps(entry) + "\n")
    if checksums and folder.metrics_path.exists():
        RunFolder(folder.path).write_metrics(RunFolder(folder.path).read_metrics())
    return RunFolder(folder.path)
