"""A search for people and for programs: its space and its trials."""

from collections.abc import Sequence
from typing import Any

from aqr_exp.results.tables.cells import Cell, Table, count_cell, number_cell, text_cell
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.search import Direction, Search
from aqr_exp.sweep.study import Trial, TrialState


def space_table(name: str, search: Search) -> Table:
    """One line a key of the space."""
    return Table(
        title=f"Space of {name}",
        columns=("key", "values"),
        numeric=frozenset(),
        rows=tuple((text_cell(item.key), text_cell(str(item))) for item in search.space),
    )


def trials_table(name: str, search: Search, trials: Sequence[Trial]) -> Table:
    """One line a trial, in the order they were proposed."""
    keys = [item.key for item in search.space]
    return Table(
        title=f"Trials of {name}",
        columns=("trial", *keys, "state", search.objective, "reason"),
        numeric=frozenset({"trial", search.objective}),
        rows=tuple(
            (
                count_cell(trial.number),
                *(text_cell(item.text) for item in trial.values),
                text_cell(trial.state.value),
                _value(trial),
                text_cell(trial.given_up or trial.reason or ""),
            )
            for trial in trials
        ),
        context=frozenset({"reason"}),
    )


def _value(trial: Trial) -> Cell:
    """Its objective; of a pruned trial there is none, only what it was given up at."""
    return number_cell(trial.value if trial.state is TrialState.COMPLETE else None)


def trials_line(search: Search, trials: Sequence[Trial]) -> str:
    """How many trials there are of each kind."""
    counts = [
        f"{count} {state.value}"
        for state in TrialState
        if (count := sum(trial.state is state for trial in trials))
    ]
    return f"{len(trials)} of {search.trials} trials: {', '.join(counts) or 'none yet'}"


def strategy_line(request: SweepRequest, search: Search) -> str:
    """What is searched for, and how, in a line."""
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


def best_trial(search: Search, trials: Sequence[Trial]) -> Trial | None:
    """The completed trial with the best objective; the first of several; None without any."""
    done = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    sign = 1 if search.direction is Direction.MAXIMIZE else -1
    return max(done, key=lambda trial: sign * (trial.value or 0.0), default=None)


def as_json(request: SweepRequest, search: Search, trials: Sequence[Trial]) -> dict[str, Any]:
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
                "overrides": [item.typed for item in trial.values],
                "state": trial.state.value,
                "value": trial.value if trial.state is TrialState.COMPLETE else None,
                "reason": trial.given_up or trial.reason,
            }
            for trial in trials
        ],
        "best": None if best is None else best.number,
    }
