"""Plans and searches as tables, lines and plain values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aqr_exp.files.progress import duration
from aqr_exp.report.tables.cells import (
    Cell,
    Table,
    count_cell,
    make_columns,
    number_cell,
    text_cell,
)
from aqr_exp.store.status import RunStatus
from aqr_exp.sweep.plan import Plan
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.search import GIVEN_UP, REASON, Direction, Search
from aqr_exp.sweep.status import PlannedRunStatus, RemovedRun, completeness, totals

if TYPE_CHECKING:  # an optional extra
    from optuna.trial import FrozenTrial


def runs_table(plan: Plan, statuses: Sequence[PlannedRunStatus]) -> Table:
    """One line a run, in the order of the sweep."""
    return Table(
        title=f"Runs of {plan.name}",
        columns=make_columns(
            ("run", "overrides", "seed", "state", "expected", "why", "reason"),
            numeric={"seed", "expected"},
            constant={"overrides", "reason"},
        ),
        rows=tuple(_run_cells(status) for status in statuses),
    )


def _run_cells(status: PlannedRunStatus) -> tuple[Cell, ...]:
    run = status.run
    seconds = run.expected_s
    return (
        text_cell(run.name),
        text_cell(" ".join(run.overrides)),
        count_cell(run.seed),
        text_cell(_word(status.state)),
        Cell(text="?" if seconds is None else duration(seconds, rounded=True), value=seconds),
        text_cell(", ".join(run.labels)),
        text_cell(" ".join((status.reason or "").split())),
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


def matrix_table(plan: Plan, statuses: Sequence[PlannedRunStatus]) -> Table:
    """Points down, seeds across."""
    matrix = completeness(statuses)
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


def summary(plan: Plan, statuses: Sequence[PlannedRunStatus]) -> str:
    """The status of a plan in a line or two."""
    sums = totals(statuses)
    states = ", ".join(f"{count} {_word(state)}" for state, count in sums.states.items())
    line = f"{plan.name}: {sums.runs} runs: {states}"
    for count, words in (
        (plan.collapsed, "the same run as another"),
        (plan.skipped, "skipped by a condition"),
        (plan.joined, "joined from earlier requests"),
    ):
        subject = "point is" if count == 1 else "points are"
        line += f"; {count} {subject} {words}" if count else ""
    holes = sum(status.needs_run for status in statuses)
    if not holes:
        done = all(status.state is RunStatus.COMPLETED for status in statuses)
        return f"{line}\nnothing is left to {'do' if done else 'start'}"
    left = f"{holes} to do"
    if sums.untimed < holes:
        left += f", about {duration(sums.expected_s, rounded=True)} of training one after the other"
    if sums.untimed:
        left += f" ({sums.untimed} of unknown time: no such run has been completed)"
    return f"{line}\n{left}"


def as_json(
    plan: Plan,
    statuses: Sequence[PlannedRunStatus],
    shown: Sequence[PlannedRunStatus] | None = None,
    removed: Sequence[RemovedRun] = (),
) -> dict[str, Any]:
    """The plan as plain values: totals and completeness of all its runs.

    Args:
        shown: The runs to list; all by default.
    """
    sums, matrix = totals(statuses), completeness(statuses)
    return {
        "sweep": plan.name,
        "runs": [_run_json(status) for status in (statuses if shown is None else shown)],
        "totals": {
            "runs": sums.runs,
            "states": {_word(state): count for state, count in sums.states.items()},
            "to_do": sum(status.needs_run for status in statuses),
            "expected_s": sums.expected_s,
            "untimed": sums.untimed,
            "collapsed": plan.collapsed,
            "skipped": plan.skipped,
            "joined": plan.joined,
        },
        "completeness": {
            "seeds": matrix.seeds,
            "points": [
                asdict(row) | {"states": [state and _word(state) for state in row.states]}
                for row in matrix.rows
            ],
        },
        "removed": [
            {"name": run.entry.name, "state": run.state, "reason": run.reason} for run in removed
        ],
    }


def _run_json(status: PlannedRunStatus) -> dict[str, Any]:
    run = status.run
    return {
        "name": run.name,
        "variant": run.variant,
        "overrides": list(run.overrides),
        "seed": run.seed,
        "state": _word(status.state),
        "reason": status.reason,
        "folder": status.folder,
        "expected_s": run.expected_s,
        "labels": list(run.labels),
    }


def _word(state: RunStatus) -> str:
    """The word for a state of a planned run; a complete one is done."""
    return "done" if state is RunStatus.COMPLETED else state.value


TRIAL_STATES = {"RUNNING": "open", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def state_of(trial: "FrozenTrial") -> str:
    """The state of a trial in a word."""
    return TRIAL_STATES[trial.state.name]


def reason_of(trial: "FrozenTrial") -> str | None:
    """The reason why a trial was pruned or failed."""
    return trial.user_attrs.get(GIVEN_UP) or trial.user_attrs.get(REASON)


def _objective(trial: "FrozenTrial") -> float | None:
    """Its objective; of a pruned trial there is none, only the value it was given up at."""
    return trial.values[0] if trial.state.name == "COMPLETE" else None


def space_table(name: str, search: Search) -> Table:
    """One line a key of the space."""
    return Table(
        title=f"Space of {name}",
        columns=make_columns(("key", "values")),
        rows=tuple((text_cell(item.key), text_cell(str(item))) for item in search.space),
    )


def trials_table(name: str, search: Search, trials: Sequence["FrozenTrial"]) -> Table:
    """One line a trial, in the order they were proposed."""
    keys = [item.key for item in search.space]
    return Table(
        title=f"Trials of {name}",
        columns=make_columns(
            ("trial", *keys, "state", search.objective, "reason"),
            numeric={"trial", search.objective},
            constant={"reason"},
        ),
        rows=tuple(
            (
                count_cell(trial.number),
                *(text_cell(item.text) for item in search.point(trial)),
                text_cell(state_of(trial)),
                number_cell(_objective(trial)),
                text_cell(reason_of(trial) or ""),
            )
            for trial in trials
        ),
    )


def trials_line(search: Search, trials: Sequence["FrozenTrial"]) -> str:
    """The number of trials in each state."""
    states = Counter(map(state_of, trials))
    counts = [f"{states[word]} {word}" for word in TRIAL_STATES.values() if states[word]]
    return f"{len(trials)} of {search.trials} trials: {', '.join(counts) or 'none yet'}"


def strategy_line(request: SweepRequest, search: Search) -> str:
    """Strategy, objective and pruning of a search in a line."""
    direction = "largest" if search.direction is Direction.MAXIMIZE else "smallest"
    seeds = ", ".join(map(str, request.seeds))
    pruning = ""
    if search.pruning is not None:
        behind = f" by more than {search.pruning.margin:g}" if search.pruning.margin else ""
        pruning = (
            f"; given up when behind {_RIVALS[search.pruning.rule.value]}{behind}, "
            f"from epoch {search.pruning.after_epochs}"
        )
    return (
        f"{request.name}: {search.strategy.value} looks for the {direction} {search.objective} "
        f"(mean over seeds {seeds}) of {' '.join(request.variants)}{pruning}"
    )


_RIVALS = {
    "baseline": "the baseline",
    "median": "the median of earlier points",
    "asha": "those that successive halving promotes",
}


def best_trial(search: Search, trials: Sequence["FrozenTrial"]) -> "FrozenTrial | None":
    """The completed trial with the best objective; the first of several; None without any."""
    done = [trial for trial in trials if _objective(trial) is not None]
    sign = 1 if search.direction is Direction.MAXIMIZE else -1
    return max(done, key=lambda trial: sign * (_objective(trial) or 0.0), default=None)


def search_json(
    request: SweepRequest, search: Search, trials: Sequence["FrozenTrial"]
) -> dict[str, Any]:
    """The search as plain values."""
    best = best_trial(search, trials)
    return {
        "sweep": request.name,
        "strategy": search.strategy.value,
        "objective": search.objective,
        "direction": search.direction.value,
        "trials_wanted": search.trials,
        "space": {item.key: str(item) for item in search.space},
        "trials": [
            {
                "number": trial.number,
                "overrides": [item.typed for item in search.point(trial)],
                "state": state_of(trial),
                "value": _objective(trial),
                "reason": reason_of(trial),
            }
            for trial in trials
        ],
        "best": None if best is None else best.number,
    }
