"""A run that was started by hand is a reference for the runs of a sweep: nothing recorded differs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_training import COMPLETES

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import find_room
from aqr_exp.launch.scheduler import planned_task
from aqr_exp.statistics.confounders import record_confounders
from aqr_exp.store.collect import read_row
from aqr_exp.store.counting import RunFolders
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep


@pytest.mark.parametrize("slots", [None, 1, 2])
def test_the_baseline_of_run_is_reused_by_a_sweep_and_confounds_nothing(
    data: Path,
    store: Store,
    fake: Callable[[str], None],
    slots: int | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fake(COMPLETES)
    assert main(["run", "baseline"]) == 0
    capsys.readouterr()
    assert main(["sweep", "variants", "--dry-run", "--json"]) == 0
    states = {run["name"]: run["state"] for run in json.loads(capsys.readouterr().out)["runs"]}
    (completed,) = [name for name, state in states.items() if state != "to do"]
    assert states[completed] == "done"
    assert completed.startswith("baseline-")
    assert completed.endswith("-s0")
    assert len(states) == 9
    plan = plan_sweep(sweep_request("variants", []))
    _, slot = find_room([run.config for run in plan.runs], store, slots)
    folders = RunFolders(store)
    for run in plan.runs:
        task = planned_task(run, folders, slot.threads)
        if not task.folder.path.exists():
            task.create()
    rows = [read_row(store.folder(run.name)) for run in plan.runs]
    assert {row.hardware["threads"] for row in rows} == {1}
    assert {row.record["cpus"] for row in rows} == {rows[0].record["cpus"]}
    reference = [row for row in rows if row.name.startswith("baseline-")]
    for seed in range(3):
        arm = [row for row in rows if row.seed == seed and row not in reference]
        assert record_confounders(arm, reference, ["variant"]) == []


def test_a_completed_run_of_other_threads_says_so(
    data: Path, fake: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    fake(COMPLETES)
    assert main(["run", "baseline"]) == 0
    capsys.readouterr()
    assert main(["run", "baseline", "launcher.threads=1"]) == 0
    assert "threads" not in capsys.readouterr().err
    assert main(["run", "baseline", "launcher.threads=2"]) == 0
    assert "its threads were 1, not 2: last digits depend on them" in capsys.readouterr().err
