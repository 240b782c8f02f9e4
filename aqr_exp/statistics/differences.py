"""Differences between two arms of a store, and means of one, each with an interval that knows its noise.

docs/statistics.md describes the model and how it was checked. What was computed once is read from the
cache: a comparison by the records of its runs, a run's resamples by its records alone.

Letters: R resamples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.estimates import ArmMean, estimate_mean
from aqr_exp.statistics.grouping import replicates
from aqr_exp.statistics.metrics import (
    CLASS_AP,
    GROUND_TRUTHS,
    class_names,
    follows_from_records,
    is_own,
    metric_name,
)
from aqr_exp.statistics.noise import Noise, SceneNoise, shared_scene_noise, unpaired_scene_noise
from aqr_exp.statistics.own_metrics import OwnScores, ResampledOwn
from aqr_exp.statistics.resampling import ResampledRun, Resampling
from aqr_exp.statistics.run_scores import (
    InferenceCache,
    MissingRecordsError,
    RunScores,
    cache_key,
    records_digest,
)
from aqr_exp.statistics.seed_checks import judge_openly
from aqr_exp.statistics.sequential import with_decision
from aqr_exp.statistics.verdicts import ArmDifference
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import counting_runs
from aqr_exp.store.decisions import Decided, all_decided, decided_of
from aqr_exp.store.looks import Looks
from aqr_exp.store.store import Store

DEFAULT = Resampling()


def compare_arms(
    reference: Sequence[RunRow],
    others: Sequence[Sequence[RunRow]],
    metrics: Sequence[str],
    *,
    store: Store,
    further: Sequence[Sequence[RunRow]] = (),
    condition: str | None = None,
    settings: Resampling = DEFAULT,
    looks: Looks | None = None,
) -> dict[str, list[ArmDifference]]:
    """The differences of some arms to their reference by metric, each metric judged as one family.

    Args:
        reference: Runs of the reference arm, in any order; those not completed are passed over.
        metrics: Names such as `mAP` or `AP/car`; whatever a row has as a number can be compared, over
            seeds only where match records do not give it.
        further: Arms of the same setting whose seeds tell of noise as well.
        condition: A name of `CONDITIONS`; None for all of the data.
        looks: The journal in which verdicts that are shown are counted; None where none is.

    Raises:
        RequestError: There is no such condition.
    """
    stands = standings(store, looks, reference, others)
    arms = [
        arm_intervals(rows, metrics, store=store, condition=condition, settings=settings)
        for rows in (reference, *others, *further)
    ]
    settings = replace(settings, classes=len(class_names(reference)))
    pairs = [_measured((reference, rows), metrics, condition, store, settings) for rows in others]
    count = 1 + len(others)
    judged = {
        metric: judge_openly(
            metric,
            condition,
            arms[0][metric],
            [arm[metric] for arm in arms[1:count]],
            [arm[metric] for arm in arms[count:]],
            [_scene_noise(pair[metric]) for pair in pairs],
            settings,
            [one.look for one in stands],
        )
        for metric in metrics
    }
    for metric, found in judged.items():
        for at, (one, standing) in enumerate(zip(found, stands, strict=True)):
            decided = standing.decided
            if decided is not None and (metric, condition) == (decided.design.primary, None):
                found[at] = with_decision(one, decided, standing.arm)
    return judged


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What was seen of an arm beside its reference before.

    Attributes:
        arm: As its runs' names begin.
        look: Which look at the two this is, from 1.
        decided: The decisions about them, where their sweep runs until it is decided.
    """

    arm: str = ""
    look: int = 1
    decided: Decided | None = None

    @property
    def stamp(self) -> tuple[int, str]:
        """What a verdict depends on."""
        return self.look, self.decided.hash if self.decided else ""


def standings(
    store: Store,
    looks: Looks | None,
    reference: Sequence[RunRow],
    others: Sequence[Sequence[RunRow]],
) -> list[Standing]:
    """What was seen of some arms beside their reference before; nothing without a journal."""
    completed = [counting_runs(rows) for rows in (reference, *others)]
    known = [] if looks is None else all_decided(store)
    found: list[Standing] = []
    for rows in completed[1:]:
        if looks is None or not completed[0] or not rows:
            found.append(Standing())
            continue
        names = {first_of(row.name) for row in (*completed[0], *rows)}
        ours, arm = arm_of(completed[0][0].name), arm_of(rows[0].name)
        decided = decided_of(known, ours, arm, names)
        # Seeds were added by what the primary metric said: of all others it is no first look.
        look = max(looks.number(completed[0], rows), 1 if decided is None else 2)
        found.append(Standing(arm=arm, look=look, decided=decided))
    return found


def record_looks(
    looks: Looks,
    reference: Sequence[RunRow],
    others: Sequence[Sequence[RunRow]],
    shown: Sequence[Iterable[ArmDifference]],
) -> list[str]:
    """Write down the arms of which a verdict is shown; returns for each why that could not be, or nothing.

    Args:
        shown: What is shown of each arm. A comparison that could not be tested tells nothing.
    """
    return [
        looks.record(counting_runs(reference), counting_runs(rows))
        if any(one.p is not None for one in found)
        else ""
        for rows, found in zip(others, shown, strict=True)
    ]


def arm_intervals(
    rows: Sequence[RunRow],
    metrics: Sequence[str],
    *,
    store: Store,
    condition: str | None = None,
    settings: Resampling = DEFAULT,
) -> dict[str, ArmMean]:
    """The means of an arm by metric, each with its interval; as `compare_arms`."""
    return {
        metric: estimate_mean(
            metric, found["seeds"], found["values"], _scene_noise(found), settings
        )
        for metric, found in _measured((rows,), metrics, condition, store, settings).items()
    }


def arm_interval(
    rows: Sequence[RunRow],
    metric: str,
    condition: str | None = None,
    *,
    store: Store,
    settings: Resampling = DEFAULT,
) -> ArmMean:
    """The mean of an arm's one metric; see `arm_intervals`."""
    return arm_intervals(rows, [metric], store=store, condition=condition, settings=settings)[
        metric
    ]


def _scene_noise(found: Mapping[str, Any]) -> SceneNoise:
    variance, scenes = found["scene_variance"], found["scenes"]
    noise = None if variance is None else Noise(variance=variance, degrees=scenes - 1)
    return SceneNoise(noise=noise, scenes=scenes, note="; ".join(found["notes"]))


def _measured(
    arms: Sequence[Sequence[RunRow]],
    metrics: Sequence[str],
    condition: str | None,
    store: Store,
    settings: Resampling,
) -> Mapping[str, dict[str, Any]]:
    """By metric, the last arm's values and what scenes do to its mean, or to the difference of two.

    It comes from the cache where nothing it depends on has changed.
    """
    part = _condition(condition)
    chosen = [replicates(rows) for rows in arms]
    names = {metric: metric_name(metric, condition) for metric in metrics}
    key = cache_key(
        kind="measured, form 2",
        arms=[[_facts(store, row, names) for row in rows] for rows in chosen],
        metrics=list(metrics),
        condition=condition,
        draws=(settings.resamples, settings.seed),
    )
    cache = InferenceCache(store)
    kept = cache.read(key)
    if kept is not None:
        return kept
    wanted = any(follows_from_records(metric) for metric in metrics)
    scores = RunScores(store=store, settings=settings)
    of_runs = _Records(chosen if wanted else [], part, scores)
    sources: dict[str, _Records | None] = {
        metric: of_runs if follows_from_records(metric) else None for metric in metrics
    }
    for metric in filter(is_own, metrics):
        having = [[row for row in rows if metric in row.own] for rows in chosen]
        sources[metric] = _Records(having, part, OwnScores(metric, condition, store, settings))
    found = {
        metric: _sample(chosen, metric, name, part, sources[metric])
        for metric, name in names.items()
    }
    if not any(source and source.temporary for source in sources.values()):
        cache.keep(key, found)
    return found


def _condition(name: str | None) -> DataCondition:
    if name is None:
        return DataCondition()
    if name not in CONDITIONS:
        raise RequestError(
            f"unknown condition '{name}'{did_you_mean(name, CONDITIONS)} "
            f"(available: {', '.join(CONDITIONS)})"
        )
    return CONDITIONS[name]


def _facts(store: Store, row: RunRow, names: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a run that a result depends on."""
    return {
        "name": row.name,
        "seed": row.seed,
        "records": records_digest(store, row),
        "values": [row.metric(name) for name in names.values()],
        "own": [row.own.get(metric) for metric in names],
        "truths": [_no_truths(row, metric) for metric in names],
    }


_SAME = 1e-6
"""A metric may differ by so much from what the records give: the devkit's rounding is far below."""


class _Records:
    """The resampled scores of all runs of some arms on a part of the data, or why there are none."""

    def __init__(
        self,
        arms: Sequence[Sequence[RunRow]],
        condition: DataCondition,
        scores: RunScores | OwnScores,
    ) -> None:
        self.notes: list[str] = []
        self.runs: dict[str, ResampledRun | ResampledOwn] = {}
        # Records that a run names were not found: they may come back, so nothing is to be kept.
        self.temporary = False
        missing: dict[str, list[str]] = {}
        for row in (row for rows in arms for row in rows):
            try:
                self.runs[row.name] = scores.of(row, condition)
            except MissingRecordsError as error:
                missing.setdefault(error.reason, []).append(error.run)
                self.temporary |= error.temporary
        for reason, runs in missing.items():
            self.notes.append(f"scene noise is unknown: {_some(runs)}: {reason}")
        self.complete = not self.notes
        if len({run.samples_digest for run in self.runs.values()}) > 1:
            self.complete = False
            self.notes.append("the runs were scored on different samples")


def _some(names: Sequence[str]) -> str:
    few = ", ".join(names[:3])
    return f"{few} and {len(names) - 3} more" if len(names) > 3 else few


def _no_truths(row: RunRow, metric: str) -> bool:
    """Whether a run was scored without any object of the class that a metric is of."""
    name = metric.removeprefix(CLASS_AP)
    return name != metric and row.metric(GROUND_TRUTHS + name) == 0


def _sample(
    arms: Sequence[Sequence[RunRow]],
    metric: str,
    name: str,
    part: DataCondition,
    records: _Records | None,
) -> dict[str, Any]:
    """A metric of every run of some arms; with scene noise where all of them have fitting records.

    `records` is None where a metric has none.
    """
    notes: list[str] = []
    chosen: list[list[tuple[RunRow, float]]] = []
    fits = records is not None and records.complete
    for rows in arms:
        chosen.append([])
        for row in rows:
            stored = row.metric(name)
            run = None if records is None else records.runs.get(row.name)
            # NaN where there is nothing to measure; None without records.
            scored = None if run is None else run.observed(metric, part)
            if stored is not None and scored is not None and abs(stored - scored) > _SAME:
                notes.append(f"{row.name}: {metric} in metrics.json is not what its records give")
                fits = False
            if _no_truths(row, metric) or (scored is not None and np.isnan(scored)):
                notes.append(f"no ground truth to measure {metric} on")
            elif stored is not None or scored is not None:
                chosen[-1].append((row, float(scored if stored is None else stored)))  # type: ignore[arg-type]
    notes += [] if records is None else records.notes
    shared = SceneNoise()
    if records is not None and fits and any(chosen):
        shared, more = _noise_of_scenes(chosen, metric, part, records)
        notes += more
    return {
        "seeds": [row.seed for row, _ in chosen[-1]],
        "values": [value for _, value in chosen[-1]],
        "scene_variance": None if shared.noise is None else shared.noise.variance,
        "scenes": shared.scenes,
        "notes": list(dict.fromkeys(notes)),
    }


def _noise_of_scenes(
    chosen: Sequence[Sequence[tuple[RunRow, float]]],
    metric: str,
    part: DataCondition,
    records: _Records,
) -> tuple[SceneNoise, list[str]]:
    """What scenes do to the mean of one arm, or to the difference of two; and remarks."""
    runs = [records.runs[row.name] for pairs in chosen for row, _ in pairs]
    drawn = np.stack([run.drawn(metric, part) for run in runs])
    # Resamples in which there is something to measure.
    known = ~np.isnan(drawn).any(axis=0)
    notes, scenes = _scene_notes([], runs[0].scenes(metric, part), known)
    if not scenes or not all(chosen):
        return SceneNoise(scenes=scenes), notes
    draws, count = drawn[:, known], len(chosen[0])
    noise = (
        shared_scene_noise(draws, scenes)
        if len(chosen) == 1
        else unpaired_scene_noise(draws[:count], draws[count:], scenes)
    )
    return SceneNoise(noise=noise, scenes=scenes), notes


def _scene_notes(
    notes: list[str], scenes: int, known: Bool[np.ndarray, " R"]
) -> tuple[list[str], int]:
    if scenes < 2:
        return [*notes, "only one scene has such objects: scene noise is unknown"], 0
    if known.mean() < 0.5:
        return [*notes, "too few scenes have such objects: scene noise is unknown"], 0
    if scenes < 5:
        text = f"only {scenes} scenes have such objects: scene noise is badly known"
        return [*notes, text], scenes
    return notes, scenes
