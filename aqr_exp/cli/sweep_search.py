"""Execution of a search: trials are proposed while slots are free, and run as those of a sweep are."""

from optuna.trial import FrozenTrial

from aqr_exp.cli import console
from aqr_exp.cli.sweep import say_other_code
from aqr_exp.cli.sweep_execute import (
    find_room,
    preflight,
    run_tasks,
    summarize,
)
from aqr_exp.launch.slurm import refuse_slurm
from aqr_exp.launch.trial_source import TrialSource
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepFolder
from aqr_exp.sweep import report
from aqr_exp.sweep.request import SweepRequest
from aqr_exp.sweep.search import Search, check_installed
from aqr_exp.sweep.status import StatusReader
from aqr_exp.sweep.study import SearchStudy
from aqr_exp.sweep.trials import TrialPlanner


def execute_search(
    request: SweepRequest,
    store: Store,
    *,
    slots: int | None = None,
    detached: bool = False,
    try_first: bool = False,
) -> int:
    """Propose and run trials until there are as many as asked for, and report; see `execute`.

    Several processes that execute the same search share its trials.

    Args:
        try_first: Let a point make its first steps before a search is begun.

    Raises:
        RequestError: The search cannot be; nothing was started.
    """
    check_installed()
    known = StatusReader(store)
    planner = TrialPlanner(request, known.expected())
    probe = planner.check_space()
    refuse_slurm((run.config for run in probe.runs), "a search")
    executor, slot = find_room([run.config for run in probe.runs], store, slots)
    sweep = store.sweep(request.name)
    if try_first and not sweep.study_path.exists():
        preflight(probe, store, slot)
    _say_other_code(sweep, known)
    sweep.path.mkdir(parents=True, exist_ok=True)
    study = SearchStudy(sweep.study_path, sweep.study_log_path, planner.search, planner.alike())
    if not sweep.read_plan_if_any():
        sweep.write_plan([], request.origin, request.primary, request.factors, ())
    return run_tasks(
        request.name,
        [],
        store,
        executor,
        sweep=sweep,
        detached=detached,
        source_of=lambda watch, say: TrialSource(
            planner, study, sweep, RunFolders(store), threads=slot.threads, watch=watch, say=say
        ),
        at_end=lambda: _report(sweep, store, planner.search, study),
    )


def show_search(request: SweepRequest, store: Store, *, as_json: bool) -> None:
    """Print the space and the trials so far; nothing is proposed, and nothing is left behind.

    Raises:
        RequestError: The search cannot be.
    """
    check_installed()
    planner = TrialPlanner(request)
    planner.check_space()
    search, sweep = planner.search, store.sweep(request.name)
    trials: list[FrozenTrial] = []
    if sweep.study_path.exists():
        trials = SearchStudy(
            sweep.study_path, sweep.study_log_path, search, planner.alike()
        ).trials()
    if as_json:
        console.print_json(report.search_json(request, search, trials))
        return
    _say_other_code(sweep, StatusReader(store))
    console.print_table(report.space_table(request.name, search))
    if trials:
        console.print_table(report.trials_table(request.name, search, trials))
    console.data(report.strategy_line(request, search))
    console.data(report.trials_line(search, trials))


def _say_other_code(sweep: SweepFolder, known: StatusReader) -> None:
    entries = sweep.read_plan_if_any()
    say_other_code(sweep.name, known.completed(entry.name for entry in entries))


def _report(sweep: SweepFolder, store: Store, search: Search, study: SearchStudy) -> None:
    """Say how the search ended, and which point is best."""
    console.say(report.trials_line(search, study.trials()))
    # Hardly any two points share a number of a range: such a key alone makes the x axis.
    ranges = [item.key for item in search.space if not item.choices][:1]
    summarize(sweep, store, metric=search.objective, direction=search.direction, parameters=ranges)
