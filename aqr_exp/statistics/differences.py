"""Differences between two arms of a store, and means of one, each with an interval that knows its noise.

docs/statistics.md says which model it is and how it was checked. What was computed once is read from the
cache: a comparison by the records of its runs, a run's resamples by its records alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.statistics.arms import Measured, Records, follows_from_records, measure, replicates
from aqr_exp.statistics.estimates import Difference, Interval
from aqr_exp.statistics.estimation import estimate_difference, estimate_mean
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.run_scores import InferenceCache, RunScores, cache_key, records_digest
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

__all__ = ["Difference", "Interval", "Resampling", "arm_interval", "arm_intervals", "compare_arms"]

DEFAULT = Resampling()
_PAIRS = ("percentile", "bca", "two_level", "seeds")


def compare_arms(
    reference: Sequence[RunRow],
    other: Sequence[RunRow],
    metrics: Sequence[str],
    *,
    store: Store,
    condition: str | None = None,
    settings: Resampling = DEFAULT,
    progress: Progress = no_progress,
) -> dict[str, Difference]:
    """How two arms differ.

    Args:
        reference: Runs of the reference arm, in any order; those not completed are passed over.
        other: Runs of the other arm.
        metrics: Names such as `mAP` or `AP/car`; whatever a row has as a number can be compared, over
            seeds only where match records do not give it.
        store: Where the runs are, and the cache.
        condition: A name of `CONDITIONS`; None for all of the data.
        settings: How often scenes are drawn, confidence, power.
        progress: Told (done, total) evaluations of each run that is not in the cache.

    Returns:
        By metric, other minus reference.

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
        progress,
        lambda metric, measured: asdict(estimate_difference(metric, condition, measured, settings)),
    )
    return {metric: Difference(**_with_tuples(values)) for metric, values in found.items()}


def arm_intervals(
    rows: Sequence[RunRow],
    metrics: Sequence[str],
    *,
    store: Store,
    condition: str | None = None,
    settings: Resampling = DEFAULT,
    progress: Progress = no_progress,
) -> dict[str, Interval]:
    """An arm's means.

    Args:
        rows: Its runs, in any order; those not completed are passed over.
        metrics: Names, as in `compare_arms`.
        store: Where the runs are, and the cache.
        condition: A name of `CONDITIONS`; None for all of the data.
        settings: How often scenes are drawn, confidence.
        progress: Told (done, total) evaluations of each run that is not in the cache.

    Returns:
        By metric, the mean with its interval.

    Raises:
        RequestError: There is no such condition.
    """
    found = _cached(
        "interval",
        (rows,),
        metrics,
        condition,
        store,
        settings,
        progress,
        lambda _, measured: asdict(estimate_mean(measured, settings)),
    )
    return {metric: Interval(**values) for metric, values in found.items()}


def arm_interval(
    rows: Sequence[RunRow],
    metric: str,
    condition: str | None = None,
    *,
    store: Store,
    settings: Resampling = DEFAULT,
    progress: Progress = no_progress,
) -> Interval:
    """An arm's mean of one metric; see `arm_intervals`.

    Args:
        rows: Its runs.
        metric: The metric.
        condition: A name of `CONDITIONS`; None for all of the data.
        store: Where the runs are, and the cache.
        settings: How often scenes are drawn, confidence.
        progress: Told (done, total) evaluations of each run that is not in the cache.
    """
    several = arm_intervals(
        rows, [metric], store=store, condition=condition, settings=settings, progress=progress
    )
    return several[metric]


def _cached(
    kind: str,
    arms: Sequence[Sequence[RunRow]],
    metrics: Sequence[str],
    condition: str | None,
    store: Store,
    settings: Resampling,
    progress: Progress,
    estimate: Callable[[str, Measured], dict[str, Any]],
) -> Mapping[str, dict[str, Any]]:
    """Results by metric, from the cache where nothing they depend on has changed."""
    part = _condition(condition)
    chosen = [replicates(rows) for rows in arms]
    key = cache_key(
        kind=kind,
        arms=[[_facts(store, row, metrics, condition) for row in rows] for rows in chosen],
        metrics=list(metrics),
        condition=condition,
        settings=asdict(settings),
    )
    cache = InferenceCache(store)
    kept = cache.read(key)
    if kept is not None:
        return kept
    wanted = any(follows_from_records(metric) for metric in metrics)
    scores = RunScores(store=store, settings=settings, progress=progress)
    records = Records(chosen if wanted else [], part, scores)
    found = {
        metric: estimate(metric, measure(chosen, metric, condition, records)) for metric in metrics
    }
    if not records.passing:
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


def _facts(
    store: Store, row: RunRow, metrics: Sequence[str], condition: str | None
) -> dict[str, Any]:
    """What of a run a result depends on."""
    names = [metric if condition is None else f"{metric}@{condition}" for metric in metrics]
    return {
        "name": row.name,
        "seed": row.seed,
        "records": records_digest(store, row),
        "values": [row.metric(name) for name in names],
    }


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON gives lists where there were tuples."""
    return {
        name: tuple(value) if name in _PAIRS and value is not None else value
        for name, value in values.items()
    }
