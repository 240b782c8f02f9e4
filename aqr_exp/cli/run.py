"""`aqr-exp run`: train one run, or show what it would do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

import typer

from aqr_exp.cli import console
from aqr_exp.cli.console import run_progress
from aqr_exp.cli.show import print_metrics, run_as_json
from aqr_exp.config.identity import run_name
from aqr_exp.config.inputs import with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.short_names import overrides_help
from aqr_exp.config.variant_spec import example_lines
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.progress import no_progress
from aqr_exp.files.suggest import some
from aqr_exp.launch.attempt import last_log_lines
from aqr_exp.launch.executor import Executor, executor_for
from aqr_exp.launch.measuring import (
    can_be_tried,
    check_parameters,
    outline_of,
    try_first_steps,
)
from aqr_exp.launch.preflight import check_ready
from aqr_exp.launch.record import changed_code, create_run, edited_since
from aqr_exp.launch.run_plan import RunPlan, plan_of
from aqr_exp.launch.scheduler import Task
from aqr_exp.launch.single_run import Plan, plan_run, train
from aqr_exp.launch.slots import find_slots
from aqr_exp.launch.slurm import check_slurm, slurm_of
from aqr_exp.store.collect import intact_row, read_row
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import EXIT_CODES, RunState, RunStatus
from aqr_exp.store.store import Store, results_root

_BARS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_PLAIN_BARS = "_.-=+*#"


def show_run_plan(config: RunConfig, store: Store, *, as_json: bool) -> int:
    """Print what a run would do.

    Returns:
        0 when it can run here, 2 when something is missing; each fault is a line on stderr.
    """
    plan = plan_of(config, store.root)
    console.say("building the detector and estimating the memory of a step (some seconds)")
    try:
        (found,) = outline_of([config], memory=True)
        found["faults"] = tuple(dict.fromkeys((*plan.faults, *found["faults"])))
        plan = replace(plan, **found)
    except AqrExpError as error:
        console.say(str(error))
    if not plan.faults:
        plan = _with_loading(config, plan)
    if as_json:
        console.print_json(asdict(plan))
    else:
        console.data("\n".join(_lines(config, plan)))
    for note in plan.notes:
        console.say(f"note: {note}")
    for fault in plan.faults:
        console.say(f"aqr-exp: {fault}")
    return 2 if plan.faults else 0


def _with_loading(config: RunConfig, plan: RunPlan) -> RunPlan:
    """The plan with the times of a few real steps, where there is a GPU that could wait for samples."""
    (slot,) = find_slots(1, on_gpus=config.launcher.device != "cpu")
    if not slot.environment.get("CUDA_VISIBLE_DEVICES") or not can_be_tried():
        return plan
    console.say("making a few steps on the GPU")
    (steps,) = try_first_steps({run_name(config): with_data_identity(config)}, slot)
    if steps.fault is not None:
        return replace(plan, faults=(f"its first steps: {steps.fault}",))
    found = {name: getattr(steps, name) for name in ("step_s", "load_s", "workers")}
    return replace(plan, loading={**found, "waiting": steps.waiting(slot)})


def _lines(config: RunConfig, plan: RunPlan) -> list[str]:
    schedule, rates = config.schedule, plan.learning_rates
    names = f"model {config.model.name}, data {config.data.name}, schedule {schedule.name}"
    steps = f"steps an epoch: {_known(plan.steps_per_epoch)}, steps in all: {_known(plan.steps)}"
    drawn = f", class-balanced {_known(plan.samples_per_epoch)} an epoch" if schedule.cbgs else ""
    counts = ((config.launcher.gpus_per_run, "processes"), (schedule.accumulate, "parts"))
    shares = [f"{count} {name}" for count, name in counts if count > 1]
    parts = f" in {' x '.join(shares)}" if shares else ""
    peak = f"{max(rates):.3g} after {100 * plan.peak_share:.0f} % of the run"
    lines = [
        f"{config.variant.name}, {names}, seed {config.seed}",
        f"samples: {_known(plan.samples)}{drawn}, batch size {schedule.batch_size}{parts}",
        f"epochs: {plan.epochs}, {steps}",
        *(f"  {words}" for words in plan.stages),
        f"learning rate: {rates[0]:.3g}, at its highest {peak}, {rates[-1]:.3g} at the end",
        f"  {_curve(rates)}",
    ]
    lines += _rate_lines(plan)
    lines += _beginning_lines(plan.beginning)
    if plan.memory:
        sizes = {name: _gigabytes(size) for name, size in plan.memory.items()}
        lines.append(
            f"memory of a step: about {sizes['total_gb']} with {config.samples_at_once} samples in one "
            f"process (weights, gradients and AdamW {sizes['weights_gb']}, activations "
            f"{sizes['activations_gb']}; the sparse encoder and the arm come on top)"
        )
    if found := plan.loading:
        times = f"{found['step_s']:.2f} s, loaded in {found['load_s']:.2f} s by one process"
        lines += [f"a step: {times}", *filter(None, [found["waiting"]])]
    return lines


def _rate_lines(plan: RunPlan) -> list[str]:
    """The multipliers of the learning rate, and what they act on."""
    lines = [
        f"  x {rate['multiplier']:g}: {rate['module']} ({_known(rate['parameters'])} "
        f"parameter{'s' * (rate['parameters'] != 1)})"
        for rate in plan.rates
    ]
    return ["learning rates of the parts:"] * bool(lines) + lines


def _beginning_lines(found: Mapping[str, Any] | None) -> list[str]:
    """What a checkpoint gives, name by name where that is not too much."""
    if found is None:
        return []
    lines = [f"begins with {found['file']}: {found['taken']} of {found['all']} weights taken"]
    for key, words in (
        ("left", "left in the file"),
        ("new", "not taken from it, begin as without"),
    ):
        if found[key]:
            lines.append(f"  {len(found[key])} {words}: {some(_modules(found[key]), most=400)}")
    return lines + [f"  {words}" for words in found["faults"]]


def _modules(names: Sequence[str]) -> list[str]:
    """The names, or where they are many the modules that they lie in, two levels deep."""
    counts = Counter(".".join(name.split(".")[:2]) for name in names)
    many = len(names) > 20
    return [f"{module} ({count})" for module, count in counts.items()] if many else list(names)


def _gigabytes(size: float) -> str:
    return f"{size:.1f} GB" if size >= 1 else f"{size:.2f} GB"


def _known(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _curve(rates: tuple[float, ...]) -> str:
    """The curve in one line of text."""
    bars = _BARS if console.on_unicode() else _PLAIN_BARS
    top = max(rates)
    return "".join(bars[min(len(bars) - 1, int(rate / top * len(bars)))] for rate in rates)


HELP = f"""
A run that is complete is shown, not repeated; one that failed or was interrupted starts again.

\b
Examples:
  aqr-exp run baseline
  aqr-exp run baseline seed=1 schedule=standard
  aqr-exp run baseline schedule.epochs=3 model.head.layers=3
  aqr-exp run baseline --force        a new attempt beside the old one
  aqr-exp run baseline --dry-run      steps, stages, learning rate, memory; what is missing
{example_lines("run")}

{overrides_help()}"""


def command(
    variant: console.Variant,
    overrides: console.Overrides = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start a new attempt beside those that are there.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what it would do and what is missing; do nothing."),
    ] = False,
    as_json: console.Json = False,
) -> int:
    """Run one variant on this machine; returns the exit code."""
    typed = list(overrides or [])
    config = load_run(variant, typed, begins=True)
    if config.sources is not None:
        with suppress(RequestError):  # said below
            for line in edited_since(Store(results_root()), [(with_data_identity(config), typed)]):
                console.say(line)
    if dry_run:
        return show_run_plan(config, Store(results_root()), as_json=as_json)
    config = with_data_identity(config)
    return run_config(config, Store(results_root()), typed, force=force, as_json=as_json)


def run_config(
    config: RunConfig,
    store: Store,
    overrides: Sequence[str],
    *,
    force: bool = False,
    as_json: bool = False,
) -> int:
    """Plan a checked run, start it when it is not complete, and report how it ended.

    Args:
        force: Start a new attempt beside those that are there.

    Returns:
        0 completed, 1 failed, 75 its time was up, 130 stopped.

    Raises:
        AqrExpError: It cannot be started: training packages or disk space are missing (exit 2),
            or another process works on it (exit 1).
    """
    plan = plan_run(store, run_name(config), force=force)
    if plan.previous is not RunStatus.COMPLETED:
        slurm = slurm_of([config])
        if slurm:
            check_slurm()
        check_ready(config, store.root, here=slurm is None)
        check_parameters([config])
        create = partial(create_run, plan.folder, config, overrides)
        if slurm:
            from aqr_exp.cli.sweep_execute import submit_tasks

            task = Task(folder=plan.folder, label=plan.folder.name, create=create)
            code = submit_tasks(plan.folder.name, [task], [config], slurm, store)
            if as_json:
                console.print_json(run_as_json(plan.folder, read_row(plan.folder)))
            return code
        if not plan.folder.state_path.exists():
            create()
        return _start(plan, executor_for([config.launcher]), as_json=as_json)
    plan.folder.clear_dead_leases()
    if not as_json:
        row = read_row(plan.folder)
        _, changed = changed_code([row])
        what = f"; {changed} changed since: --force trains it anew" if changed else ""
        hint = " beside this one" if changed else " (--force starts it anew beside this one)"
        console.say(f"{row.name} is complete already{what}{hint}")
        trained, asked = row.hardware.get("threads"), config.launcher.threads
        if asked and trained not in {None, asked}:
            console.say(f"its threads were {trained}, not {asked}: last digits depend on them")
    return _report_completed(plan.folder, as_json=as_json)


def _start(plan: Plan, executor: Executor, *, as_json: bool) -> int:
    """Train under the launch lease and report."""
    folder = plan.folder
    with folder.launch_lock():
        # Another process may have finished it while this one waited for the lock.
        if folder.effective_status() is RunStatus.COMPLETED:
            return _report_completed(folder, as_json=as_json)
        if plan.previous is None:
            console.say(f"{folder.name}: starts (log: {folder.train_log_path})")
        else:
            console.say(f"{folder.name}: was {plan.previous}, starts attempt {plan.attempt}")
        # A training in this terminal leaves no place for a progress bar.
        with nullcontext(no_progress) if executor.uses_terminal else run_progress() as show:
            state = train(folder, executor, show, attempt=plan.attempt)
    if state.status is RunStatus.COMPLETED:
        return _report_completed(folder, as_json=as_json)
    return _report_unfinished(folder, state, as_json=as_json)


def _report_completed(folder: RunFolder, *, as_json: bool) -> int:
    row = intact_row(folder)
    if as_json:
        console.print_json(run_as_json(folder, row))
        return 0
    print_metrics(row)
    console.data(f"folder: {folder.path}")
    return 0


def _report_unfinished(folder: RunFolder, state: RunState, *, as_json: bool) -> int:
    if as_json:
        console.print_json(run_as_json(folder, read_row(folder)))
    if state.status is RunStatus.FAILED:
        console.say(f"the last lines of {folder.train_log_path}:")
        for line in last_log_lines(folder):
            console.say(f"  {line}")
    console.say(f"aqr-exp: {folder.name} {state.status.value}: {state.reason or 'no reason given'}")
    return EXIT_CODES[state.status]
