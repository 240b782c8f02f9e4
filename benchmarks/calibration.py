"""Does a verdict keep its word? Made-up experiments of known truth, judged by the code that users get.

Run `python benchmarks/calibration.py`. Each repetition draws a validation set with scenes, draws the match
records that detectors would leave on it, writes them into a results folder, and asks `compare_arms`.
Nothing is shortened on that way: records are written and read, scenes drawn again, differences
taken and judged. Only resamples are fewer (`--resamples`), and the data smaller than nuScenes: 20 scenes of
2 samples, and objects of 3 classes (the other 7 count AP 0, so that effects on mAP are .3 of a class's).
Printed is how often

- any of several arms is called different although none is, of metric values alone: with equal and scattered
  noise, one arm or the reference noisier, heavy tails, contamination and divergence, with and without an
  effect of the seed that all arms share (`--parts values`, which is quick);
- an effect as large as the minimum detectable one is found, of metric values alone;
- a sweep until decided finds an effect of .5 points, or one where there is none, and the runs that takes
  (`--parts sequential`);
- a sweep over nine values finds that the parameter matters, where it does and where it does not, and the
  interval of its best value holds that value (`--parts trend`);
- whoever adds seeds after each look, in any of five ways, is told of a difference where there is none
  (`--parts again`);
- two identical arms are called different, and any of three, through records and resamples;
- two arms that differ in each scene but not on average are called different on other scenes.
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
from scipy.optimize import brentq
from scipy.special import fdtrc, stdtr
from scipy.stats import binomtest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))

from made_up_runs import MadeUpData, Spread, made_up_arms

from aqr_exp.statistics.differences import compare_arms
from aqr_exp.statistics.dunnett import equal_arms
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import SeedNoise, run_tests, seed_noise
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.rule import (
    FIRST_SHARE,
    LATER_SHARE,
    Design,
    Rule,
    evidence,
    satterthwaite,
    shrunk,
)
from aqr_exp.statistics.sequential import walk
from aqr_exp.statistics.trend import curve_of, effect_of_values, factorial
from aqr_exp.statistics.verdicts import ArmDifference
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
    """One repetition: all arms against the reference, with the first 2, 3 and 5 seeds."""
    rng = np.random.default_rng([seed, repetition])
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        arms = made_up_arms(
            store, rng, ("reference", *others), max(seeds), data=data_of(rng), spread=spread
        )
        found: Found = {}
        for count in seeds:
            judged = compare_arms(
                arms["reference"][:count],
                [arms[arm][:count] for arm in others],
                METRICS,
                store=store,
                settings=Resampling(resamples=resamples, seed=repetition),
            )
            for metric, each in judged.items():
                found |= {(arm, count, metric): one for arm, one in zip(others, each, strict=True)}
    return found


def repeated(run: Callable[[int], Found], repetitions: int, workers: int, name: str) -> list[Found]:
    """All repetitions."""
    begun = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(run, range(repetitions), chunksize=5))
    print(f"({name}: {repetitions} repetitions, {time.perf_counter() - begun:.0f} s)", flush=True)
    return found


def share(hits: Iterable[bool] | np.ndarray) -> str:
    """How often, with the exact 95 % interval of a share."""
    hits = list(hits)
    ends = binomtest(sum(hits), len(hits)).proportion_ci(0.95)
    return f"{100 * sum(hits) / len(hits):5.1f} % [{100 * ends.low:.1f}, {100 * ends.high:.1f}]"


def print_false_calls(found: Sequence[Found], name: str, seeds: Sequence[int] = SEEDS) -> None:
    """How often any arm is called different from the reference, here and on other scenes."""
    others = list(dict.fromkeys(arm for arm, _, _ in found[0]))
    for metric in METRICS:
        for count in seeds:
            each = [[one[arm, count, metric] for arm in others] for one in found]
            here = share(any(arm.differs for arm in one) for one in each)
            there = share(any(bool(arm.elsewhere) for arm in one) for one in each)
            print(
                f"{name}, {metric}, any of {len(others)}, {count} seeds: {here}; "
                f"on other scenes as well {there}",
                flush=True,
            )


WORLDS = (
    "equal",
    "scattered",
    "one twice",
    "reference twice",
    "t4",
    "contaminated",
    "diverged",
    "shared seed effect",
)


def values_of(world: str, arms: int, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Metric values [arms, seeds] without any difference; one run's sd is 1 where nothing else is said."""
    values = rng.normal(0, 1, (arms, seeds))
    if world == "scattered":
        values *= np.exp(0.3 * rng.normal(size=(arms, 1)))
    elif world in {"one twice", "reference twice"}:
        values[int(world == "one twice")] *= 2
    elif world == "t4":
        values = rng.standard_t(4, (arms, seeds)) / 2**0.5
    elif world == "contaminated":
        values -= 4 * (rng.random((arms, seeds)) < 0.05)
    elif world == "diverged":
        values -= 80 * (rng.random((arms, seeds)) < 0.02)
    elif world == "shared seed effect":
        values = 0.9 * values + 0.44 * rng.normal(size=(1, seeds))
    return np.asarray(values)


def called(values: np.ndarray) -> list[bool]:
    """Which arms the tests of the product call different from the first one."""
    noise = noise_of(values)
    means = [float(one.mean() - values[0].mean()) for one in values[1:]]
    tests = run_tests(means, noise, [None] * len(means))
    return [tests.here(place) <= 0.05 for place in range(len(means))]


def noise_of(values: np.ndarray) -> SeedNoise:
    """The seed noise of [arms, seeds] values."""
    arms = [ArmMean(n=len(one), values=tuple(one), seeds=tuple(range(len(one)))) for one in values]
    return seed_noise(arms[0], arms[1:], [], Resampling())


def any_called(values: np.ndarray) -> np.ndarray:
    """Whether any arm of each of [R, arms, seeds] experiments is called different from the first one."""
    count, arms, seeds = values.shape
    means, squares = moments(values, np.full((count, arms), seeds))
    s2 = squares.sum(axis=1, keepdims=True) / (arms * (seeds - 1))
    parts = shrunk(squares[:, 1:], seeds, s2), shrunk(squares[:, :1], seeds, s2)
    degrees = satterthwaite(parts, (seeds, seeds), arms * (seeds - 1))
    t = np.abs(means[:, 1:] - means[:, :1]) / np.sqrt(parts[0] + parts[1])
    # Of most experiments no arm is beyond its own bound, let alone that of all of them.
    maybe = (2 * stdtr(degrees, -t) <= 0.05).any(axis=1)
    found = np.zeros(count, dtype=bool)
    found[maybe] = [any(called(one)) for one in values[maybe]]
    return found


def moments(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and sums of squares [R, arms] of the first `counts` seeds of each arm."""
    there = np.arange(values.shape[2]) < counts[:, :, None]
    means = np.where(there, values, 0).sum(axis=2) / counts
    return means, np.where(there, (values - means[:, :, None]) ** 2, 0).sum(axis=2)


def print_sequential(repetitions: int, seed: int) -> None:
    """Power, false alarms and runs of sweeps until decided: sd .25, smallest effect of interest .5."""
    for world in WORLDS:
        for arms in (2, 3, 5, 9):
            rng = np.random.default_rng([seed, arms])
            values = np.array([values_of(world, arms, 10, rng) / 4 for _ in range(repetitions)])
            found, runs = walk(values, 3, 0.5)
            line = (
                f"until decided, {arms} arms, {world}: none differs: {share(found.any(axis=1))}, "
            )
            line += f"{runs.mean():.1f} runs"
            values[:, 1] += 0.5
            found, runs = walk(values, 3, 0.5)
            line += f"; one by .5: found {share(found[:, 0])}, {runs.mean():.1f} runs"
            others = share(found[:, 1:].any(axis=1)) if arms > 2 else "none"
            print(f"{line}, others called {others}", flush=True)


WAYS = ("one", "two", "as many again", "one to five", "one of reference and leader")
MOST_SEEDS = 25


def again(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether a later look calls any arm different, and which arm leads."""
    means, squares = moments(values, counts)
    degrees = counts.sum(axis=1, keepdims=True) - counts.shape[1]
    size = 1 / (1 / counts[:, 1:] + 1 / counts[:, :1])
    difference = means[:, 1:] - means[:, :1]
    t2 = difference**2 * size / (squares.sum(axis=1, keepdims=True) / degrees)
    level = LATER_SHARE * 0.05 / (counts.shape[1] - 1)
    beyond = evidence(t2, degrees, size) >= -np.log(level)
    return beyond.any(axis=1), np.abs(difference).argmax(axis=1) + 1


def print_again(repetitions: int, seed: int) -> None:
    """False alarms of whoever adds seeds after each look, up to 25."""
    for world in ("equal", "shared seed effect"):
        for arms, first in ((2, 3), (3, 3), (5, 3), (9, 3), (2, 5), (3, 5), (5, 5), (3, 2)):
            rng = np.random.default_rng([seed, arms, first])
            draw = (values_of(world, arms, MOST_SEEDS, rng) for _ in range(repetitions))
            values, rows = np.array([*draw]), np.arange(repetitions)
            at_once = any_called(values[:, :, :first])
            told = [f"at once {share(at_once)}"]
            for way in WAYS:
                hits, counts = at_once.copy(), np.full((repetitions, arms), first)
                while counts[:, 0].min() < MOST_SEEDS:
                    more = np.full_like(counts, WAYS.index(way) + 1)
                    if way == "as many again":
                        more = counts.copy()
                    elif way == "one to five":
                        more = more * 0 + rng.integers(1, 6, (repetitions, 1))
                    elif way == WAYS[-1]:
                        more = np.zeros_like(counts)
                        more[:, 0] = more[rows, again(values, counts)[1]] = 1
                    counts = np.minimum(counts + more, MOST_SEEDS)
                    hits |= again(values, counts)[0]
                told.append(f"{way} {share(hits)}")
            print(
                f"looking again, {arms} arms of {first} seeds, {world}: {'; '.join(told)}",
                flush=True,
            )


def print_values(repetitions: int, seed: int) -> None:
    """False alarms of families, and how often the minimum detectable effect is found."""
    for arms, seeds in ((2, 3), (3, 3), (5, 3), (9, 3), (3, 5), (5, 5)):
        for world in WORLDS:
            rng = np.random.default_rng([seed, arms, seeds])
            values = np.array([values_of(world, arms, seeds, rng) for _ in range(repetitions)])
            print(f"{arms} arms of {seeds} seeds, {world}: {share(any_called(values))}", flush=True)
    for arms, seeds in ((3, 3), (4, 3), (9, 3), (3, 5)):
        design = Design(other=seeds, reference=seeds, further=(arms - 2) * (seeds - 1))
        rule = Rule(design=design, joint=equal_arms(arms - 1), comparisons=arms - 1, level=0.05)
        effect = rule.detectable((1.0, 1.0, 1.0), 0.8)
        rng = np.random.default_rng([seed, arms, seeds])
        hits = []
        for _ in range(repetitions):
            values = values_of("equal", arms, seeds, rng)
            values[1] += effect
            hits.append(called(values)[0])
        print(
            f"{arms} arms of {seeds} seeds: {effect / 4:.3f} points detectable at an sd of .25: found "
            f"{share(hits)}; paired and Holm {paired_effect(arms, seeds, 40_000, rng) / 4:.3f}",
            flush=True,
        )


SCALES = np.array([0, 0.5, 1, 2, 2.5, 4, 5, 8, 10])
NOTES = np.interp(SCALES, [0, 1, 2, 5, 8, 10], [0, 0.07, 0.27, 0.67, 0.57, 0.27])
CURVES = {
    "the notes' curve": NOTES,
    "half of it": NOTES / 2,
    "a rise": 0.067 * SCALES,
    "an early peak": 0.67 * np.exp(-((SCALES - 1) ** 2)),
}


def matters(values: np.ndarray) -> np.ndarray:
    """Whether each of [R, K, n] sweeps over K values finds that the parameter matters.

    Most follow from the best contrast alone: its own p is at most that of all six, and that is
    at most six times it.
    """
    count, arms, seeds = values.shape
    u = np.arange(arms) / (arms - 1)
    bumps = [np.exp(-8 * (u - peak) ** 2) for peak in (0.25, 0.5, 0.75)]
    contrasts = np.array([u, u / (u + 0.2), np.exp(2 * u), *bumps])
    contrasts -= contrasts.mean(axis=1, keepdims=True)
    means, squares = moments(values, np.full((count, arms), seeds))
    parts = shrunk(squares, seeds, squares.sum(axis=1, keepdims=True) / (arms * (seeds - 1)))
    spread = parts @ contrasts.T**2
    degrees = spread**2 / (parts**2 @ contrasts.T**4) * (5 + seeds)
    degrees = np.minimum(degrees, arms * (seeds - 1))
    size, s2 = (
        np.abs(means @ contrasts.T),
        squares.sum(axis=1, keepdims=True) / (arms * (seeds - 1)),
    )
    pooled = 2 * stdtr(arms * (seeds - 1), -size / np.sqrt(s2 / seeds * (contrasts**2).sum(axis=1)))
    p = np.maximum(2 * stdtr(degrees, -size / np.sqrt(spread)), pooled).min(axis=1)
    # Where arms of one seed seem to move together the product compares them seed by seed.
    shift = arms * ((values.mean(axis=1) - values.mean(axis=(1, 2))[:, None]) ** 2).sum(axis=1)
    rest = squares.sum(axis=1) - shift
    paired = fdtrc(seeds - 1, (arms - 1) * (seeds - 1), shift / rest * (arms - 1)) < 0.01
    found = 6 * p <= FIRST_SHARE * 0.05
    for at in np.flatnonzero(paired | ((p <= 0.05) & ~found)):
        effect = effect_of_values(noise_of(values[at]), arms)
        found[at] = effect is not None and effect.p <= 0.05
    return found


def print_trend(repetitions: int, seed: int) -> None:
    """How often a parameter is found to matter, and the interval of its best value right; sd .25."""
    for seeds in (3, 2):
        for name, curve in CURVES.items():
            rng = np.random.default_rng([seed, seeds])
            drawn = rng.normal(0, 0.25, (repetitions, 9, seeds)) + curve[:, None]
            print(f"9 values of {seeds} seeds, {name}: {share(matters(drawn))}", flush=True)
        for world in WORLDS:
            rng = np.random.default_rng([seed, seeds])
            drawn = np.array([values_of(world, 9, seeds, rng) for _ in range(repetitions)])
            print(f"9 values of {seeds} seeds, flat, {world}: {share(matters(drawn))}", flush=True)
    for name, curve in CURVES.items():
        rng = np.random.default_rng(seed)
        holds, regret = [], []
        for values in rng.normal(0, 0.25, (repetitions // 10, 9, 3)) + curve[:, None]:
            noise = noise_of(values)
            fit = curve_of([*SCALES], [*values.mean(axis=1)], [noise.variance / 3] * 9)
            truth = np.interp(fit.at, SCALES, curve)
            best = fit.at[np.argmax(truth)]
            holds.append(fit.best_low <= best * (1 + 1e-9) and best <= fit.best_high * (1 + 1e-9))
            regret.append(truth.max() - np.interp(fit.best, SCALES, curve))
        print(
            f"9 values of 3 seeds, {name}: the interval of the best value holds it: {share(holds)}; "
            f"the value is short of the best by {np.mean(regret):.3f}",
            flush=True,
        )


def print_factorial(repetitions: int, seed: int) -> None:
    """How often the main effect of 8 scales by 4 windows is found; windows have none; sd .25."""
    for each, of_baseline in ((1, 12), (1, 3), (3, 3)):
        for name, height in (("the notes' curve", 1.0), ("half of it", 0.5), ("flat", 0.0)):
            rng = np.random.default_rng(seed)
            hits = np.zeros((repetitions, 3), dtype=bool)
            for number in range(repetitions):
                values = height * np.delete(NOTES, 5)[:, None, None] + rng.normal(
                    0, 0.25, (8, 4, each)
                )
                cells = [
                    (a, b, ArmMean(n=each, values=tuple(values[a, b]))) for a, b in np.ndindex(8, 4)
                ]
                beside = ArmMean(n=of_baseline, values=tuple(rng.normal(0, 0.25, of_baseline)))
                scale, window, both = factorial(cells, [beside])
                p = [one.p if one else 1.0 for one in (scale, window)]
                hits[number] = np.array([*p, 1.0 if both is None else both]) <= 0.05
            print(
                f"8 x 4 cells of {each}, baseline of {of_baseline}, {name}: scale {share(hits[:, 0])}, "
                f"window {share(hits[:, 1])}, interaction {share(hits[:, 2])}",
                flush=True,
            )


def paired_effect(arms: int, seeds: int, repetitions: int, rng: np.random.Generator) -> float:
    """What paired t tests after Holm detect in 80 %, one arm being different: the verdict of old."""
    drawn = rng.normal(0, 1, (repetitions, arms, seeds))
    pairs = drawn[:, 1:] - drawn[:, :1]
    root = np.sqrt(pairs.var(axis=2, ddof=1) / seeds)

    def power(effect: float) -> float:
        t = pairs.mean(axis=2)
        t[:, 0] += effect
        p = 2 * stdtr(seeds - 1, -np.abs(t / root))
        # Holm: at its rank, all smaller p being found as well.
        order = np.sort(p, axis=1)
        going = np.logical_and.accumulate(order * np.arange(arms - 1, 0, -1) <= 0.05, axis=1)
        return float(np.mean(((order == p[:, :1]) & going).any(axis=1)))

    return float(brentq(lambda effect: power(effect) - 0.8, 0.1, 60, xtol=1e-3))


PARTS = ("values", "trend", "sequential", "again", "identical", "uneven")


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    choices = parser.parse_args()
    run = partial(experiment, seed=choices.seed, resamples=choices.resamples)
    work = (choices.repetitions, choices.workers)
    if "values" in choices.parts:
        print_values(choices.repetitions, choices.seed)
    if "trend" in choices.parts:
        print_trend(choices.repetitions, choices.seed)
        print_factorial(choices.repetitions, choices.seed)
    if "sequential" in choices.parts:
        print_sequential(choices.repetitions, choices.seed)
    if "again" in choices.parts:
        print_again(choices.repetitions, choices.seed)
    if "identical" in choices.parts:
        same = repeated(partial(run, others=OTHERS), *work, "identical arms")
        print_false_calls(same, "identical arms")
    if "uneven" in choices.parts:
        spread = replace(SPREAD, arm_seed=0.3, arm_scene=0.3)
        uneven = repeated(partial(run, spread=spread, seeds=(2, 3)), *work, "equal on average")
        print_false_calls(uneven, "equal on average", (2, 3))


if __name__ == "__main__":
    main()
