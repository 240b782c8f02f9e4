"""`aqr-exp cancel`, `retry` and `resume`: runs and sweeps stopped, and executed again."""

import getpass
import math
import os
import socket
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from aqr_exp.cli import completion, console
from aqr_exp.cli.sweep_execute import check_runs, find_room, run_tasks, submit_tasks
from aqr_exp.cli.watch import watched_runs
from aqr_exp.config.identity import from_spec, run_name
from aqr_exp.config.inputs import with_checkpoint_identity, with_data_identity
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import AqrExpError, Fault, RequestError
from aqr_exp.launch.record import changed_code
from aqr_exp.launch.scheduler import Task, task_of
from aqr_exp.launch.slurm import check_slurm, slurm_of
from aqr_exp.store.collect import read_row
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.lease import evict, look
from aqr_exp.store.process_identity import SILENT_S, Liveness
from aqr_exp.store.run_files import files_in
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.slurm import cancel_waiting
from aqr_exp.store.status import IN_HAND, RunStatus
from aqr_exp.store.store import Store, results_root
from aqr_exp.store.submissions import Jobs, in_words
from aqr_exp.store.sweep_folder import SweepEntry, SweepFolder
from aqr_exp.sweep.status import line_of

CANCEL_HELP = """
The request is a file that they look for. A running training stops within seconds and says
`cancelled`; one that waits is not started. A sweep is stopped as Ctrl-C in its own terminal does it.
`aqr-exp resume` and the sweep itself go on later.

\b
Examples:
  aqr-exp cancel baseline-1a2b3c4d5e6f-s0
  aqr-exp cancel bias_scale
"""


_NAMES = console.argument("NAME...", "Runs or sweeps.", completion.runs_or_sweeps)


def cancel_command(names: Annotated[list[str], _NAMES]) -> int:
    """Stop runs and sweeps; returns the exit code."""
    store = Store(results_root())
    # Everything is found before anything is stopped.
    found = [store.find_run_or_sweep(name) for name in names]
    for item in found:
        if isinstance(item, SweepFolder):
            console.say(cancel_sweep(item, store))
        else:
            console.say(cancel_run(item, Jobs(store.root)))
    return 0


def cancel_sweep(sweep: SweepFolder, store: Store) -> str:
    """Ask the schedulers of a sweep to stop, and its running runs; returns what was done.

    Raises:
        RequestError: No scheduler works on it and none of its runs is running.
    """
    workers = sweep.schedulers()
    watched = watched_runs(store, sweep)
    running = [run.folder for run in watched if line_of(run).status is RunStatus.RUNNING]
    jobs = Jobs(store.root).given(sweep.name)
    if not workers and not running and not jobs:
        raise RequestError(f"no process works on sweep {sweep.name}: there is nothing to cancel")
    # First of all: what begins to work from now on finds the request.
    sweep.request_cancel()
    cancel_waiting(jobs)
    for folder in running:
        folder.request_cancel(_reason())
    asked = ", ".join(map(str, workers)) or "no scheduler works on it"
    submitted = f"; {in_words(jobs)}" if jobs else ""
    return f"sweep {sweep.name}: asked to stop ({asked}; {len(running)} runs running{submitted})"


def cancel_run(folder: RunFolder, jobs: Jobs) -> str:
    """Ask the process of a run to stop, or keep the run from being started; returns what was done.

    Raises:
        RequestError: The run has ended.
    """
    status = folder.effective_status()
    if status in {RunStatus.PLANNED, RunStatus.INTERRUPTED} or _is_submitted(folder, status, jobs):
        with folder.launch_lock(), folder.lock():
            folder.request_cancel(_reason())
            folder.write_state(RunStatus.CANCELLED, reason=_reason())
        cancel_waiting(jobs.given(folder.name, alone=True))
        return f"{folder.name}: cancelled"
    holder = folder.owner()
    if holder is None:
        raise RequestError(f"{folder.name} is {status}: there is nothing to cancel")
    folder.request_cancel(_reason())
    return f"{folder.name}: asked to stop ({holder})"


def _is_submitted(folder: RunFolder, status: RunStatus, jobs: Jobs) -> bool:
    found = jobs.look(folder, status)
    return found is not None and found[0] is RunStatus.SUBMITTED


def _reason() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as containers have them
        user = f"user {os.getuid()}"
    return f"cancelled by {user} on {socket.gethostname()}"


Names = Annotated[
    list[str] | None,
    console.argument("[NAME]...", "Runs or sweeps; all without.", completion.runs_or_sweeps),
]
Candidate = tuple[RunFolder, SweepEntry | None]
"""A run that may be executed again, and what a sweep wrote down about it: enough to make it."""


def rerun(
    title: str,
    names: Sequence[str],
    wanted: frozenset[RunStatus],
    *,
    slots: int | None,
    detach: bool = False,
    steal: bool = False,
    works: bool = False,
    until: float = math.inf,
    patience_s: float | None = None,
) -> int:
    """Execute again the runs that are in one of the wanted states; returns the exit code.

    Args:
        slots: How many run side by side.
        steal: Take over the runs whose holder is unknown.
        works: As a worker does: what somebody said is to stop is left alone, and submitted runs are run.
        until: As of `run_tasks`, like `patience_s`.

    Raises:
        AqrExpError: A name is unknown, or nothing can be started here.
    """
    store = Store(results_root())
    named = [store.find_run_or_sweep(name) for name in names]
    candidates = _candidates(named, store) if names else [(folder, None) for folder in store]
    if steal:
        for folder, _ in candidates:
            steal_from_unknown(folder)
    chosen = [one for one in candidates if _is_wanted(*one, wanted, works)]
    if not works:
        chosen = _not_submitted(chosen, store)
    if not chosen:
        states = " or ".join(sorted(wanted))
        nothing = f"nothing to {title}: no run is {states}"
        console.say("work: nothing is left to start" if works else nothing)
        return 0
    ready = _with_inputs(chosen, named=bool(names))
    _say_other_code(title, [folder for (folder, _), _ in ready])
    configs = [config for _, config in ready]
    if not works and (slurm := slurm_of(configs)):
        check_slurm()
        check_runs(configs, store, here=False)
        return submit_tasks(title, _tasks(ready, 1), configs, slurm, store)
    executor, slot = find_room(configs, store, slots)
    tasks = _tasks(ready, slot.threads)
    sweep = named[0] if len(named) == 1 and isinstance(named[0], SweepFolder) else None
    return run_tasks(
        title,
        tasks,
        store,
        executor,
        sweep=sweep,
        detached=detach,
        until=until,
        patience_s=patience_s,
    )


def _tasks(ready: Sequence[tuple[Candidate, RunConfig]], threads: int) -> list[Task]:
    return [
        task_of(entry, folder, config, threads) if entry else Task(folder=folder, label=folder.name)
        for (folder, entry), config in ready
    ]


def _say_other_code(title: str, folders: Sequence[RunFolder]) -> None:
    """Say how many runs would go on with other code than they began with."""
    rows = [read_row(folder) for folder in folders if files_in(folder.checkpoints_dir)]
    changed, files = changed_code(rows)
    if changed:
        console.say(
            f"{title}: {len(changed)} of {len(folders)} runs began with other code ({files}): they go on "
            "with this one, and tables say so (`aqr-exp run VARIANT ... --force` trains one anew)"
        )


def _candidates(named: Sequence[RunFolder | SweepFolder], store: Store) -> list[Candidate]:
    """The runs that were named, each once, in the order of the names."""
    found: dict[str, Candidate] = {}
    folders = RunFolders(store)
    for folder in named:
        if isinstance(folder, SweepFolder):
            for entry in folder.read_plan():
                own = folders.of(entry.name)
                found[own.name] = (own, entry)
        else:
            found.setdefault(folder.name, (folder, None))
    return list(found.values())


def _status(folder: RunFolder, entry: SweepEntry | None) -> RunStatus | None:
    """The run's effective status; planned when a sweep means it and it was never made."""
    if entry is not None and not folder.path.exists():
        return RunStatus.PLANNED
    row = read_row(folder)
    if row.status is RunStatus.DAMAGED:
        console.say(f"{folder.name} is left out: {row.reason}")
        return None
    return row.status


def _is_wanted(
    folder: RunFolder, entry: SweepEntry | None, wanted: frozenset[RunStatus], works: bool
) -> bool:
    status = _status(folder, entry)
    asked = status is RunStatus.CANCELLED and folder.cancel_request() is not None
    return status in wanted and not (works and asked)


def _not_submitted(chosen: Sequence[Candidate], store: Store) -> list[Candidate]:
    """The runs that no job of Slurm is to work on; says which are left to one."""
    jobs, left = Jobs(store.root), []
    for folder, entry in chosen:
        found = jobs.look(folder, _status(folder, entry) or RunStatus.DAMAGED)
        if found is None:
            left.append((folder, entry))
        else:
            console.say(f"{folder.name} is left out, it is submitted: {found[1]}")
    return left


def steal_from_unknown(folder: RunFolder) -> None:
    """Take over a run whose process is in an unknown state; never that of a living one."""
    for path in (folder.lease_path, folder.launch_lease_path):
        standing = look(path)
        if standing is not None and standing.liveness is Liveness.UNKNOWN and evict(standing.file):
            console.say(f"{folder.name}: taken from {standing}")


def _with_inputs(chosen: Sequence[Candidate], *, named: bool) -> list[tuple[Candidate, RunConfig]]:
    """The runs with their configurations, whose data and checkpoints are those they were made for.

    Args:
        named: Nothing is started unless all can be; else a run without its inputs is left out.

    Raises:
        RequestError: What is wrong with the inputs of runs that were named, or of every run.
    """
    ready: list[tuple[Candidate, RunConfig]] = []
    compared: set[str] = set()
    refused: dict[str, RequestError] = {}
    for candidate in chosen:
        try:
            ready.append((candidate, _config(*candidate, compared)))
        except RequestError as error:
            refused[candidate[0].name] = error
    if refused and (named or not ready):
        raise RequestError(*(fault for one in refused.values() for fault in one.faults))
    for name, one in refused.items():
        console.say(f"{name} is left out: {one}")
    return ready


def _config(folder: RunFolder, entry: SweepEntry | None, compared: set[str]) -> RunConfig:
    """The run's configuration: what its folder says, or what its sweep wrote down composes to.

    Raises:
        AqrExpError: The specification is damaged, or the configuration or its inputs have changed since.
    """
    if entry is None or folder.path.exists():
        config = from_spec(folder.read_spec())
        return with_checkpoint_identity(with_data_identity(config, compared))
    config = load_run(entry.variant, [*entry.overrides, f"seed={entry.seed}"])
    config = with_data_identity(config, compared)
    if run_name(config) != entry.name:
        raise AqrExpError(
            f"{entry.name} was never started and `{entry.label}` means {run_name(config)} now: "
            "run the sweep again"
        )
    return config


RESUME_HELP = """
A run continues from its newest intact checkpoint and ends with the numbers it would have had. A run
is `unknown` when its process runs on another machine or in another container and has stopped sending
heartbeats: whether it lives cannot be known here. --steal takes it over once you know that it is dead.

\b
Examples:
  aqr-exp resume                      everything that was interrupted or cancelled
  aqr-exp resume bias_scale           what a sweep still lacks
  aqr-exp resume baseline-1a2b3c4d5e6f-s0 --steal
"""


def resume_command(
    names: Names = None,
    slots: console.Slots = None,
    detach: console.Detach = False,
    steal: Annotated[
        bool, typer.Option("--steal", help="Take over the named runs whose holder is unknown.")
    ] = False,
) -> int:
    """Resume runs; returns the exit code."""
    if steal and not names:
        raise RequestError("--steal needs the names of the runs or sweeps it may take from")
    wanted = frozenset({RunStatus.INTERRUPTED, RunStatus.CANCELLED, RunStatus.PLANNED})
    return rerun("resume", names or [], wanted, slots=slots, detach=detach, steal=steal)


RETRY_HELP = """
A run that stopped after an epoch continues from its newest intact checkpoint.

\b
Examples:
  aqr-exp retry --failed              every failed run of the results folder
  aqr-exp retry --failed bias_scale   the failed runs of one sweep
  aqr-exp retry baseline-1a2b3c4d5e6f-s0
"""


def retry_command(
    names: Names = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Without names: every failed run there is.")
    ] = False,
    slots: console.Slots = None,
    detach: console.Detach = False,
) -> int:
    """Run failed runs again; returns the exit code."""
    if not names and not failed:
        raise RequestError("name a run or a sweep, or type --failed for every failed run")
    wanted = frozenset({RunStatus.FAILED})
    return rerun("retry", names or [], wanted, slots=slots, detach=detach)


WORK_HELP = """
Runs that others work on are left to them, and those that failed or that `aqr-exp cancel` stopped to
`retry` and `resume`. Any machine that sees the results folder and the data may work on a sweep, and
several at once: each run is executed once. A run that another worker left (its time was up, its
machine was lost) goes on here.

\b
Examples:
  aqr-exp work bias_scale                   until nothing is left to start
  aqr-exp work bias_scale --until-idle      until nothing runs any more either
  aqr-exp work bias_scale --minutes 110     then runs save their state: exit code 75
  ssh node2 aqr-exp work bias_scale
"""
# A run whose machine was lost looks like another worker's for `SILENT_S`.
LEFT_AFTER_S = 1.5 * SILENT_S


def work_command(
    names: Annotated[list[str], _NAMES],
    until_idle: Annotated[
        bool,
        typer.Option("--until-idle", help="Wait for runs of others; take over what they leave."),
    ] = False,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="Save what runs then, and end.", metavar="N")
    ] = None,
    slots: console.Slots = None,
) -> int:
    """Work on runs that were planned; returns the exit code."""
    if minutes is not None and not minutes > 0:
        raise RequestError(Fault("--minutes", f"{minutes:g}", "must be more than 0"))
    return rerun(
        "work",
        names,
        IN_HAND
        | {RunStatus.PLANNED, RunStatus.INTERRUPTED, RunStatus.CANCELLED, RunStatus.UNKNOWN},
        slots=slots,
        works=True,
        until=math.inf if minutes is None else time.monotonic() + 60.0 * minutes,
        patience_s=None if until_idle else LEFT_AFTER_S,
    )
