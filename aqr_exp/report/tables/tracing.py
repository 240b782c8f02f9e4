"""The runs, files and hashes behind every cell of a table (`--trace`), and their verification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.cells import Table
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.statistics.metrics import is_own
from aqr_exp.statistics.own_metrics import own_problems
from aqr_exp.store.store import Store
from aqr_exp.store.verify import RunProblem, RunTrace, trace_rows, verify_run


def with_trace(table: Table, data: ComparisonData, store: Store) -> Table:
    """The table with its trace: as text among the notes, and as a structure for programs."""
    arms = [data.arms[line.arm] for line in table.lines]
    rows = {row.name: row for arm in data.arms for row in (*arm.group, *(arm.match.group or ()))}
    shown = list(dict.fromkeys(item.metric for item in data.quantities))
    runs = trace_rows(list(rows.values()), store, shown)
    structure = {
        "cells": [
            {"line": index, "arm": arm.name, "columns": _traced_columns(table, arm)}
            for index, arm in enumerate(arms)
        ],
        "runs": {run.name: run.as_json() for run in runs},
    }
    notes = [_arm_note(arm) for arm in {arm.name: arm for arm in arms}.values()]
    notes += [note for run in runs for note in _run_notes(run)]
    return replace(table, trace=structure, notes=(*table.notes, *notes))


def _traced_columns(table: Table, arm: TableArm) -> Mapping[str, Any]:
    """By column, the runs behind the arm's cell in it."""
    own = {"runs": [row.name for row in arm.group]}
    both = own | {"baseline_runs": [row.name for row in arm.match.group or ()]}
    return {
        column.name: both if column.with_baseline and arm.match.group else own
        for column in table.columns
    }


def _arm_note(arm: TableArm) -> str:
    own = ", ".join(row.name for row in arm.group)
    text = f"trace: every cell of {arm.name} is of {own}"
    if arm.match.group is None:
        return text
    theirs = ", ".join(row.name for row in arm.match.group)
    return f"{text}; difference, verdict and time also of {theirs}"


def _run_notes(run: RunTrace) -> list[str]:
    code = (
        f"code {run.commit[:12]}{' modified' if run.modified else ''}"
        if run.commit
        else "code installed"
    )
    head = f"trace: {run.name}: attempt {run.attempt}, {code}"
    files = [
        f"trace: {run.name}/{file.path}: {file.size_bytes} bytes, sha256 {file.sha256 or 'not readable'}"
        for file in run.files
    ]
    return [head, *files]


ALL_CELLS = "every cell"


@dataclass(frozen=True, kw_only=True)
class CellProblem:
    """A cell that does not agree with the files of one of its runs.

    Attributes:
        arm: Its line.
        column: The quantity, or `every cell`.
    """

    arm: str
    column: str
    run: str
    problem: str

    def __str__(self) -> str:
        """In one line."""
        return f"{self.column} of {self.arm}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The outcome of recomputing a table: how many measured cells from how many runs, and which differ."""

    cells: int
    runs: int
    problems: tuple[CellProblem, ...]

    def lines(self) -> list[str]:
        """For people: one line a problem, and a summary."""
        if not self.runs:
            return ["nothing to verify: there are no completed runs here"]
        summary = f"{self.cells} measured cells recomputed from {self.runs} runs: "
        differing = len({(item.arm, item.column) for item in self.problems})
        outcome = f"{differing} do not hold" if self.problems else "all hold"
        return [*dict.fromkeys(map(str, self.problems)), summary + outcome]

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "cells": self.cells,
            "runs": self.runs,
            "problems": [vars(item) for item in self.problems],
        }


def verify_cells(
    data: ComparisonData, store: Store, *, progress: Progress = no_progress
) -> Verification:
    """Recompute every run behind a table, and name the cells that are not what they should be.

    A difference is wrong where either arm is: it is named once for each. Progress is in runs.
    """
    rows = {row.name: row for arm in data.arms for row in arm.group}
    names = list(rows)
    own = [item.metric for item in data.quantities if is_own(item.metric)]
    problems: dict[str, list[RunProblem]] = {}
    for done, name in enumerate(names, start=1):
        problems[name] = verify_run(store.folder(name))
        problems[name] += [p for one in {*own} for p in own_problems(store, rows[name], one)]
        progress(done, len(names))
    found = [
        CellProblem(arm=arm.name, column=column, run=row.name, problem=str(problem))
        for arm in data.arms
        for row in arm.group
        for problem in problems[row.name]
        for column in _wrong_columns(problem, data)
    ]
    cells = sum(
        arm.estimates.means[item.name].n > 0 for arm in data.arms for item in data.quantities
    )
    return Verification(cells=cells, runs=len(names), problems=tuple(found))


def _wrong_columns(problem: RunProblem, data: ComparisonData) -> Sequence[str]:
    """The cells that a problem is about: those of one metric where it has one, else all."""
    if problem.metric is None:
        return [ALL_CELLS]
    names = [item.name for item in data.quantities if item.metric == problem.metric]
    return names or [problem.metric]
