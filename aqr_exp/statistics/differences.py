"""Differences between two arms of a store, and means of one, each with an interval that knows its noise.

docs/statistics.md describes the model and how it was checked. What was computed once is read from the
cache: a comparison by the records of its runs, a run's resamples by its records alone.

Letters: R resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Bool

from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.estimates import (
    ArmDifference,
    ArmMean,
    ArmValues,
    MetricSample,
    estimate_difference,
    estimate_mean,
)
from aqr_exp.statistics.grouping import replicates
from aqr_exp.statistics.metrics import class_label, follows_from_records, metric_name
from aqr_exp.statistics.resampling import ResampledRun, Resampling
from aqr_exp.statistics.run_scores import (
    InferenceCache,
    MissingRecordsError,
    RunScores,
    cache_key,
    records_digest,
)
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

DEFAULT = Resampling()


def compare_arms(
    reference: Sequence[RunRow],
    other: Sequence[RunRow],
    metrics: Sequence[str],
    *,
    store: Store,
    condition: str | None = None,
    settings: Resampling = DEFAULT,
) -> dict[str, ArmDifference]:
    """The differences of two arms.

    Args:
        reference: Runs of the reference arm, in any order; those not completed are passed over.
        metrics: Names such as `mAP` or `AP/car`; whatever a row has as a number can be compared, over
            seeds only where match records do not give it.
        condition: A name of `CONDITIONS`; None for all of the data.

    Raises:
        RequestError: There is no such condition.
    """
    found = _cached(
        "difference",
        (reference, other),
        metrics,
        condition,
        store,
        settings,
        lambda metric, sample: asdict(estimate_difference(metric, condition, sample, settings)),
    )
    # JSON gives a list where there was a tuple.
    return {
        metric: ArmDifference(**{**values, "seeds": tuple(values["seeds"])})
        for metric, values in found.items()
    }


def arm_intervals(
    rows: Sequence[RunRow],
    metrics: Sequence[str],
    *,
    store: Store,
    condition: str | None = None,
    settings: Resampling = DEFAULT,
) -> dict[str, ArmMean]:
    """The means of an arm by metric, each with its interval; as `compare_arms`."""
    found = _cached(
        "interval",
        (rows,),
        metrics,
        condition,
        store,
        settings,
        lambda _, sample: asdict(estimate_mean(sample, settings)),
    )
    return {metric: ArmMean(**values) for metric, values in found.items()}


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


def _cached(
    kind: str,
    arms: Sequence[Sequence[RunRow]],
    metrics: Sequence[str],
    condition: str | None,
    store: Store,
    settings: Resampling,
    estimate: Callable[[str, MetricSample], dict[str, Any]],
) -> Mapping[str, dict[str, Any]]:
    """Results by metric, from the cache where nothing they depend on has changed."""
    part = _condition(condition)
    chosen = [replicates(rows) for rows in arms]
    names = {metric: metric_name(metric, condition) for metric in metrics}
    key = cache_key(
        kind=kind,
        arms=[[_facts(store, row, names) for row in rows] for rows in chosen],
        metrics=list(metrics),
        condition=condition,
        settings=asdict(settings),
    )
    cache = InferenceCache(store)
    kept = cache.read(key)
    if kept is not None:
        return kept
    wanted = any(follows_from_records(metric) for metric in metrics)
    scores = RunScores(store=store, settings=settings)
    records = _Records(chosen if wanted else [], part, scores)
    found = {
        metric: estimate(metric, _sample(chosen, metric, name, part, records))
        for metric, name in names.items()
    }
    if not records.temporary:
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
    }


_SAME = 1e-6
"""A metric may differ by so much from what the records give: the devkit's rounding is far below."""


class _Records:
    """The resampled scores of all runs of some arms on a part of the data, or why there are none."""

    def __init__(
        self, arms: Sequence[Sequence[RunRow]], condition: DataCondition, scores: RunScores
    ) -> None:
        self.notes: list[str] = []
        self.runs: dict[str, ResampledRun] = {}
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


def _sample(
    arms: Sequence[Sequence[RunRow]],
    metric: str,
    name: str,
    part: DataCondition,
    records: _Records,
) -> MetricSample:
    """A metric of every run of some arms; under resamples where all of them have fitting records."""
    notes: list[str] = []
    chosen: list[list[tuple[RunRow, float]]] = []
    from_records = follows_from_records(metric)
    fits = from_records and records.complete
    for rows in arms:
        chosen.append([])
        for row in rows:
            stored = row.metric(name)
            run = records.runs.get(row.name) if from_records else None
            # NaN where there is nothing to measure; None without records.
            scored = None if run is None else run.observed(metric, part.labels)
            if stored is not None and scored is not None and abs(stored - scored) > _SAME:
                notes.append(f"{row.name}: {metric} in metrics.json is not what its records give")
                fits = False
            if scored is not None and np.isnan(scored):
                notes.append(f"no ground truth to measure {metric} on")
            elif stored is not None or scored is not None:
                chosen[-1].append((row, float(scored if stored is None else stored)))  # type: ignore[arg-type]
    notes += records.notes if from_records else []
    return _assemble(chosen, metric, part, records if fits else None, notes)


def _assemble(
    chosen: Sequence[Sequence[tuple[RunRow, float]]],
    metric: str,
    part: DataCondition,
    records: _Records | None,
    notes: list[str],
) -> MetricSample:
    runs = [row for pairs in chosen for row, _ in pairs]
    scenes, drawn = 0, {}
    if records is not None and runs:
        drawn = {row.name: records.runs[row.name].drawn(metric, part.labels) for row in runs}
        label = class_label(metric)
        labels = list(part.labels) if label is None else [label]
        of_scene = records.runs[runs[0].name].scene_truths[:, labels].sum(axis=1)
        # Resamples in which there is something to measure.
        known = ~np.isnan(np.stack(list(drawn.values()))).any(axis=0)
        drawn = {name: draws[known] for name, draws in drawn.items()}
        notes, scenes = _scene_notes(notes, int((of_scene > 0).sum()), known)
    arms = tuple(
        ArmValues(
            seeds=tuple(row.seed for row, _ in pairs),
            values=np.array([value for _, value in pairs], dtype=np.float64),
            draws=np.stack([drawn[row.name] for row, _ in pairs])
            if scenes and pairs
            else np.zeros((len(pairs), 0)),
        )
        for pairs in chosen
    )
    return MetricSample(arms=arms, scenes=scenes, notes=tuple(dict.fromkeys(notes)))


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
