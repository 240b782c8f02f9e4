"""`--verify`: every cell recomputed from what the runs stored, and which of them differ."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.results.store import Store
from aqr_exp.results.tables.measures import Step
from aqr_exp.results.tables.study import Arm, Study
from aqr_exp.results.verify import verify_run

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


def verify_cells(study: Study, store: Store, *, step: Step | None = None) -> Verification:
    """Recompute every run behind a table, and say which cells are not what they should be.

    Args:
        study: The arms of the table.
        store: Where their files are.
        step: Told about progress.

    Returns:
        What was found. A difference is wrong where either arm is: it is told once for each.
    """
    names = list(dict.fromkeys(row.name for arm in study.arms for row in arm.group))
    faults: dict[str, list[str]] = {}
    for done, name in enumerate(names, start=1):
        faults[name] = verify_run(store.folder(name))
        if step is not None:
            step(done, len(names))
    problems = [problem for arm in study.arms for problem in _problems(arm, study, faults)]
    cells = sum(
        arm.measured.means[item.name].n > 0 for arm in study.arms for item in study.quantities
    )
    return Verification(cells=cells, runs=len(names), problems=tuple(problems))


def _problems(arm: Arm, study: Study, faults: dict[str, list[str]]) -> list[CellProblem]:
    return [
        CellProblem(arm=arm.name, column=column, run=row.name, problem=fault)
        for row in arm.group
        for fault in faults[row.name]
        for column in _columns(row.name, fault, study)
    ]


def _columns(run: str, fault: str, study: Study) -> Sequence[str]:
    """Which cells a fault is about: those of one metric where it says so, else all."""
    found = re.fullmatch(re.escape(run) + r": (\S+) is .* in metrics\.json, .* from .*", fault)
    if found is None:
        return [ALL_CELLS]
    metric = found[1]
    return [item.name for item in study.quantities if item.metric == metric] or [metric]
