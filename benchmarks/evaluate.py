"""Time of evaluation at the size of nuScenes' validation split, beside the official devkit.

Run `python benchmarks/evaluate.py`. It makes up 150 scenes with 6,019 samples, 40 ground truths and 200
detections each, and prints: the official pipeline and ours from result file to metrics, timed in turns in
this one process, with the largest difference of any metric; and 1,000 paired bootstrap resamples over
scenes of two runs. Processor time stands beside wall time, for machines that are shared. `--samples` makes
it smaller, `--rounds` repeats the timing and takes medians.
"""

import argparse
import contextlib
import gc
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from made_up_tables import MadeUpBox, MadeUpScene, sample_token, write_version

from aqr_exp.config.schema.description import NUSCENES, DetectionClass
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.conditions import RunScorer, sample_weights
from aqr_exp.evaluate.evaluation import make_records, records_of_file
from aqr_exp.evaluate.ground_truth import load_ground_truth
from aqr_exp.evaluate.predictions import read_predictions
from aqr_exp.evaluate.records import WHOLE, MatchRecords, read_records, write_records
from aqr_exp.evaluate.scorer import Scorer

VERSION, SPLIT = "v1.0-benchmark", "benchmark_val"
ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
SCENES, TRUTHS, BOXES, RESAMPLES = 150, 40, 200, 1000


def _kind(name: str) -> DetectionClass:
    return NUSCENES.classes[NUSCENES.names.index(name)]


def make_world(root: Path, samples: int) -> list[MadeUpBox]:
    """Write the tables."""
    rng = np.random.default_rng(0)
    scenes = [MadeUpScene(name=f"scene-{n:04d}", description="") for n in range(SCENES)]
    categories = list(NUSCENES.class_of)
    boxes: list[MadeUpBox] = []
    for sample in range(samples):
        ego = rng.uniform(0, 2000, 2)
        scene = scenes[sample * SCENES // samples]
        scene.ego.append(ego.tolist())
        place = np.concatenate([ego + rng.normal(0, 20, (TRUTHS, 2)), np.ones((TRUTHS, 1))], axis=1)
        columns = zip(
            rng.choice(categories, TRUTHS).tolist(),
            place.tolist(),
            rng.uniform(0.5, 5, (TRUTHS, 3)).tolist(),
            rng.uniform(-3, 3, TRUTHS).tolist(),
            rng.uniform(0, 1, TRUTHS).tolist(),
            strict=True,
        )
        boxes += [
            MadeUpBox(
                sample=sample,
                category=category,
                centre=centre,
                size=size,
                yaw=yaw,
                attribute=_kind(NUSCENES.class_of[category]).attribute(speed),
                track=f"{scene.name}-{truth}-{category}",
            )
            for truth, (category, centre, size, yaw, speed) in enumerate(columns)
        ]
    write_version(root, VERSION, scenes, boxes, {SPLIT: [scene.name for scene in scenes]})
    return boxes


def make_results(path: Path, boxes: list[MadeUpBox], samples: int, seed: int) -> None:
    """Write a result file: each ground truth found up to three times, the rest anywhere."""
    rng = np.random.default_rng(seed)
    results: dict[str, list[dict[str, Any]]] = {}
    truth = np.arange(BOXES) % TRUTHS
    names = np.array(CLASS_NAMES)
    for sample in range(samples):
        token = sample_token(sample)
        truths = boxes[sample * TRUTHS : (sample + 1) * TRUTHS]
        hit = (np.arange(BOXES) < 3 * TRUTHS) & (rng.random(BOXES) < 0.6)
        right = np.array([NUSCENES.class_of[box.category] for box in truths])[truth]
        centre = np.array([box.centre for box in truths])[truth]
        centre += rng.normal(0, 1, (BOXES, 3)) * np.where(hit, 1.0, 15.0)[:, None]
        half_yaw = np.array([box.yaw for box in truths])[truth] / 2 + rng.normal(0, 0.15, BOXES)
        zero = np.zeros(BOXES)
        columns = {
            "translation": centre,
            "size": np.array([box.size for box in truths])[truth]
            * rng.uniform(0.8, 1.2, (BOXES, 3)),
            "rotation": np.stack([np.cos(half_yaw), zero, zero, np.sin(half_yaw)], axis=1),
            "velocity": rng.normal(0, 2, (BOXES, 2)),
            "detection_name": np.where(hit, right, rng.choice(names, BOXES)),
            # As a detector in single precision gives them.
            "detection_score": rng.beta(np.where(hit, 2, 1), np.where(hit, 2, 4)).astype(
                np.float32
            ),
        }
        rows = zip(*(column.astype(object).tolist() for column in columns.values()), strict=True)
        found = [dict(zip(columns, row, strict=True)) for row in rows]
        for box in found:
            box["sample_token"] = token
            box["attribute_name"] = _kind(box["detection_name"]).attribute(abs(box["velocity"][0]))
        results[token] = found
    path.write_bytes(msgspec.json.encode({"meta": {"use_lidar": True}, "results": results}))


class Timed:
    """Runs something and keeps its result, wall time and processor time (all threads), in seconds."""

    def __init__(self, work: Callable[[], Any]) -> None:
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        self.result = work()
        self.wall, self.cpu = time.perf_counter() - wall, time.process_time() - cpu

    def line(self, name: str) -> str:
        """The figures behind a name."""
        return f"{name:44s}{self.wall:9.2f} s wall {self.cpu:9.2f} s processor"


def official(nusc: Any, path: Path) -> dict[str, float]:
    """The devkit, from result file to metrics; its tables are loaded already."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    config = config_factory("detection_cvpr_2019")
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stderr(io.StringIO()):
        evaluation = DetectionEval(nusc, config, str(path), SPLIT, scratch, verbose=False)
        summary = evaluation.evaluate()[0]
    values = {"mAP": summary.mean_ap, "NDS": summary.nd_score}
    for name in CLASS_NAMES:
        values |= {f"AP/{name}/{d}": summary.get_label_ap(name, d) for d in config.dist_ths}
        for error in ERRORS:
            values[f"{error}/{name}"] = summary.get_label_tp(name, error)
    return values


def ours(root: Path, path: Path) -> dict[str, float]:
    """Ours, from result file to metrics; the ground truth lies beside the data as arrays."""
    records = records_of_file(path, root, VERSION, SPLIT, bands=False)
    scores = Scorer(records.tables[WHOLE]).scores()
    metrics = scores.metrics()
    values = {"mAP": metrics["mAP"], "NDS": metrics["NDS"]}
    for label, name in enumerate(CLASS_NAMES):
        for place, distance in enumerate((0.5, 1.0, 2.0, 4.0)):
            values[f"AP/{name}/{distance}"] = scores.ap[0, label, place]
        for place, error in enumerate(
            ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
        ):
            values[f"{error}/{name}"] = scores.errors[0, label, place]
    return values


def print_steps(root: Path, path: Path) -> None:
    """Where our time goes."""
    truth = Timed(lambda: load_ground_truth(root, VERSION, SPLIT))
    print(truth.line("  ground truth from its arrays"))
    read = Timed(lambda: read_predictions(path, truth.result))
    print(read.line("  reading and checking the file"))
    match = Timed(lambda: make_records(truth.result, read.result, bands=False))
    print(match.line("  filters and matching"))
    scorer = Timed(lambda: Scorer(match.result.tables[WHOLE]))
    print(scorer.line("  laying out for weighting"))
    print(Timed(scorer.result.scores).line("  metrics from the matches"))
    bands = Timed(lambda: make_records(truth.result, read.result))
    print(bands.line("  (filters and matching, range bands too)"))
    kept = root / "matches.npz"
    print(Timed(lambda: write_records(kept, bands.result)).line("  writing match records"))
    print(Timed(lambda: read_records(kept)).line("  reading match records"))
    print(f"  match records with range bands: {kept.stat().st_size / 1e6:.1f} MB")


def paired(runs: list[MatchRecords], workers: int) -> np.ndarray:
    """Differences [resamples, 2] of mAP and NDS under the same resamples of scenes."""
    rng = np.random.default_rng(0)
    scenes = len(runs[0].samples.scene_names)
    drawn = rng.multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)
    weights = sample_weights(runs[0].samples, drawn)
    scorers = [RunScorer(run) for run in runs]

    def differences(part: np.ndarray) -> np.ndarray:
        first, second = (scorer.scores(weights=part) for scorer in scorers)
        return np.stack([second.mean_ap() - first.mean_ap(), second.nds() - first.nds()], axis=1)

    with ThreadPoolExecutor(workers) as pool:
        return np.concatenate(list(pool.map(differences, np.array_split(weights, 10 * workers))))


def compare_with_devkit(root: Path, path: Path, rounds: int) -> None:
    """Both from result file to metrics, in turns."""
    from nuscenes import NuScenes

    load = Timed(lambda: NuScenes(VERSION, str(root), verbose=False))
    print(load.line("devkit, loading its tables (not counted)"))
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(Timed(lambda: ours(root, path)))
        theirs.append(Timed(lambda: official(load.result, path)))
    for name, each in (("official", theirs), ("ours", mine)):
        middle = sorted(each, key=lambda one: one.wall)[len(each) // 2]
        print(middle.line(f"{name}, result file to metrics"))
    wall, cpu = (
        statistics.median(getattr(one, kind) for one in theirs)
        / statistics.median(getattr(one, kind) for one in mine)
        for kind in ("wall", "cpu")
    )
    expected, found = theirs[0].result, mine[0].result
    known = [name for name in expected if not np.isnan(expected[name])]
    worst = max(abs(found[name] - expected[name]) for name in known)
    print(f"ratio {wall:.1f} by the wall, {cpu:.1f} by the processor")
    print(f"largest difference of {len(known)} numbers {worst:.1e}; mAP {found['mAP']:.4f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=6019)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="threads that resample")
    parser.add_argument("--without-devkit", action="store_true")
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        boxes = make_world(root, choices.samples)
        paths = [root / "first.json", root / "second.json"]
        for seed, path in enumerate(paths):
            make_results(path, boxes, choices.samples, seed + 1)
        del boxes
        size = paths[0].stat().st_size / 1e6
        print(f"{choices.samples} samples x {TRUTHS} ground truths x {BOXES} boxes, {size:.0f} MB")
        cold = Timed(lambda: load_ground_truth(root, VERSION, SPLIT))
        print(cold.line("ours, tables to arrays, once a data set"))
        if not choices.without_devkit:
            compare_with_devkit(root, paths[0], choices.rounds)
        print_steps(root, paths[0])
        runs = [records_of_file(path, root, VERSION, SPLIT, bands=False) for path in paths]
        drawn = Timed(lambda: paired(runs, choices.workers))
        print(drawn.line(f"{RESAMPLES} paired resamples, {choices.workers} threads"))
        low, high = np.percentile(drawn.result, [2.5, 97.5], axis=0)
        print(
            f"differences: mAP {low[0]:+.4f} to {high[0]:+.4f}, NDS {low[1]:+.4f} to {high[1]:+.4f}"
        )


if __name__ == "__main__":
    main()
