"""`aqr-exp confirm`: a sweep's best points and the baseline again, on fresh seeds."""

from collections.abc import Sequence
from typing import Annotated

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.sweep import say_other_code
from aqr_exp.cli.sweep_execute import execute
from aqr_exp.errors import RequestError
from aqr_exp.evaluate.conditions import DataCondition
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.launch.scheduler import entry_of
from aqr_exp.report.compare.confirmation import ConfirmedPoint, confirm, confirmation_table
from aqr_exp.report.tables.formats import TableFormat
from aqr_exp.statistics.grouping import check_metric_names, why_left_out
from aqr_exp.store.collect import collect, with_settings
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.confirmation import Confirmation, Selection, confirmation, select_best
from aqr_exp.sweep.outcome import by_entry
from aqr_exp.sweep.plan import Plan
from aqr_exp.sweep.report import summary
from aqr_exp.sweep.status import PlannedRunStatus, StatusReader

HELP = """
Their baseline runs with them; the report says by how much the best points shrank.
The best of many points was selected by its own number, so that number is too good. Asked again, it
does what is missing and prints the report; the runs are those of a sweep called confirm-SWEEP.

\b
Examples:
  aqr-exp confirm bias_scale --dry-run         what was best, and what would run
  aqr-exp confirm bias_scale
  aqr-exp confirm bias_scale --best 1 --seeds 10 --metric NDS
  aqr-exp confirm bias_scale --format md > confirmation.md
"""

_WHAT = console.argument(
    "SWEEP", "A sweep that was run, by its name or as it was typed.", completion.sweeps
)
_FORM = typer.Option("--format", help="How the report is printed.")


def command(
    what: Annotated[str, _WHAT],
    overrides: console.Overrides = None,
    best: Annotated[int, typer.Option("--best", help="How many points.", min=1, max=1000)] = 3,
    seeds: Annotated[
        int, typer.Option("--seeds", help="Fresh seeds of each.", min=1, max=1000)
    ] = 5,
    metric: Annotated[
        str, typer.Option("--metric", help="By which the best are chosen.", metavar="NAME")
    ] = "mAP",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would run and what is known; start nothing."),
    ] = False,
    slots: console.Slots = None,
    detach: console.Detach = False,
    form: Annotated[TableFormat, _FORM] = TableFormat.RICH,
) -> int:
    """Confirm a sweep; returns the exit code."""
    store = Store(results_root())
    name = _sweep_name(what, overrides or [], store)
    sweep = store.sweep(name)
    entries, left = sweep.read_plan(), sweep.read_left()
    rows = with_settings(store, collect(store))
    check_metric_names([metric], rows)
    for row in by_entry(entries, rows).values():
        if row.status is RunStatus.DAMAGED:
            console.say(f"not considered: {why_left_out(row)}")
    selection = select_best(name, entries, rows, metric=metric, best=best, left=left)
    statuses = StatusReader(store)
    planned = confirmation(selection, seeds, statuses.expected())
    plan = planned.plan
    _say_selection(selection, plan)
    say_other_code(plan.name, statuses.completed(run.name for run in plan.runs))
    code, done = 0, all(item.state is RunStatus.COMPLETED for item in statuses.of(plan))
    if dry_run:
        _say_plan(plan, statuses.of(plan))
    elif not done:
        code = execute(plan, store, slots=slots, detached=detach, summarized=False)
        if detach:
            return code
    _report(selection, planned, seeds, store, form)
    return code


def _sweep_name(what: str, overrides: Sequence[str], store: Store) -> str:
    """The name of a sweep that was run; refuses any other, with the nearest."""
    names = store.sweep_names()
    if what in names:
        if overrides:
            raise RequestError(f"'{what}' names a sweep that was run: it takes no overrides")
        return what
    try:
        name = sweep_request(what, overrides).name
    except RequestError:
        name = what
    if name not in names:
        known = f" (sweeps that were run: {some(names)})"
        raise RequestError(f"sweep '{name}' was not run yet{did_you_mean(name, names)}{known}")
    return name


def _say_selection(selection: Selection, plan: Plan) -> None:
    seeds = ", ".join(map(str, dict.fromkeys(run.seed for run in plan.runs)))
    console.say(
        f"{selection.sweep}: the best {len(selection.points)} of {selection.candidates} points by "
        f"{selection.metric}, again with the baseline on fresh seeds {seeds}"
    )
    if selection.unscored:
        console.say(
            f"{selection.unscored} more points have no completed run and were not considered"
        )


def _say_plan(plan: Plan, statuses: Sequence[PlannedRunStatus]) -> None:
    for status in statuses:
        console.say(f"  {status.state}: {status.run.name}: {entry_of(status.run).label}")
    console.say(summary(plan, statuses))


def _report(
    selection: Selection, planned: Confirmation, seeds: int, store: Store, form: TableFormat
) -> None:
    """Print what is known by now."""
    rows = collect(store)
    points = [
        ConfirmedPoint(
            selected=point.rows,
            fresh=planned.completed(point.arm, rows),
            selected_baseline=baseline.rows if baseline else (),
            fresh_baseline=planned.completed(baseline_arm, rows),
        )
        for point, baseline, baseline_arm in zip(
            selection.points, selection.baselines, planned.baseline_arms, strict=True
        )
    ]
    shown = [row for point in points for group in vars(point).values() for row in group]
    console.resample(shown, store, DataCondition())
    found = confirm(points, selection.metric, store=store)
    table = confirmation_table(
        selection.sweep, selection.metric, found, candidates=selection.candidates, planned=seeds
    )
    if form is TableFormat.CSV:
        for note in table.notes:
            console.say(note)
    console.print_table(table, form)
