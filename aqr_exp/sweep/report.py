"""A plan for people and for programs: tables, words and plain values."""

from collections.abc import Sequence
from typing import Any

from aqr_exp.files.progress import duration
from aqr_exp.report.tables.cells import Cell, Table, count_cell, make_columns, text_cell
from aqr_exp.store.status import RunStatus
from aqr_exp.sweep.plan import Plan
from aqr_exp.sweep.status import Matrix, RemovedRun, Standing, completeness, totals

UNKNOWN_TIME = "?"


def runs_table(plan: Plan, standings: Sequence[Standing]) -> Table:
    """One line a run, in the order of the sweep."""
    return Table(
        title=f"Runs of {plan.name}",
        columns=make_columns(
            ("run", "overrides", "seed", "state", "expected", "why", "reason"),
            numeric={"seed", "expected"},
            constant={"overrides", "reason"},
        ),
        rows=tuple(_run_cells(standing) for standing in standings),
    )


def _run_cells(standing: Standing) -> tuple[Cell, ...]:
    run = standing.run
    seconds = run.expected_s
    return (
        text_cell(run.name),
        text_cell(" ".join(run.overrides)),
        count_cell(run.seed),
        text_cell(_word(standing.state)),
        Cell(
            text=UNKNOWN_TIME if seconds is None else duration(seconds, rounded=True), value=seconds
        ),
        text_cell(", ".join(run.labels)),
        text_cell(" ".join((standing.reason or "").split())),
    )


def removed_table(name: str, removed: Sequence[RemovedRun]) -> Table:
    """One line for each run that the sweep means no more and that is not complete."""
    return Table(
        title=f"Removed from {name}",
        columns=make_columns(
            ("run", "overrides", "seed", "state", "reason"),
            numeric={"seed"},
            constant={"overrides", "reason"},
        ),
        rows=tuple(
            (
                text_cell(run.entry.name),
                text_cell(" ".join(run.entry.overrides)),
                count_cell(run.entry.seed),
                text_cell(f"removed, {run.state}"),
                text_cell(" ".join((run.reason or "").split())),
            )
            for run in removed
        ),
    )


def matrix_table(plan: Plan, standings: Sequence[Standing]) -> Table:
    """Points down, seeds across."""
    matrix = completeness(standings)
    return Table(
        title=f"Completeness of {plan.name}",
        columns=make_columns(("point", *(f"seed {seed}" for seed in matrix.seeds))),
        rows=tuple(
            (
                text_cell(" ".join((row.variant, *row.overrides))),
                *(text_cell(_word(state) if state else "-") for state in row.states),
            )
            for row in matrix.rows
        ),
    )


def summary(plan: Plan, standings: Sequence[Standing]) -> str:
    """How a plan stands, in a line or two."""
    sums = totals(standings)
    states = ", ".join(f"{count} {_word(state)}" for state, count in sums.states.items())
    line = f"{plan.name}: {sums.runs} runs: {states}"
    for count, words in (
        (plan.collapsed, "the same run as another"),
        (plan.skipped, "skipped by a condition"),
    ):
        subject = "point is" if count == 1 else "points are"
        line += f"; {count} {subject} {words}" if count else ""
    holes = sum(standing.hole for standing in standings)
    if not holes:
        done = all(standing.state is RunStatus.COMPLETED for standing in standings)
        return f"{line}\nnothing is left to {'do' if done else 'start'}"
    left = f"{holes} to do"
    if sums.untimed < holes:
        left += f", about {duration(sums.expected_s, rounded=True)} of training one after the other"
    if sums.untimed:
        left += f" ({sums.untimed} of unknown time: no such run has been completed)"
    return f"{line}\n{left}"


def as_json(
    plan: Plan,
    standings: Sequence[Standing],
    shown: Sequence[Standing] | None = None,
    removed: Sequence[RemovedRun] = (),
) -> dict[str, Any]:
    """The plan as plain values.

    Args:
        plan: The plan.
        standings: How all its runs stand.
        shown: The runs to list; all by default. Totals and completeness are of all.
        removed: Runs that it means no more and that are not complete.
    """
    sums = totals(standings)
    return {
        "sweep": plan.name,
        "runs": [_run_json(standing) for standing in (standings if shown is None else shown)],
        "totals": {
            "runs": sums.runs,
            "states": {_word(state): count for state, count in sums.states.items()},
            "to_do": sum(standing.hole for standing in standings),
            "expected_s": sums.expected_s,
            "untimed": sums.untimed,
            "collapsed": plan.collapsed,
            "skipped": plan.skipped,
        },
        "completeness": _matrix_json(completeness(standings)),
        "removed": [
            {"name": run.entry.name, "state": run.state, "reason": run.reason} for run in removed
        ],
    }


def _run_json(standing: Standing) -> dict[str, Any]:
    run = standing.run
    return {
        "name": run.name,
        "variant": run.variant,
        "overrides": list(run.overrides),
        "seed": run.seed,
        "state": _word(standing.state),
        "reason": standing.reason,
        "folder": standing.folder,
        "expected_s": run.expected_s,
        "labels": list(run.labels),
    }


def _matrix_json(matrix: Matrix) -> dict[str, Any]:
    return {
        "seeds": list(matrix.seeds),
        "points": [
            {
                "variant": row.variant,
                "overrides": list(row.overrides),
                "fingerprint": row.fingerprint,
                "labels": list(row.labels),
                "states": [state and _word(state) for state in row.states],
            }
            for row in matrix.rows
        ],
    }


def _word(state: RunStatus) -> str:
    """The word for a state of a planned run; a complete one is done."""
    return "done" if state is RunStatus.COMPLETED else state.value
