"""The table by sensor failure: scores, resistance abilities, their means, the worst case."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from aqr_exp.config.description import stored_views
from aqr_exp.data.corruptions.cases import (
    ALL,
    CORRUPTIONS,
    SUITES,
    CorruptionCase,
    failures_of,
    read_cases,
    standard_cases,
)
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.report.tables.baselines import BaselineMatch
from aqr_exp.report.tables.cells import MEASURE, POINTS, Column, Line, Table, text_cell, titled
from aqr_exp.report.tables.metric_table import DATA, MEAN, MERGED_MEAN, describe_arms
from aqr_exp.report.tables.notes import count_and_mean_cells
from aqr_exp.statistics.estimates import ArmMean, summarize
from aqr_exp.statistics.grouping import Group, arm_name, data_words
from aqr_exp.store.collect import RunRow
from aqr_exp.store.corruption_results import (
    means_over,
    read_evaluation,
    relative_resistance,
    resistance_abilities,
)
from aqr_exp.store.store import Store

CLEAN, WORST, RA, RRA = "clean", "worst case", "RA", "RRA (%)"
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

    def has(self, suite: str) -> bool:
        """True of a suite of which there is some case."""
        return any(case.definition.suite == suite for case in self.found)

    @property
    def abilities(self) -> dict[str, float]:
        """RA by failure."""
        return resistance_abilities(self.scores("NDS"), self.row.metric("NDS"))


def read_evaluated(store: Store, row: RunRow) -> Evaluated:
    """A run's evaluations: every standard case, and the named views that lie in its folder."""
    folder = store.folder(row.name)
    found: dict[CorruptionCase, Mapping[str, Any]] = {}
    faults = []
    try:
        there = sorted(path.name for path in folder.failures_dir.iterdir() if path.is_dir())
    except OSError:
        there = []
    views = stored_views({})
    if any(name.startswith("view_drop@") for name in there):
        with suppress(AqrExpError):
            views = stored_views(folder.read_spec())
    for name in there:
        try:
            cases = [case for case in read_cases(name, views) if case.name == name]
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


def failure_table(
    groups: Sequence[Group],
    metrics: Sequence[str],
    store: Store,
    matches: Sequence[BaselineMatch] = (),
) -> Table:
    """One block a case, one line an arm in it; below, RA, RRA, their means and the worst case.

    What is missing is among its notes. `matches` are the baselines of the arms, for RRA.
    """
    evaluated = [[read_evaluated(store, row) for row in group] for group in groups]
    shown = _shown_cases(evaluated)
    common = _common_failures(evaluated)
    abilities = [[run.abilities for run in runs] for runs in evaluated]
    relative = _relative(evaluated, matches, store)
    lines = [
        *_case_lines(evaluated, metrics, [None, *shown] if shown else []),
        *_ability_lines(RA, abilities, common),
        *_ability_lines(RRA, relative, common),
        *_worst_lines(evaluated),
    ]
    columns, arms = describe_arms(groups)
    title, synthetic = titled(
        f"nuScenes metrics under sensor failures: {MEASURE}; {POINTS}", groups
    )
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
                *count_and_mean_cells(line.mean, line.metric),
            )
            for line in lines
        ),
        lines=tuple(Line(arm=line.arm, metric=line.metric) for line in lines),
        notes=(*(_how(common, any(relative)) if shown else ()), *_missing_notes(groups, evaluated)),
        synthetic=synthetic,
        merged_columns=(MERGED_MEAN,),
    )


def _shown_cases(arms: Sequence[Sequence[Evaluated]]) -> list[CorruptionCase]:
    """The cases that some run was evaluated under: standard ones in their order, then named views."""
    there = {case for runs in arms for run in runs for case in run.found}
    standard = [case for case in standard_cases(None) if case in there]
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


def _relative(
    arms: Sequence[Sequence[Evaluated]], matches: Sequence[BaselineMatch], store: Store
) -> list[list[dict[str, float]]]:
    """RRA by failure of each run against its baseline's of the same seed; nothing where there is none."""
    found = []
    for runs, match in zip(arms, matches, strict=False):
        rows = match.group or ()
        theirs = {row.seed: read_evaluated(store, row).scores("NDS") for row in rows}
        ours = [(run.scores("NDS"), theirs.get(run.row.seed, {})) for run in runs]
        found.append([relative_resistance(*scores) for scores in ours])
    return found if any(map(any, found)) else []


def _ability_lines(
    name: str, by_run: Sequence[Sequence[Mapping[str, float]]], common: Mapping[str, Sequence[str]]
) -> list[_Line]:
    """A line an arm for each failure that some run has, then for the mean over each suite's common ones."""
    arms = [(arm, runs) for arm, runs in enumerate(by_run) if name == RA or any(runs)]
    there = {failure for _, runs in arms for run in runs for failure in run}
    lines = [
        _line(name, failure, name, arm, [run.get(failure) for run in runs])
        for failure in CORRUPTIONS
        if failure in there
        for arm, runs in arms
    ]
    return lines + [
        _line(_mean_of(name, suite), f"of {len(failures)} failures", f"m{name}", arm, means)
        for suite, failures in common.items()
        for arm, means in ((arm, means_over(runs, failures)) for arm, runs in arms)
    ]


def _mean_of(name: str, suite: str) -> str:
    return f"m{name}" + f" {suite}" * (suite != ALL)


def _common_failures(arms: Sequence[Sequence[Evaluated]]) -> dict[str, list[str]]:
    """The failures of each suite of which every run that was evaluated under some of it has an RA."""
    found = {}
    for suite in SUITES:
        flat = [run for runs in arms for run in runs if run.has(suite)]
        abilities = [run.abilities for run in flat]
        names = [one for one in failures_of(suite) if all(one in run for run in abilities)]
        if flat and names:
            found[suite] = names
    return found


def _worst_lines(arms: Sequence[Sequence[Evaluated]]) -> list[_Line]:
    """For each arm the case of the lowest mean NDS, of the cases that all runs were evaluated under."""
    scores = [[run.scores("NDS") for run in runs if run.found] for runs in arms]
    flat = [run for runs in scores for run in runs]
    common = [case for case in standard_cases(None) if flat and all(case in run for run in flat)]
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
    return _Line(
        failure=failure, severity=severity, metric=metric, arm=arm, mean=summarize(known, metric)
    )


def _how(common: Mapping[str, Sequence[str]], relative: bool) -> list[str]:
    """Notes on the intervals, abilities and means."""
    notes = ["intervals: 95 % Student t over seeds; scene noise is not in them"]
    notes.append("RA (resistance ability): mean over severities of NDS / clean NDS of the same run")
    if relative:
        notes.append("RRA (relative): summed NDS / the baseline's of the same seed - 1, in %")
    for suite, names in common.items():
        notes.append(
            f"{_mean_of(RA, suite)}: mean RA of the {len(names)} of {len(failures_of(suite))} failures "
            f"that every evaluated run has at all severities: {', '.join(names)}"
        )
    if not common:
        notes.append("mRA: no failure was evaluated at all severities for every evaluated run")
    return notes


def _missing_notes(groups: Sequence[Group], arms: Sequence[Sequence[Evaluated]]) -> list[str]:
    """Runs without all cases of a suite that some run has, and evaluations that cannot be read."""
    flat = [run for runs in arms for run in runs]
    there = [suite for suite in SUITES if any(run.has(suite) for run in flat)] or [ALL]
    notes: list[str] = []
    for group, runs in zip(groups, arms, strict=True):
        for run in runs:
            notes += run.faults
            for suite in there:
                cases = standard_cases(suite)
                missing = [case.name for case in cases if case not in run.found]
                more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
                words = f"{', '.join(missing[:_NAMED])}{more}"
                if len(missing) == len(cases):
                    words = "any failure" + f" of {suite}" * (suite != ALL)
                if missing:
                    notes.append(
                        f"{arm_name(group)}, seed {run.row.seed}: not evaluated under {words} "
                        f"(`aqr-exp eval {run.row.name} --failures {suite}`)"
                    )
    return notes
