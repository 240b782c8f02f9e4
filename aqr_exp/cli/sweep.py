"""`aqr-exp sweep`: plan a sweep, show it or run what is missing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from aqr_exp.cli import completion, console
from aqr_exp.config.short_names import overrides_help
from aqr_exp.config.variant_spec import example_lines
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.launch.record import changed_code, edited_since
from aqr_exp.store.collect import RunRow
from aqr_exp.store.decisions import PLAN
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.sweep import report
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, check_name, plan_sweep
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.status import PlannedRunStatus, RemovedRun, StatusReader, removed_runs


def say_removed(name: str, removed: Sequence[RemovedRun]) -> None:
    """Say that there are such runs."""
    if removed:
        runs = "1 run is" if len(removed) == 1 else f"{len(removed)} runs are"
        console.say(
            f"{name}: {runs} no longer part of it and not complete: "
            "--dry-run shows which, --cancel-removed cancels them"
        )


def say_other_code(name: str, completed: Sequence[RunRow]) -> None:
    """Say how many complete runs were made by other code than this, and which files differ."""
    changed, files = changed_code(completed)
    if changed:
        console.say(
            f"{name}: {len(changed)} of {len(completed)} complete runs were made by other code "
            f"({files}): `aqr-exp run VARIANT ... --force` trains one anew"
        )


def cancel_removed_runs(name: str, removed: Sequence[RemovedRun]) -> None:
    """Cancel such runs: those that wait or failed at once, those that run by a request to stop."""
    reason = f"removed from sweep {name}"
    for run in removed:
        try:
            console.say(f"{run.folder.name}: {_cancel(run, reason)}")
        except (AqrExpError, OSError) as error:
            console.say(f"{run.folder.name} is left as it is: {error}")


def _cancel(run: RemovedRun, reason: str) -> str:
    folder = run.folder
    if folder.lease_info() is not None:
        folder.request_cancel(reason)
        return f"asked to stop ({folder.owner() or 'it has just ended'})"
    with folder.launch_lock(), folder.lock():
        # Decided under the locks: it may have been completed since its status was read.
        if folder.effective_status(ours=True) is RunStatus.COMPLETED:
            return "completed meanwhile"
        folder.request_cancel(reason)
        folder.write_state(RunStatus.CANCELLED, reason=reason)
    return f"cancelled ({run.state} before)"


HELP = f"""
A sweep is a shipped one (variants, bias_scale, window_size, bias_scale_x_window_size,
learnable_scale, constraints, presets, controls, search_bias, smoke), a file, or variants with
values. Running it again, from several terminals or after a crash, never runs a completed run twice.

\b
Examples:
  aqr-exp sweep smoke
  aqr-exp sweep bias_scale --dry-run           every run, its state and expected time
  aqr-exp sweep sweeps/mine.yaml preset=smoke
  aqr-exp sweep my_gain baseline seed=0,1,2    an idea and what it is compared with
  aqr-exp sweep search_bias                    Optuna proposes the points
  aqr-exp sweep variants --until-decided       as many seeds as each arm needs
  aqr-exp sweep variants --plan                for `aqr-exp work`, here or on other machines
{example_lines("sweep")}

\b
Values:
  bias_scale=1,2.5,5       each of a list; several such keys: their product
  'seed=range(0,3)'        0, 1, 2; range(start,stop,step) for steps other than 1
  'bias=glob(*)'           every option of a group
  'bias_scale=interval(0.5,10)'  with strategy=optuna, random or asha: points are proposed in it

{overrides_help()}"""

_WHAT = console.argument("SWEEP", "A shipped sweep, a sweep file or a variant.", completion.sweeps)
_DRY_RUN = typer.Option("--dry-run", help="Show every run, its state and time; start nothing.")
_FILL = typer.Option("--fill", help="With --dry-run: list only missing runs.")
_CANCEL_REMOVED = typer.Option(
    "--cancel-removed", help="Cancel unfinished runs that are no longer part of the sweep."
)
_NO_PREFLIGHT = typer.Option(
    "--no-preflight", help="Queue without trying a few steps of each configuration."
)


_UNTIL_DECIDED = typer.Option(
    "--until-decided", help="Add seeds until every arm is decided, by a plan made before."
)
_PLAN = typer.Option("--plan", help="Write the runs down for `aqr-exp work`, and start nothing.")
_NAME = typer.Option(
    "--name", help="Name the sweep, such as one with another setting.", metavar="NAME"
)


def command(
    what: Annotated[str, _WHAT],
    overrides: console.Overrides = None,
    dry_run: Annotated[bool, _DRY_RUN] = False,
    fill: Annotated[bool, _FILL] = False,
    slots: console.Slots = None,
    detach: console.Detach = False,
    cancel_removed: Annotated[bool, _CANCEL_REMOVED] = False,
    no_preflight: Annotated[bool, _NO_PREFLIGHT] = False,
    name: Annotated[str | None, _NAME] = None,
    until_decided: Annotated[bool, _UNTIL_DECIDED] = False,
    only_planned: Annotated[bool, _PLAN] = False,
    as_json: console.Json = False,
) -> int:
    """Plan a sweep, and run or show it; returns the exit code."""
    if not dry_run and (as_json or fill):
        raise RequestError("--json and --fill show a plan: use them with --dry-run")

    store = Store(results_root())
    request = sweep_request(what, overrides or [], name)
    check_name(request, store)
    if only_planned and (dry_run or until_decided or request.search is not None):
        raise RequestError(
            "--plan writes down runs that are known: no --dry-run, --until-decided, strategy"
        )
    if until_decided:
        return _until_decided(
            request,
            store,
            only_shown=dry_run,
            as_json=as_json,
            refused=cancel_removed or fill,
            slots=slots,
            detached=detach,
            try_first=not no_preflight,
        )
    if (store.sweep(request.name).decisions_dir / PLAN).exists():
        raise RequestError(
            f"sweep '{request.name}' was begun with --until-decided: add it, or name another (--name)"
        )
    if request.search is not None:
        from aqr_exp.cli import sweep_search

        if dry_run:
            sweep_search.show_search(request, store, as_json=as_json)
            return 0
        return sweep_search.execute_search(
            request, store, slots=slots, detached=detach, try_first=not no_preflight
        )
    known = StatusReader(store)
    meant = store.sweep(request.name).read_plan_if_any()
    plan = plan_sweep(request, known.expected(), earlier=() if cancel_removed else meant)
    plan = replace(plan, seen=frozenset(entry.name for entry in meant))
    statuses = known.of(plan)
    for line in edited_since(store, ((run.config, run.overrides) for run in plan.runs)):
        console.say(line)
    removed = removed_runs(plan.name, {run.name for run in plan.runs}, store)
    if dry_run:
        show_plan(plan, statuses, removed, only_holes=fill, as_json=as_json)
        say_other_code(plan.name, known.completed(run.name for run in plan.runs))
        return 0
    if cancel_removed:
        cancel_removed_runs(plan.name, removed)
    else:
        say_removed(plan.name, removed)
    console.say(report.summary(plan, statuses))
    say_other_code(plan.name, known.completed(run.name for run in plan.runs))
    if only_planned:
        _remember(plan, store)
        console.say(f"{plan.name} is planned: `aqr-exp work {plan.name}` works on it")
        return 0
    # What runs the holes is loaded only when there are any.
    if all(status.state is RunStatus.COMPLETED for status in statuses):
        _remember(plan, store)
        return 0
    from aqr_exp.cli.sweep_execute import execute

    return execute(plan, store, slots=slots, detached=detach, try_first=not no_preflight)


def _until_decided(
    request: SweepRequest,
    store: Store,
    *,
    only_shown: bool,
    as_json: bool,
    refused: bool,
    **options: Any,
) -> int:
    from aqr_exp.cli import sweep_until

    if refused:
        raise RequestError(
            "--until-decided: its runs follow from its plan: no --cancel-removed, --fill"
        )
    if only_shown:
        sweep_until.show_until_decided(request, store, as_json=as_json)
        return 0
    return sweep_until.execute_until_decided(request, store, **options)


def show_plan(
    plan: Plan,
    statuses: Sequence[PlannedRunStatus],
    removed: Sequence[RemovedRun] = (),
    *,
    only_holes: bool,
    as_json: bool,
) -> None:
    """Print every run of a plan, its completeness and its totals."""
    shown = [status for status in statuses if status.needs_run or not only_holes]
    if as_json:
        console.print_json(report.as_json(plan, statuses, shown, removed))
        return
    if shown:
        console.print_table(report.runs_table(plan, shown))
    console.print_table(report.matrix_table(plan, statuses))
    if removed:
        console.print_table(report.removed_table(plan.name, removed))
    console.data(report.summary(plan, statuses))


def _remember(plan: Plan, store: Store) -> None:
    """Write down what a sweep means now, when it meant something else before."""
    sweep = store.sweep(plan.name)
    if [entry.name for entry in sweep.read_plan_if_any()] != [run.name for run in plan.runs]:
        from aqr_exp.cli.sweep_execute import remember

        remember(plan, sweep)
