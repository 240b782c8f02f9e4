"""The rerun of a seed that counts: the same one for table, best point, figures, confirm and scheduler."""

import json
from collections.abc import Callable

import pytest
from fake_training import COMPLETES, STOPPED
from made_up_runs import copied_run

from aqr_exp.cli.main import main
from aqr_exp.cli.run import run_config
from aqr_exp.cli.watch import watched_runs
from aqr_exp.config.identity import run_name
from aqr_exp.config.schema import RunConfig
from aqr_exp.launch.scheduler import planned_task
from aqr_exp.launch.single_run import plan_run
from aqr_exp.report.figures.swept import swept
from aqr_exp.report.figures.training_curves import arm_curves
from aqr_exp.store.collect import collect, with_settings
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry
from aqr_exp.sweep.confirmation import counting_by_name
from aqr_exp.sweep.outcome import best_point, by_entry
from aqr_exp.sweep.plan import Plan, PlannedRun
from aqr_exp.sweep.status import StatusReader

Fake = Callable[[str], None]
HISTORY = 'folder.append_history({"kind": "train", "epoch": 1, "step": 3, "loss": 1.0})'


def scores(value: float) -> str:
    """A training that logs a step and completes with a mAP."""
    return f"    {HISTORY}\n    METRICS['mAP'] = {value}\n{COMPLETES}"


def views(config: RunConfig, store: Store, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The folder, or the number, that each view of the sweep has for its only run."""
    name = run_name(config)
    run = PlannedRun(
        variant="baseline", overrides=(), seed=config.seed, config=config, name=name, labels=()
    )
    entry = SweepEntry(name=name, variant="baseline", overrides=(), seed=config.seed)
    sweep = store.sweep("mine")
    sweep.write_plan([entry])
    rows = with_settings(store, collect(store))
    capsys.readouterr()
    assert main(["table", "--sweep", "mine", "--format", "json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["rows"]
    best = best_point([entry], by_entry([entry], rows), "mAP")
    (arm,) = arm_curves(rows, store)
    (status,) = StatusReader(store).of(Plan(name="mine", runs=(run,)))
    shown = plan_run(store, name, force=False)
    assert (status.state, shown.previous) == (RunStatus.COMPLETED, RunStatus.COMPLETED)
    (series,) = swept(rows, ["schedule.epochs"], store=store).series
    return {
        "table": line["mAP"] / 100,  # of points
        "best point": best.mean if best else None,
        "figure": [row.name for point in series.points for row in point.group],
        "curves": [curves.row.name for curves in arm.runs],
        "confirm": counting_by_name(rows)[name].name,
        "sweep --dry-run": status.folder,
        "scheduler": planned_task(run, RunFolders(store), 1).folder.name,
        "watch": [watched.folder.name for watched in watched_runs(store, sweep)],
        "run": shown.folder.name,
    }


def agree(found: dict[str, object], folder: str, value: float) -> None:
    """All views have the same folder and the same number."""
    numbers = {name: found.pop(name) for name in ("table", "best point")}
    assert {name: pytest.approx(value) for name in numbers} == numbers
    assert all(view in (folder, [folder]) for view in found.values()), found


def test_of_ten_reruns_the_tenth_counts_everywhere(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    name = run_name(config)
    fake(scores(0.1))
    run_config(config, store, ["seed=0"])
    for number in range(2, 11):
        copied_run(store.folder(name), store.folder(f"{name}-a{number}"))
    for number, value in ((2, 0.2), (10, 0.9)):
        rerun = store.folder(f"{name}-a{number}")
        rerun.write_metrics({**rerun.read_metrics(), "mAP": value})
    # Nor does it matter which was written last.
    store.folder(f"{name}-a2").write_state("completed")
    agree(views(config, store, capsys), f"{name}-a10", 0.9)


def test_an_original_that_is_resumed_after_its_rerun_does_not_count(
    config: RunConfig, store: Store, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    name = run_name(config)
    fake(STOPPED)
    assert run_config(config, store, ["seed=0"]) == 130
    fake(scores(0.2))
    run_config(config, store, ["seed=0"], force=True)
    agree(views(config, store, capsys), f"{name}-a2", 0.2)
    fake(scores(0.1))
    assert main(["resume", name, "--slots", "1"]) == 0
    assert store.folder(name).effective_status() == "completed"
    agree(views(config, store, capsys), f"{name}-a2", 0.2)


def test_without_a_completed_one_the_last_rerun_is_continued(
    config: RunConfig, store: Store, fake: Fake
) -> None:
    name = run_name(config)
    for force in (False, True):
        fake(STOPPED)
        assert run_config(config, store, [], force=force) == 130
    for number in range(3, 11):
        copied_run(store.folder(name), store.folder(f"{name}-a{number}"))
    plan = plan_run(store, name, force=False)
    assert (plan.attempt, plan.folder.name) == (2, f"{name}-a10")
    assert RunFolders(store).of(name).name == f"{name}-a10"
    # A damaged one is no result: the completed one below it counts.
    store.folder(f"{name}-a2").write_metrics({"mAP": 0.5})
    store.folder(f"{name}-a2").write_state("completed")
    store.folder(f"{name}-a10").state_path.write_text("{")
    assert plan_run(store, name, force=False).folder.name == f"{name}-a2"
