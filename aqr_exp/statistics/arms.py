"""Metrics by name, and which way each is better.

Letters: R evaluations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.conditions import CONDITIONS, DataCondition
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.scorer import Scores
from aqr_exp.statistics.resampling import ResampledRun
from aqr_exp.statistics.run_scores import MissingRecordsError, RunScores
from aqr_exp.store.collect import RunRow
from aqr_exp.store.counting import counting_runs

_CLASS_AP = "AP/"
_LOWER_IS_BETTER = frozenset({*ERROR_NAMES, "train_time_s", "peak_memory_mb"})


def lower_is_better(metric: str) -> bool:
    """Whether less of it is better: errors, time, memory, instability.

    Args:
        metric: Its name.
    """
    return metric in _LOWER_IS_BETTER or metric.startswith("stability/")


def follows_from_records(metric: str) -> bool:
    """Whether match records give it.

    Args:
        metric: Its name.
    """
    return metric in {"mAP", "NDS", *ERROR_NAMES} or _class_label(metric) is not None


def metric_values(scores: Scores, metric: str, labels: Sequence[int]) -> Float[np.ndarray, " R"]:
    """A metric of each evaluation.

    The benchmark counts a class without ground truth as AP 0; where nothing at all can be measured there
    is no number here, so that an empty condition is not taken for a bad one.

    Args:
        scores: Evaluations.
        metric: A name for which `follows_from_records` is true.
        labels: The classes that count.

    Returns:
        Values; NaN where no ground truth of these classes (for `AP/<class>`: of this class) counts.

    Raises:
        ValueError: Records do not give such a metric.
    """
    label = _class_label(metric)
    if label is not None:
        values = scores.class_ap()[:, label]
        known = scores.truths[:, label] > 0 if label in labels else np.zeros(len(values), bool)
    else:
        values = _mean_metric(scores, metric, labels)
        known = scores.truths[:, list(labels)].sum(axis=1) > 0
    return np.where(known, values, np.nan)


def _mean_metric(scores: Scores, metric: str, labels: Sequence[int]) -> Float[np.ndarray, " R"]:
    if metric == "mAP":
        return scores.mean_ap(labels)
    if metric == "NDS":
        return scores.nds(labels)
    if metric in ERROR_NAMES:
        return scores.mean_errors(labels)[:, ERROR_NAMES.index(metric)]
    raise ValueError(f"match records do not give '{metric}'")


def _class_label(metric: str) -> int | None:
    name = metric.removeprefix(_CLASS_AP)
    return CLASS_NAMES.index(name) if name != metric and name in CLASS_NAMES else None


_SAME = 1e-6
"""How far a metric may be from what the records give: the devkit's rounding is far below."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Arm:
    """Runs of one arm that have the metric.

    Attributes:
        seeds: Their seeds; None where unknown.
        values: The metric of each.
        draws: The same under resamples, equal ones for all runs of all arms; R is 0 without records.
        left_out: The same with one scene left out.
    """

    seeds: tuple[int | None, ...]
    values: Float[np.ndarray, " N"]
    draws: Float[np.ndarray, "N R"]
    left_out: Float[np.ndarray, "N T"]

    def take(self, index: Sequence[int]) -> "Arm":
        """Some of the runs.

        Args:
            index: Which, in the order wanted.
        """
        rows = list(index)
        return Arm(
            seeds=tuple(self.seeds[row] for row in rows),
            values=self.values[rows],
            draws=self.draws[rows],
            left_out=self.left_out[rows],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A metric of several arms.

    Attributes:
        arms: The arms, in the order they were given.
        scenes: How many scenes hold ground truth of it; 0 where scene noise is unknown.
        notes: What a reader has to know.
    """

    arms: tuple[Arm, ...]
    scenes: int
    notes: tuple[str, ...]


class Records:
    """The resampled scores of all runs that are looked at, or why there are none.

    Args:
        arms: Rows of each arm.
        condition: The part of the data.
        scores: Gives them.
    """

    def __init__(
        self, arms: Sequence[Sequence[RunRow]], condition: DataCondition, scores: RunScores
    ) -> None:
        self.notes: list[str] = []
        self.runs: dict[str, ResampledRun] = {}
        self.passing = False
        """Whether something named was not found: it may come back, so nothing is to be remembered."""
        missing: dict[str, list[str]] = {}
        for row in (row for rows in arms for row in rows):
            try:
                self.runs[row.name] = scores.of(row, condition)
            except MissingRecordsError as error:
                missing.setdefault(error.reason, []).append(error.run)
                self.passing |= error.passing
        for reason, runs in missing.items():
            self.notes.append(f"scene noise is unknown: {_some(runs)}: {reason}")
        self.complete = not self.notes
        if len({run.samples_digest for run in self.runs.values()}) > 1:
            self.complete = False
            self.notes.append("the runs were scored on different samples")

    def value(self, row: RunRow, metric: str, labels: Sequence[int]) -> float | None:
        """What a run's records say.

        Args:
            row: The run.
            metric: A metric that records give.
            labels: The classes that count.

        Returns:
            The value, NaN where there is nothing to measure; None without records.
        """
        run = self.runs.get(row.name)
        if run is None:
            return None
        return float(metric_values(run.scores, metric, labels)[run.observed][0])


def _some(names: Sequence[str]) -> str:
    few = ", ".join(names[:3])
    return f"{few} and {len(names) - 3} more" if len(names) > 3 else few


def replicates(rows: Sequence[RunRow]) -> list[RunRow]:
    """The runs that count of one arm, by seed; first those that do not say theirs.

    Args:
        rows: Runs of one arm, in any order.
    """
    return sorted(
        counting_runs(rows), key=lambda row: (row.seed is not None, row.seed or 0, row.name)
    )


def measure(
    arms: Sequence[Sequence[RunRow]], metric: str, condition: str | None, records: Records
) -> Measured:
    """A metric of every run of some arms.

    Args:
        arms: Completed rows of each arm.
        metric: The metric.
        condition: A name of `CONDITIONS`; None for all of the data.
        records: Their resampled scores.

    Returns:
        Values and, where every run has fitting records, values under resamples.
    """
    part = DataCondition() if condition is None else CONDITIONS[condition]
    notes: list[str] = []
    chosen: list[list[tuple[RunRow, float]]] = []
    from_records = follows_from_records(metric)
    fits = from_records and records.complete
    for rows in arms:
        chosen.append([])
        for row in rows:
            stored = row.metric(metric if condition is None else f"{metric}@{condition}")
            scored = records.value(row, metric, part.labels) if from_records else None
            if _differ(stored, scored):
                notes.append(f"{row.name}: {metric} in metrics.json is not what its records give")
                fits = False
            if scored is not None and np.isnan(scored):
                notes.append(f"no ground truth to measure {metric} on")
            elif stored is not None or scored is not None:
                chosen[-1].append((row, float(scored if stored is None else stored)))  # type: ignore[arg-type]
    notes += records.notes if from_records else []
    return _assemble(chosen, metric, part, records if fits else None, notes)


def _differ(stored: float | None, scored: float | None) -> bool:
    if stored is None or scored is None or np.isnan(scored):
        return False
    return abs(stored - scored) > _SAME


def _labels(metric: str, part: DataCondition) -> tuple[int, ...]:
    name = metric.removeprefix("AP/")
    return (CLASS_NAMES.index(name),) if name in CLASS_NAMES else part.labels


def _assemble(
    chosen: Sequence[Sequence[tuple[RunRow, float]]],
    metric: str,
    part: DataCondition,
    records: Records | None,
    notes: list[str],
) -> Measured:
    runs = [row for pairs in chosen for row, _ in pairs]
    scenes, drawn, left_out = 0, {}, {}
    if records is not None and runs:
        every = {row.name: records.runs[row.name] for row in runs}
        values = {
            name: metric_values(run.scores, metric, part.labels) for name, run in every.items()
        }
        drawn = {name: values[name][run.drawn] for name, run in every.items()}
        left_out = {name: values[name][run.left_out] for name, run in every.items()}
        first = next(iter(every.values()))
        scenes = int((first.scene_truths[:, list(_labels(metric, part))].sum(axis=1) > 0).sum())
        known = _known(list(drawn.values()))
        drawn = {name: draws[known] for name, draws in drawn.items()}
        notes, scenes = _scene_notes(notes, scenes, known)
    arms = tuple(
        Arm(
            seeds=tuple(row.seed for row, _ in pairs),
            values=np.array([value for _, value in pairs], dtype=np.float64),
            draws=_stacked([drawn[row.name] for row, _ in pairs] if scenes else [], len(pairs)),
            left_out=_stacked(
                [left_out[row.name] for row, _ in pairs] if scenes else [], len(pairs)
            ),
        )
        for pairs in chosen
    )
    return Measured(arms=arms, scenes=scenes, notes=tuple(dict.fromkeys(notes)))


def _known(draws: Sequence[Float[np.ndarray, " R"]]) -> Bool[np.ndarray, " R"]:
    """Resamples in which there is something to measure."""
    return ~np.isnan(np.stack(draws)).any(axis=0)


def _scene_notes(
    notes: list[str], scenes: int, known: Bool[np.ndarray, " R"]
) -> tuple[list[str], int]:
    if scenes < 2:
        return [*notes, "only one scene has such objects: scene noise is unknown"], 0
    if known.mean() < 0.5:
        return [*notes, "too few scenes have such objects: scene noise is unknown"], 0
    if scenes < 5:
        return [
            *notes,
            f"only {scenes} scenes have such objects: scene noise is badly known",
        ], scenes
    return notes, scenes


def _stacked(rows: Sequence[np.ndarray], runs: int) -> np.ndarray:
    return np.stack(rows) if len(rows) else np.zeros((runs, 0))
