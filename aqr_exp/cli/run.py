"""`aqr-exp run`: train and score one run, or show it when it is complete."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from aqr_exp.cli import arguments, output
from aqr_exp.config import short_names

if TYPE_CHECKING:
    from aqr_exp.config.schema import RunConfig
    from aqr_exp.launch.plan import Plan
    from aqr_exp.results.run_folder import RunFolder
    from aqr_exp.results.state import RunState
    from aqr_exp.results.store import Store

HELP = f"""Train a variant, score it by the nuScenes protocol and show its metrics.

A run that is complete is shown, not repeated; one that failed or was interrupted starts again.

\b
Examples:
  aqr-exp run baseline
  aqr-exp run baseline seed=1 schedule=standard
  aqr-exp run baseline schedule.epochs=3 model.head.layers=3
  aqr-exp run baseline --force        a new attempt beside the old one
  aqr-exp run baseline --dry-run      steps, stages, learning rate, memory; what is missing
  aqr-exp run attention_bias bias_scale=3.5 window_size=5

{short_names.HELP}"""


def command(
    variant: arguments.Variant,
    overrides: arguments.Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start a new attempt beside those that are there.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what it would do and what is missing; do nothing."),
    ] = False,
    as_json: arguments.Json = False,
) -> int:
    """Run one variant on this machine; returns the exit code."""
    from aqr_exp.config.data_identity import with_data_identity
    from aqr_exp.config.load import load_run
    from aqr_exp.results.store import Store, results_root

    typed = list(overrides or [])
    config = load_run(variant, typed)
    if dry_run:
        from aqr_exp.cli.run_plan import show_run_plan

        return show_run_plan(config, Store(results_root()), as_json=as_json)
    config = with_data_identity(config)
    return run_config(config, Store(results_root()), typed, force=force, as_json=as_json)


def run_config(
    config: "RunConfig",
    store: "Store",
    overrides: Sequence[str],
    *,
    force: bool = False,
    as_json: bool = False,
    command: Sequence[str] | None = None,
) -> int:
    """Plan a checked run, start it when it is not complete, and report how it ended.

    Args:
        config: The run, with its data's fingerprint.
        store: Where runs are kept.
        overrides: What was typed after the variant.
        force: Start a new attempt beside those that are there.
        as_json: Report in JSON.
        command: What to start, the run's folder appended; the real training by default.

    Returns:
        0 completed, 1 failed, 130 interrupted.

    Raises:
        AqrExpError: It cannot be started: training packages or disk space are missing (exit 2),
            or another process works on it (exit 1).
    """
    from aqr_exp.config.identity import run_name
    from aqr_exp.launch.create import create_run
    from aqr_exp.launch.plan import Action, plan_run

    plan = plan_run(store, run_name(config), force=force)
    if plan.action is not Action.SHOW:
        from aqr_exp.launch.preflight import check_ready

        check_ready(config, store.root)
        if plan.action is Action.START and not plan.folder.state_path.exists():
            create_run(plan.folder, config, overrides)
        return _start(plan, as_json=as_json, command=command)
    if not as_json:
        hint = "--force starts it anew beside this one"
        output.say(f"{plan.folder.name} is complete already ({hint})")
    return _report_completed(plan.folder, as_json=as_json)


def _start(plan: "Plan", *, as_json: bool, command: Sequence[str] | None) -> int:
    """Train under the launch lease and report."""
    from aqr_exp.cli.progress import run_progress
    from aqr_exp.launch.local import train
    from aqr_exp.launch.plan import Action
    from aqr_exp.results.state import RunStatus

    folder = plan.folder
    with folder.launch_lock():
        # Another process may have finished it while this one waited for the lock.
        if folder.effective_status() == RunStatus.COMPLETED.value:
            return _report_completed(folder, as_json=as_json)
        if plan.action is Action.START:
            output.say(f"{folder.name}: starts (log: {folder.train_log_path})")
        else:
            output.say(f"{folder.name}: was {plan.previous}, starts attempt {plan.attempt}")
        with run_progress() as show:
            state = train(
                folder,
                show,
                attempt=plan.attempt,
                command=[*command, str(folder.path)] if command else None,
            )
    if state.status is RunStatus.COMPLETED:
        return _report_completed(folder, as_json=as_json)
    return _report_unfinished(folder, state, as_json=as_json)


def _report_completed(folder: "RunFolder", *, as_json: bool) -> int:
    from aqr_exp.cli.show import print_metrics, run_as_json
    from aqr_exp.errors import AqrExpError
    from aqr_exp.results.collect import read_row

    row = read_row(folder)
    if not row.completed:
        raise AqrExpError(row.reason or f"{folder.path} is damaged")
    if as_json:
        output.print_json(run_as_json(folder, row))
        return 0
    print_metrics(row)
    output.data(f"folder: {folder.path}")
    return 0


def _report_unfinished(folder: "RunFolder", state: "RunState", *, as_json: bool) -> int:
    from aqr_exp.cli.show import run_as_json
    from aqr_exp.launch.training import last_log_lines
    from aqr_exp.results.collect import read_row
    from aqr_exp.results.state import RunStatus

    cancelled = state.status is RunStatus.CANCELLED
    if as_json:
        output.print_json(run_as_json(folder, read_row(folder)))
    if not cancelled:
        output.say(f"the last lines of {folder.train_log_path}:")
        for line in last_log_lines(folder):
            output.say(f"  {line}")
    output.say(f"aqr-exp: {folder.name} {state.status.value}: {state.reason or 'no reason given'}")
    return 130 if cancelled else 1
