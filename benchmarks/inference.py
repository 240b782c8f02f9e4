"""Time of a comparison: cold and warm, at the size of nuScenes' validation split and on small runs.

Run `python benchmarks/inference.py`. The large part makes up two runs of 150 scenes with 6,000 samples, 40
ground truths and 200 detections each, and draws the scenes 1,000 times; the small part compares three arms
of three seeds on 20 scenes of 8 samples, as a table does. Processor time stands beside wall time, for
machines that are shared.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from made_up_runs import MadeUpData, kept_run, made_up_arms, made_up_records

from aqr_exp.statistics.differences import arm_intervals, compare_arms
from aqr_exp.store.store import Store

METRICS = ("mAP", "NDS")


def timed(name: str, work: Callable[[], Any]) -> Any:
    """Run something and print its wall time and processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:58s}{wall:9.3f} s wall {cpu:9.3f} s processor", flush=True)
    return result


def large(store: Store) -> None:
    """Two runs at full size."""
    rng = np.random.default_rng(0)
    data = MadeUpData.draw(rng, scenes=150, per_scene=40, objects=4.0)
    runs = [
        kept_run(store, arm, 0, made_up_records(data, rng.normal(0.8, 0.5, 150), rng, false=17.0))
        for arm in ("first", "second")
    ]

    def compare() -> Any:
        return compare_arms(runs[:1], [runs[1:]], METRICS, store=store)

    timed("two large runs, 1,000 paired resamples, cold", compare)
    shutil.rmtree(store.cache_dir / "inference" / "results")
    timed("the same, runs' resamples in the cache", compare)
    timed("the same, the comparison in the cache", compare)


def small(store: Store) -> None:
    """A table of nine small runs."""
    rng = np.random.default_rng(0)
    data = MadeUpData.draw(rng, scenes=20, per_scene=8)
    arms = made_up_arms(store, rng, ("a", "b", "c"), 3, data=data)

    def table() -> Any:
        intervals = [arm_intervals(rows, METRICS, store=store) for rows in arms.values()]
        return intervals, compare_arms(arms["a"], [arms["b"], arms["c"]], METRICS, store=store)

    timed("nine small runs: intervals, differences, verdicts, cold", table)
    _, found = timed("the same, warm", table)
    print(*(one.sentence for each in found.values() for one in each), sep="\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-large", action="store_true")
    choices = parser.parse_args()
    for part in (small,) if choices.without_large else (small, large):
        with tempfile.TemporaryDirectory() as scratch:
            part(Store(Path(scratch)))


if __name__ == "__main__":
    main()
