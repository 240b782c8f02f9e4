"""Does a verdict keep its word? Made-up experiments of known truth, judged by the code that users get.

Run `python benchmarks/calibration.py`. Each repetition draws a validation set with scenes, draws the match
records that detectors would leave on it, writes them into a results folder, and asks `compare_arms` and
`decide`. Nothing is shortened on that way: records are written and read, scenes drawn again, differences
taken and judged. Only resamples are fewer (`--resamples`), and the data smaller than nuScenes: 20 scenes of
2 samples, and objects of 3 classes (the other 7 count AP 0, so that effects on mAP are .3 of a class's).
Printed is how often

- two identical arms are called different (mAP and NDS, 2, 3 and 5 seeds), and any of three arms that are
  identical to the reference, after Holm's correction;
- two arms that differ in each scene but not on average are called different, with much seed noise;
- a true difference of twice the minimum detectable effect is found.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from made_up_runs import MadeUpData, Spread, made_up_arms, made_up_records

from aqr_exp.evaluate.records import WHOLE
from aqr_exp.evaluate.scorer import Scorer
from aqr_exp.statistics.differences import compare_arms
from aqr_exp.statistics.estimates import ArmDifference
from aqr_exp.statistics.noise import Noise, detectable
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.verdicts import BETTER, WORSE, decide
from aqr_exp.store.store import Store

METRICS = ("mAP", "NDS")
SEEDS = (2, 3, 5)
OTHERS = ("first", "second", "third")
SPREAD = Spread(scene=0.5, seed=0.05, arm_seed=0.08, every=0.15)
SCENES, PER_SCENE, OBJECTS = 20, 2, 3.0
CLASSES = ("car", "pedestrian", "barrier")

Found = dict[tuple[str, int, str], ArmDifference]
"""Differences by arm, number of seeds and metric."""


def data_of(rng: np.random.Generator) -> MadeUpData:
    """A validation set."""
    return MadeUpData.draw(
        rng, scenes=SCENES, per_scene=PER_SCENE, objects=OBJECTS, present=CLASSES
    )


def experiment(
    repetition: int,
    *,
    seed: int,
    resamples: int,
    spread: Spread = SPREAD,
    others: Sequence[str] = OTHERS[:1],
    seeds: Sequence[int] = SEEDS,
) -> Found:
    """One repetition: every arm against the reference, with the first 2, 3 and 5 seeds."""
    rng = np.random.default_rng([seed, repetition])
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        arms = made_up_arms(
            store, rng, ("reference", *others), max(seeds), data=data_of(rng), spread=spread
        )
        found: Found = {}
        for arm in others:
            for count in seeds:
                differences = compare_arms(
                    arms["reference"][:count],
                    arms[arm][:count],
                    METRICS,
                    store=store,
                    settings=Resampling(resamples=resamples, seed=repetition),
                )
                found |= {(arm, count, metric): each for metric, each in differences.items()}
    return found


def repeated(run: Callable[[int], Found], repetitions: int, workers: int, name: str) -> list[Found]:
    """All repetitions."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(run, range(repetitions), chunksize=5))
    print(f"({name}: {repetitions} repetitions, {time.perf_counter() - begun:.0f} s)", flush=True)
    return found


def different(differences: Sequence[ArmDifference]) -> list[bool]:
    """Which of the comparisons shown together are called different."""
    return [verdict.word in {BETTER, WORSE} for verdict in decide(differences)]


def share(hits: Iterable[bool]) -> str:
    """How often, with the exact 95 % interval of a share."""
    hits = list(hits)
    ends = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    return f"{100 * sum(hits) / len(hits):5.1f} % [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def print_false_calls(found: Sequence[Found], name: str, seeds: Sequence[int] = SEEDS) -> None:
    """How often one arm is called different from the reference."""
    for metric in METRICS:
        for count in seeds:
            each = [one[OTHERS[0], count, metric] for one in found]
            print(
                f"{name}, {metric}, {count} seeds: called different "
                f"{share(different([one])[0] for one in each)}",
                flush=True,
            )


def print_family(found: Sequence[Found]) -> None:
    """How often any of several identical arms is called different."""
    for metric in METRICS:
        for count in SEEDS:
            hits = [any(different([one[arm, count, metric] for arm in OTHERS])) for one in found]
            print(f"any of {len(OTHERS)} identical arms, {metric}, {count} seeds: {share(hits)}")
    both = [
        any(different([one[arm, 3, metric] for arm in OTHERS for metric in METRICS]))
        for one in found
    ]
    print(f"any of {len(OTHERS)} identical arms by mAP or NDS, 3 seeds: {share(both)}", flush=True)


def minimum_detectable(found: Sequence[Found], count: int) -> float:
    """The minimum detectable effect on mAP, from the variances averaged over all repetitions."""
    each = [one[OTHERS[0], count, "mAP"] for one in found]
    seeds = np.mean([float(one.seed_sd or 0.0) ** 2 for one in each]) / count
    scenes = np.mean([float(one.scene_sd or 0.0) ** 2 for one in each])
    return detectable(
        Noise(variance=float(seeds), degrees=count - 1),
        Noise(variance=float(scenes), degrees=SCENES - 1),
        0.05,
        0.8,
    )


def shift_for(effect: float, seed: int, pairs: int = 100) -> float:
    """By how much every logit must rise so that mAP rises by an effect on average."""
    shifts = np.linspace(0, 2.5, 6)
    rises = np.zeros(len(shifts))
    for pair in range(pairs):
        rng = np.random.default_rng([seed, 99, pair])
        data, logit = data_of(rng), 0.8 + rng.normal(0, SPREAD.scene, SCENES)
        for place, shift in enumerate(shifts):
            records = made_up_records(data, logit + shift, np.random.default_rng([seed, pair]))
            rises[place] += Scorer(records.tables[WHOLE]).scores().mean_ap()[0] / pairs
    return float(np.interp(effect, rises - rises[0], shifts))


def print_power(count: int, repetitions: int, workers: int, seed: int, resamples: int) -> None:
    """How often twice the minimum detectable effect is found."""
    run = partial(experiment, seed=seed + count, resamples=resamples, seeds=(count,))
    pilot = repeated(run, repetitions // 8, workers, f"pilot, {count} seeds")
    shift = shift_for(2 * minimum_detectable(pilot, count), seed)
    moved = partial(run, spread=replace(SPREAD, effects={OTHERS[0]: shift}))
    found = repeated(moved, repetitions, workers, f"an effect, {count} seeds")
    each = [one[OTHERS[0], count, "mAP"] for one in found]
    minimum = minimum_detectable(found, count)
    means = np.array([one.mean for one in each])
    said = np.median([one.mde or 0.0 for one in each])
    print(
        f"minimum detectable effect with {count} seeds: {100 * minimum:.2f} points of mAP (median of "
        f"what was said: {100 * said:.2f}); true effect {100 * means.mean():.2f} "
        f"+- {100 * means.std() / len(means) ** 0.5:.2f}, which is {means.mean() / minimum:.2f} times "
        f"as large: found {share(decide([one])[0].word == BETTER for one in each)}",
        flush=True,
    )
    held = [bool(one.low <= means.mean() <= one.high) for one in each]  # type: ignore[operator]
    print(f"its intervals hold the true effect: {share(held)}", flush=True)


PARTS = ("identical", "effect", "uneven")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--effect-seeds", type=int, nargs="+", default=(3, 5))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    choices = parser.parse_args()
    run = partial(experiment, seed=choices.seed, resamples=choices.resamples)
    work = (choices.repetitions, choices.workers)
    if "identical" in choices.parts:
        same = repeated(partial(run, others=OTHERS), *work, "identical arms")
        print_false_calls(same, "identical arms")
        print_family(same)
    if "effect" in choices.parts:
        for count in choices.effect_seeds:
            print_power(count, *work, choices.seed, choices.resamples)
    if "uneven" in choices.parts:
        spread = replace(SPREAD, arm_seed=0.3, arm_scene=0.3)
        uneven = repeated(partial(run, spread=spread, seeds=(2, 3)), *work, "equal on average")
        print_false_calls(uneven, "equal on average", (2, 3))


if __name__ == "__main__":
    main()
