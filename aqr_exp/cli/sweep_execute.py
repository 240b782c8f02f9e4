"""Execution of a sweep's plan: first steps tried, runs over this machine's slots, a summary at the end."""

import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from aqr_exp.cli import console
from aqr_exp.cli.watch import ConsoleReporter, recovery_hints, screen, totals_line
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.run import SlurmConfig
from aqr_exp.errors import INTERRUPTED, OUT_OF_TIME, AqrExpError, Fault, RequestError, stop_code
from aqr_exp.files.progress import duration
from aqr_exp.files.run_name import arm_of
from aqr_exp.launch.attempt import Decision
from aqr_exp.launch.executor import Executor, executor_for
from aqr_exp.launch.measuring import can_be_tried, check_parameters, try_first_steps
from aqr_exp.launch.preflight import check_ready
from aqr_exp.launch.scheduler import Scheduler, Task, TaskSource, entry_of, planned_task
from aqr_exp.launch.signals import detach, stop_on_signals
from aqr_exp.launch.slots import Slot, SlotLeases, find_slots
from aqr_exp.launch.slurm import (
    SINCE_VARIABLE,
    check_slurm,
    make_due,
    remove_planned,
    slurm_of,
    submit,
)
from aqr_exp.report.figures.figure_file import check_matplotlib, save_figure
from aqr_exp.report.figures.sweep_figure import sweep_figure
from aqr_exp.report.figures.swept import MOST_PARAMETERS, swept_keys
from aqr_exp.report.tables.build import build_table
from aqr_exp.report.tables.request import TableRequest
from aqr_exp.report.tables.rows import rows_of_sweep
from aqr_exp.statistics.metrics import MAIN_METRICS
from aqr_exp.store.collect import collect, with_settings
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.submissions import Jobs, submissions_dir
from aqr_exp.store.sweep_folder import SweepFolder, check_sweep_name
from aqr_exp.sweep.plan import Plan
from aqr_exp.sweep.search import Direction
from aqr_exp.sweep.status import SweepStatus, line_of

HINT = "--no-preflight leaves it out"


def preflight(plan: Plan, store: Store, slot: Slot) -> None:
    """Let every configuration that has never trained here make its first steps, and tell.

    Raises:
        RequestError: One line for each configuration that cannot make them, with its reason.
    """
    configs = untried(plan, store) if can_be_tried() else {}
    if not configs:
        return
    counted = f"{len(configs)} configuration{'' if len(configs) == 1 else 's'}"
    console.say(f"pre-flight: {counted}, a few steps each ({HINT})")
    started = time.monotonic()
    faults = []
    for steps in try_first_steps(configs, slot):
        words = steps.fault or (
            f"{steps.step_s:.2f} s a step, {steps.memory_mb:.0f} MB at most, loss {steps.loss:.4g}"
        )
        console.say(f"  {steps.name}: {words}")
        if waits := steps.waiting(slot):
            console.say(f"  {steps.name}: {waits}")
        if steps.fault is not None:
            faults.append(Fault(where=f"pre-flight: {steps.name}", rule=steps.fault))
    took = duration(time.monotonic() - started)
    if faults:
        raise RequestError(*faults, f"nothing was started ({HINT})")
    console.say(f"pre-flight: {counted} can train ({took})")


def untried(plan: Plan, store: Store) -> dict[str, RunConfig]:
    """One run of each configuration that has never made a step here, by what one would type."""
    found: dict[str, tuple[str, RunConfig]] = {}
    tried = set()
    folders = RunFolders(store)
    for run in plan.runs:
        arm = arm_of(run.name)
        if folders.of(run.name).history_path.exists():
            tried.add(arm)
        found.setdefault(arm, (" ".join([run.variant, *run.overrides]), run.config))
    return {label: config for arm, (label, config) in found.items() if arm not in tried}


def summarize(
    sweep: SweepFolder,
    store: Store,
    *,
    metric: str = "mAP",
    direction: Direction | None = None,
    parameters: Sequence[str] = (),
) -> None:
    """Print the table of a sweep's runs, draw its figure, and name its best point.

    Args:
        direction: Which of its values are better; the largest by default.
        parameters: Keys it is drawn against; by default one or two that the sweep varied.
    """
    from aqr_exp.sweep.outcome import best_point, by_entry

    entries = sweep.read_plan()
    everything = collect(store)
    rows, _ = rows_of_sweep(everything, [entry.name for entry in entries], store)
    rows, left = with_settings(store, rows), sweep.read_left()
    if not any(row.completed for row in rows):
        return
    try:
        names = None if metric in MAIN_METRICS else [metric, *MAIN_METRICS]
        request = TableRequest(sweep=sweep.name, metrics=names)
        console.print_table(build_table(store, everything, request).table)
        parameters = parameters or swept_keys(entries)[:MOST_PARAMETERS]
        if parameters:
            check_matplotlib("the figure")
            figure = sweep_figure(rows, parameters, metric, store=store)
            paths = save_figure(figure, sweep.figure_stem(metric))
            console.say(f"{sweep.name}: drawn in {' and '.join(map(str, paths))}")
    except AqrExpError as error:  # what cannot be shown does not make the sweep a failure
        console.say(f"{sweep.name}: {error}")
    finally:  # also where the table or the figure cannot be written, which the command ends with
        found = by_entry([*entries, *left], with_settings(store, everything) if left else rows)
        best = best_point(entries, found, metric, direction or Direction.MAXIMIZE, left)
        if best is not None:
            console.say(f"{sweep.name}: {best.words()}")


SourceOf = Callable[[Callable[[Task], None], Callable[[str], None]], TaskSource]
"""Factory: (watch_task, print_line) -> TaskSource."""


def execute(
    plan: Plan,
    store: Store,
    *,
    slots: int | None = None,
    detached: bool = False,
    try_first: bool = False,
    summarized: bool = True,
) -> int:
    """Run what is missing or failed of a plan, and report.

    Several processes that execute the same plan, here or on machines that share the results, share
    its runs; each is executed once.

    Args:
        slots: How many run side by side; None takes one per GPU, or one per core without GPUs.
        try_first: Let each distinct configuration make its first steps before anything is queued.
        summarized: Show table and best point at the end.

    Returns:
        0 every run is complete or cancelled on request (or the detached process was started), 1 one
        has failed or is unknown, 75 the time of one was up, 130 interrupted.

    Raises:
        AqrExpError: Nothing was started: see `find_room` and `preflight`, or the name cannot be.
    """
    check_sweep_name(plan.name)
    configs = [run.config for run in plan.runs]
    if slurm := slurm_of(configs):
        if detached or slots:
            raise RequestError(
                "launcher=slurm: no --detach or --slots (launcher.slurm.runs_per_job)"
            )
        check_slurm()
        check_runs(configs, store, here=False)
        remember(plan, store.sweep(plan.name))
        folders = RunFolders(store)
        tasks = [planned_task(run, folders, 1) for run in plan.runs]
        return submit_tasks(plan.name, tasks, configs, slurm, store, sweep=store.sweep(plan.name))
    executor, slot = find_room([run.config for run in plan.runs], store, slots)
    if try_first:
        preflight(plan, store, slot)
    sweep = store.sweep(plan.name)
    remember(plan, sweep)
    folders = RunFolders(store)
    tasks = [planned_task(run, folders, slot.threads) for run in plan.runs]
    at_end = (lambda: summarize(sweep, store, metric=plan.primary)) if summarized else None
    return run_tasks(
        plan.name, tasks, store, executor, sweep=sweep, detached=detached, at_end=at_end
    )


def remember(plan: Plan, sweep: SweepFolder) -> None:
    """Write down what a sweep means now, and what others have added to it since it was planned."""
    names, seen = {run.name for run in plan.runs}, plan.seen
    added = [
        entry
        for entry in sweep.read_plan_if_any()
        if seen is not None and entry.name not in names | seen
    ]
    entries = [*map(entry_of, plan.runs), *added]
    sweep.write_plan(entries, plan.origin, plan.primary, plan.factors, plan.arms)


def find_room(
    configs: Sequence[RunConfig], store: Store, slots: int | None
) -> tuple[Executor, Slot]:
    """The executor of runs and one of its slots, where this machine can train them all.

    Raises:
        AqrExpError: There are not so many slots, or a run lacks packages, a GPU or disk space.
    """
    on_gpus = any(config.launcher.device != "cpu" for config in configs)
    launchers = [config.launcher for config in configs]
    threads = max((launcher.threads for launcher in launchers), default=1)
    ranks = max((launcher.gpus_per_run for launcher in launchers), default=1)
    found = find_slots(slots, on_gpus=on_gpus, threads=threads, ranks=ranks)
    executor = executor_for(launchers, SlotLeases(store.slots_dir, found))
    check_runs(configs, store)
    return executor, found[0]


def check_runs(configs: Sequence[RunConfig], store: Store, *, here: bool = True) -> None:
    """Refuse runs that could not be trained.

    Args:
        here: They are to run on this machine.

    Raises:
        AqrExpError: One lacks packages, a GPU or disk space.
    """
    # Models, data and checkpoints differ in what they need, and seeds do not.
    needs = {(one.variant.name, one.model.name, one.data, one.start): one for one in configs}
    for config in needs.values():
        check_ready(config, store.root, here=here)
    check_parameters(configs)


def submit_tasks(
    title: str,
    tasks: Sequence[Task],
    configs: Sequence[RunConfig],
    slurm: SlurmConfig,
    store: Store,
    *,
    sweep: SweepFolder | None = None,
) -> int:
    """Submit what is due of some runs to Slurm and tell; returns the exit code.

    Args:
        configs: Those of the tasks.
        sweep: The one that all of them are of; else the jobs are given the runs by their names.

    Raises:
        RequestError: It cannot be submitted.
    """
    jobs, due, made = Jobs(store.root), [], []
    for task in tasks:
        if task.create is not None and not task.folder.state_path.exists():
            task.create()
            made.append(task.folder)
        waits = jobs.look(task.folder, line_of(task).status)
        if (waits is None or waits[0] is not RunStatus.SUBMITTED) and make_due(task.folder):
            due.append(task.folder.name)
    if not due:
        console.say(f"{title}: nothing to submit: every run is complete, running or submitted")
        return 0
    names = [sweep.name] if sweep else due
    since = sweep.cancel_time() if sweep else None
    try:
        submitted, refused = submit(names, due, configs, slurm, store, since=since)
    except (AqrExpError, OSError):
        for folder in made:
            remove_planned(folder)
        raise
    counted = "1 run" if len(due) == 1 else f"{len(due)} runs"
    numbers = ", ".join(submitted.jobs)
    console.say(f"{title}: {counted} submitted to Slurm as job {numbers} (code {submitted.code})")
    if refused is not None:
        console.say(f"{title}: so many jobs and no more, they work on all: {refused}")
    watch = f"aqr-exp watch {sweep.name}" if sweep else "aqr-exp list"
    console.say(f"see them with `{watch}` (logs: {submissions_dir(store.root) / 'logs'})")
    return 0


def run_tasks(
    title: str,
    tasks: Sequence[Task],
    store: Store,
    executor: Executor,
    *,
    sweep: SweepFolder | None = None,
    detached: bool = False,
    source_of: SourceOf | None = None,
    at_end: Callable[[], None] | None = None,
    until: float = math.inf,
    patience_s: float | None = None,
) -> int:
    """Run tasks and report; returns the exit code, as `execute` does.

    Args:
        source_of: Makes the source of further tasks.
        at_end: Called when the tasks have ended, unless a stop was requested.
        until: When the time is up, of `time.monotonic`: trainings save their state then and end.
        patience_s: As of `Scheduler`.
    """
    if detached and executor.uses_terminal:
        raise RequestError("--detach: launcher=debug trains in the process of this terminal")
    if detached and _detach(title, store, sweep):
        return 0
    status = SweepStatus(tasks)
    before = sweep.cancel_time() if sweep else None
    if sweep and (since := os.environ.get(SINCE_VARIABLE)) is not None:
        before = since or None

    def request() -> int | None:
        if sweep is not None and sweep.cancel_time() != before:
            return signal.SIGINT
        return signal.SIGUSR1 if time.monotonic() >= until else None

    with sweep.registered() if sweep else nullcontext():
        scheduler = _schedule(tasks, executor, status, request, source_of, patience_s)
    lines = status.look()
    console.say(f"{title}: {totals_line(lines)}")
    failed = {
        name
        for name, snapshot in scheduler.outcomes.items()
        if snapshot.decision in {Decision.FAILED, Decision.UNKNOWN}
    }
    for words in recovery_hints([line.status for line in lines if line.name in failed]):
        console.say(words)
    decisions = {snapshot.decision for snapshot in scheduler.outcomes.values()}
    if scheduler.stopped_by is not None:
        # A training may have heard that it is cancelled.
        cancelled = Decision.CANCELLED in decisions
        return INTERRUPTED if cancelled else stop_code(scheduler.stopped_by)
    if at_end is not None:
        at_end()
    return 1 if failed else OUT_OF_TIME if Decision.INTERRUPTED in decisions else 0


def _schedule(
    tasks: Sequence[Task],
    executor: Executor,
    status: SweepStatus,
    request: Callable[[], int | None],
    source_of: SourceOf | None,
    patience_s: float | None,
) -> Scheduler:
    """Let a scheduler work, shown here and obeying signals and requests."""
    with screen(status, live=not executor.uses_terminal) as shown:
        scheduler = Scheduler(
            tasks,
            executor,
            ConsoleReporter(shown, lambda: len(status)),
            request,
            source_of(status.add, shown.say) if source_of else None,
            patience_s,
        )
        with stop_on_signals(scheduler.request_stop):
            scheduler.run()
    return scheduler


def _detach(title: str, store: Store, sweep: SweepFolder | None) -> bool:
    """Go on in a process without a terminal; returns True in the one that is to end."""
    store.root.mkdir(parents=True, exist_ok=True)
    log = sweep.detached_log_path if sweep else store.root / "detached.log"
    number = detach(log)
    if number is None:
        return False
    watch = f"aqr-exp watch {sweep.name}" if sweep else "aqr-exp watch"
    console.say(f"{title}: goes on as process {number} (log: {log}; see it with `{watch}`)")
    return True
