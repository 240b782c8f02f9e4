"""Small completed runs in the real format: detections, match records, history and metrics that agree."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from made_up_tables import MadeUpBox, write_version
from small_world import SAMPLES_A_SCENE, SCENES, SPLITS, perturbed, small_world

from aqr_exp.config.inputs import identity_path
from aqr_exp.evaluate.evaluation import records_of_file
from aqr_exp.evaluate.metric import write_results
from aqr_exp.evaluate.records import WHOLE, write_records
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.files.atomic import file_sha256
from aqr_exp.store.history import stability_metrics
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

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
