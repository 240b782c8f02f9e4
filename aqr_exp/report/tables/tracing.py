"""`--trace`: for every cell the runs, files and hashes that stand behind it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.cells import Row, Table
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store
from aqr_exp.store.trace import RunTrace, trace_rows
from aqr_exp.store.verify import verify_run

# Cells of these columns come from the runs of the arm and of what it is compared with.
OF_BOTH = ("difference", "verdict", "time / baseline", "confounders")


def with_trace(table: Table, data: ComparisonData, store: Store) -> Table:
    """The table with its trace: as text among the notes, and as a structure for programs.

    Args:
        table: The measured lines, in their final order.
        data: The arms behind them.
        store: Where their files are.
    """
    arms = {_key(arm.first): arm for arm in data.arms}
    lines = [arms[_key_of_line(table.columns, row)] for row in table.rows]
    rows = _rows_of(data)
    shown = list(dict.fromkeys(item.metric for item in data.quantities))
    runs = trace_rows(list(rows.values()), store, shown)
    structure = {
        "cells": [
            {"line": index, "arm": arm.name, "columns": _traced_columns(table.columns, arm)}
            for index, arm in enumerate(lines)
        ],
        "runs": {run.name: run.as_json() for run in runs},
    }
    notes = [*map(_arm_note, dict.fromkeys(arm.name for arm in lines), _distinct(lines))]
    notes += [note for run in runs for note in _run_notes(run)]
    return replace(table, trace=structure, notes=(*table.notes, *notes))


def _distinct(lines: Sequence[TableArm]) -> list[TableArm]:
    return list({arm.name: arm for arm in lines}.values())


def _rows_of(data: ComparisonData) -> dict[str, RunRow]:
    """Every run that any cell comes from, by name."""
    return {row.name: row for arm in data.arms for row in (*arm.group, *(arm.match.group or ()))}


def _key(row: RunRow) -> tuple[str, str, str]:
    return row.variant, row.fingerprint, row.data


def _key_of_line(columns: Sequence[str], row: Row) -> tuple[str, str, str]:
    texts = {name: cell.text for name, cell in zip(columns, row, strict=True)}
    return texts["variant"], texts["identity"], texts["data"]


def _traced_columns(columns: Sequence[str], arm: TableArm) -> Mapping[str, Any]:
    """By column, the runs behind the arm's cell in it."""
    own = [row.name for row in arm.group]
    theirs = [row.name for row in arm.match.group or ()]
    return {
        name: {"runs": own, **({"baseline_runs": theirs} if _is_of_both(name) and theirs else {})}
        for name in columns
    }


def _is_of_both(column: str) -> bool:
    return any(part in column for part in OF_BOTH)


def _arm_note(name: str, arm: TableArm) -> str:
    own = ", ".join(row.name for row in arm.group)
    text = f"trace: every cell of {name} is of {own}"
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
    """A cell that is not what its runs' files say.

    Attributes:
        arm: Its line.
        column: The quantity, or `every cell`.
        run: The run that differs.
        problem: What is wrong.
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
    """What recomputing a table found.

    Attributes:
        cells: How many measured cells were recomputed.
        runs: From how many runs.
        problems: Those that differ; empty when all agree.
    """

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
    """Recompute every run behind a table, and say which cells are not what they should be.

    Args:
        data: The arms of the table.
        store: Where their files are.
        progress: Called with the arms or runs done, and all.

    Returns:
        What was found. A difference is wrong where either arm is: it is told once for each.
    """
    names = list(dict.fromkeys(row.name for arm in data.arms for row in arm.group))
    faults: dict[str, list[str]] = {}
    for done, name in enumerate(names, start=1):
        faults[name] = verify_run(store.folder(name))
        progress(done, len(names))
    problems = [problem for arm in data.arms for problem in _problems(arm, data, faults)]
    cells = sum(
        arm.estimates.means[item.name].n > 0 for arm in data.arms for item in data.quantities
    )
    return Verification(cells=cells, runs=len(names), problems=tuple(problems))


def _problems(
    arm: TableArm, data: ComparisonData, faults: dict[str, list[str]]
) -> list[CellProblem]:
    return [
        CellProblem(arm=arm.name, column=column, run=row.name, problem=fault)
        for row in arm.group
        for fault in faults[row.name]
        for column in _wrong_columns(row.name, fault, data)
    ]


def _wrong_columns(run: str, fault: str, data: ComparisonData) -> Sequence[str]:
    """Which cells a fault is about: those of one metric where it says so, else all."""
    found = re.fullmatch(re.escape(run) + r": (\S+) is .* in metrics\.json, .* from .*", fault)
    if found is None:
        return [ALL_CELLS]
    metric = found[1]
    return [item.name for item in data.quantities if item.metric == metric] or [metric]
