"""Tables of a few scenes, runs imported into a store, and files of own metrics."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_up_tables import MadeUpBox, MadeUpScene, sample_token, write_version
from small_world import detection

from aqr_exp.launch.importing import Data, Detector, import_results
from aqr_exp.store.store import Store

VERSION, SPLIT = "v1.0-small", "small_val"
SCENES, KEYFRAMES = 6, 2
KINDS = {"car": "vehicle.car", "truck": "vehicle.truck", "pedestrian": "human.pedestrian.adult"}


@dataclass(frozen=True)
class OwnMetricWorld:
    """Raw tables on disk: six scenes, the first three by night, with three classes."""

    root: Path
    boxes: list[MadeUpBox]

    @classmethod
    def make(cls, root: Path) -> "OwnMetricWorld":
        rng = np.random.default_rng(5)
        scenes = [
            MadeUpScene(
                name=f"s{at}",
                description="Night" if at < SCENES // 2 else "",
                ego=[(100.0 * at, 2.0 * step) for step in range(KEYFRAMES)],
            )
            for at in range(SCENES)
        ]
        boxes = [
            MadeUpBox(
                sample=at * KEYFRAMES + step,
                category=category,
                centre=(100.0 * at + 4.5 * place - 16, 2.0 * step + rng.uniform(-28, 28), 1.0),
                size=(2.0, 4.0, 1.5),
                points=5,
            )
            for at in range(SCENES)
            for step in range(KEYFRAMES)
            for place, category in enumerate([*KINDS.values()] * 3)
        ]
        splits = {"small_train": ["s0"], SPLIT: [scene.name for scene in scenes]}
        write_version(root, VERSION, scenes, boxes, splits)
        return cls(root, boxes)

    def results(self, seed: int, noise: float) -> dict[str, Any]:
        """Every object found, moved, with a chance that falls from scene to scene; else 9 m beside it."""
        rng = np.random.default_rng(seed)
        names = {category: name for name, category in KINDS.items()}
        found: dict[str, list[dict[str, Any]]] = {
            sample_token(sample): [] for sample in range(SCENES * KEYFRAMES)
        }
        for box in self.boxes:
            x, y, z = box.centre
            dx, dy = rng.normal(0, noise, 2)
            away = 0.0 if rng.random() < 0.95 - 0.1 * (box.sample // KEYFRAMES) else 9.0
            centre, score = (x + dx, y + dy + away, z), rng.random()
            one = detection(box.sample, names[box.category], centre, score)
            found[sample_token(box.sample)].append(one)
        return {"meta": {}, "results": found}

    def fill(self, store: Store, folder: Path, arms: Mapping[str, float], seeds: int = 3) -> None:
        """Import runs of some arms, each with its noise in metres."""
        data = Data.of(self.root, VERSION, SPLIT)
        for arm, noise in arms.items():
            for seed in range(seeds):
                path = folder / f"{arm}-{seed}.json"
                path.write_text(json.dumps(self.results(100 * len(arm) + seed, noise)))
                import_results(store, path, Detector(variant=arm), data, seed=seed)
