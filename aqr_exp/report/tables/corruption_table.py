"""The table by sensor failure: scores, relative accuracy, its means, the worst case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from aqr_exp.data.corruptions.cases import CORRUPTIONS, CorruptionCase, read_cases, standard_cases
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.report.tables.cells import MEASURE, Column, Line, Table, text_cell, titled
from aqr_exp.report.tables.metric_table import DATA, MEAN, MERGED_MEAN, describe_arms
from aqr_exp.report.tables.notes import count_and_mean_cells
from aqr_exp.statistics.estimates import ArmMean, summarize
from aqr_exp.statistics.grouping import Group, arm_name, data_words
from aqr_exp.store.collect import RunRow
from aqr_exp.store.corruption_results import (
    mean_relative_accuracy,
    read_evaluation,
    relative_accuracies,
)
from aqr_exp.store.store import Store

CLEAN, WORST, MRA, RA = "clean", "worst case", "mRA", "RA"
_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One run under sensor failures: its metrics by case, and a line for each that cannot be read."""

    row: RunRow
    found: Mapping[CorruptionCase, Mapping[str, Any]]
    faults: tuple[str, ...] = ()

    def scores(self, metric: str) -> dict[CorruptionCase, float]:
        """A metric by case, where it is a number."""
        values = {case: metrics.get(metric) for case, metrics in self.found.items()}
        return {case: float(value) for case, value in values.items() if value is not None}

    @property
    def accuracies(self) -> dict[str, float]:
        """RA by failure."""
        return relative_accuracies(self.scores("NDS"), self.row.metric("NDS"))


def read_evaluated(store: Store, row: RunRow) -> Evaluated:
    """A run's evaluations: every standard case, and the named views that lie in its folder."""
    folder = store.folder(row.name)
    found: dict[CorruptionCase, Mapping[str, Any]] = {}
    faults = []
    try:
        there = sorted(path.name for path in folder.failures_dir.iterdir() if path.is_dir())
    except OSError:
        there = []
    for name in there:
        try:
            cases = [case for case in read_cases(name) if case.name == name]
        except RequestError:
            cases = []
        if not cases:
            place = folder.failure_paths(name).path
            faults.append(f"not in the table: {place} is no case's folder")
        try:
            for case in cases:
                metrics = read_evaluation(folder, case, row.metrics)
                if metrics is not None:
                    found[case] = metrics
        except AqrExpError as error:
            faults.append(f"not in the table: {error}")
    return Evaluated(row=row, found=found, faults=tuple(faults))


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A mean of each arm."""

    failure: str
    severity: str
    metric: str
    arm: int
    mean: ArmMean


def failure_table(groups: Sequence[Group], metrics: Sequence[str], store: Store) -> Table:
    """One block a case, one line an arm in it; below, RA by failure, mRA and the worst case.

    What is missing is among its notes.
    """
    evaluated = [[read_evaluated(store, row) for row in group] for group in groups]
    shown = _shown_cases(evaluated)
    common = _common_failures(evaluated)
    lines = [
        *_case_lines(evaluated, metrics, [None, *shown] if shown else []),
        *_accuracy_lines(evaluated, common),
        *_worst_lines(evaluated),
    ]
    columns, arms = describe_arms(groups)
    title, synthetic = titled(f"nuScenes metrics under sensor failures: {MEASURE}", groups)
    return Table(
        title=title,
        columns=(
            *(Column(name, head=True) for name in ("failure", "severity", "metric")),
            *columns,
            DATA,
            *MEAN,
        ),
        rows=tuple(
            (
                *map(text_cell, (line.failure, line.severity, line.metric)),
                *arms[line.arm],
                text_cell(data_words(groups[line.arm])),
                *count_and_mean_cells(line.mean),
            )
            for line in lines
        ),
        lines=tuple(Line(arm=line.arm, metric=line.metric) for line in lines),
        notes=(*(_how(common) if shown else ()), *_missing_notes(groups, evaluated)),
        synthetic=synthetic,
        merged_columns=(MERGED_MEAN,),
    )


def _shown_cases(arms: Sequence[Sequence[Evaluated]]) -> list[CorruptionCase]:
    """The cases that some run was evaluated under: standard ones in their order, then named views."""
    there = {case for runs in arms for run in runs for case in run.found}
    standard = [case for case in standard_cases() if case in there]
    others = sorted(there - set(standard), key=lambda case: case.name)
    return [*standard, *others]


def _case_lines(
    arms: Sequence[Sequence[Evaluated]],
    metrics: Sequence[str],
    cases: Sequence[CorruptionCase | None],
) -> list[_Line]:
    """A line an arm for each metric of each case; None is the evaluation of record."""
    return [
        _line(
            CLEAN if case is None else case.corruption,
            "" if case is None else case.severity,
            metric,
            arm,
            [
                run.row.metric(metric) if case is None else run.scores(metric).get(case)
                for run in runs
            ],
        )
        for case in cases
        for metric in metrics
        for arm, runs in enumerate(arms)
    ]


def _accuracy_lines(arms: Sequence[Sequence[Evaluated]], common: Sequence[str]) -> list[_Line]:
    by_run = [[run.accuracies for run in runs] for runs in arms]
    lines = [
        _line(RA, name, RA, arm, [run.get(name) for run in runs])
        for name in CORRUPTIONS
        if any(name in run for runs in by_run for run in runs)
        for arm, runs in enumerate(by_run)
    ]
    means = [mean_relative_accuracy(runs, common) for runs in by_run]
    words = f"of {len(common)} failures"
    return lines + [
        _line(MRA, words, MRA, arm, values) for arm, values in enumerate(means) if common
    ]


def _common_failures(arms: Sequence[Sequence[Evaluated]]) -> list[str]:
    """The failures of which every run that was evaluated at all has an RA."""
    runs = [run.accuracies for runs in arms for run in runs if run.found]
    return [name for name in CORRUPTIONS if runs and all(name in run for run in runs)]


def _worst_lines(arms: Sequence[Sequence[Evaluated]]) -> list[_Line]:
    """For each arm the case of the lowest mean NDS, of the cases that all runs were evaluated under."""
    scores = [[run.scores("NDS") for run in runs if run.found] for runs in arms]
    flat = [run for runs in scores for run in runs]
    common = [case for case in standard_cases() if flat and all(case in run for run in flat)]
    lines = []
    for arm, runs in enumerate(scores):
        if not common or not runs:
            continue
        worst = min(common, key=lambda case: fmean(run[case] for run in runs))
        lines.append(_line(WORST, worst.name, "NDS", arm, [run[worst] for run in runs]))
    return lines


def _line(
    failure: str, severity: str, metric: str, arm: int, values: Sequence[float | None]
) -> _Line:
    known = [value for value in values if value is not None]
    return _Line(failure=failure, severity=severity, metric=metric, arm=arm, mean=summarize(known))


def _how(common: Sequence[str]) -> list[str]:
    """Notes on the intervals, RA and mRA."""
    notes = ["intervals: 95 % Student t over seeds; scene noise is not in them"]
    notes.append("RA: mean over severities of NDS under the failure / clean NDS of the same run")
    if common:
        notes.append(
            f"mRA: mean RA of the {len(common)} of {len(CORRUPTIONS)} failures that every evaluated "
            f"run has at all severities: {', '.join(common)}"
        )
    else:
        notes.append("mRA: no failure was evaluated at all severities for every evaluated run")
    return notes


def _missing_notes(groups: Sequence[Group], arms: Sequence[Sequence[Evaluated]]) -> list[str]:
    """Runs without all standard cases, and evaluations that cannot be read."""
    notes: list[str] = []
    standard = standard_cases()
    for group, runs in zip(groups, arms, strict=True):
        for run in runs:
            notes += run.faults
            missing = [case.name for case in standard if case not in run.found]
            if missing:
                more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
                words = f"{', '.join(missing[:_NAMED])}{more}"
                words = "any failure" if len(missing) == len(standard) else words
                notes.append(
                    f"{arm_name(group)}, seed {run.row.seed}: not evaluated under {words} "
                    f"(`aqr-exp eval {run.row.name} --failures all`)"
                )
    return notes
