import json
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.record import build_record
from aqr_exp.launch.scheduler import entry_of
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, PlannedRun, plan_sweep

TEXT = (
    "variant: attention_bias\nfixed: {learnable_scale: false}\ngrid:\n  bias_scale: [1, 2, 4, 8]\n"
)
SHORTER = TEXT.replace("[1, 2, 4, 8]", "[1]")


def made(store: Store, run: PlannedRun, status: str, reason: str | None = None) -> RunFolder:
    folder = store.folder(run.name)
    folder.create(to_yaml(run.config), build_record(run.config, overrides=[], argv=[]))
    if status == "completed":
        metrics = {"mAP": 0.2, "NDS": 0.3, "split": "synth_val", "synthetic": True}
        folder.write_metrics({**metrics, "train_time_s": 600.0})
    folder.write_state(status, reason=reason)
    return folder


@pytest.fixture
def plan(data: Path, place: Path, store: Store) -> Plan:
    """Four points were meant; one is complete, two are not, one was never made. One is meant still."""
    (place / "it.yaml").write_text(TEXT)
    found = plan_sweep(sweep_request("it.yaml"))
    store.sweep("it").write_plan([entry_of(run) for run in found.runs])
    made(store, found.runs[0], "completed")
    made(store, found.runs[1], "completed")
    made(store, found.runs[2], "failed", "the loss is not finite")
    (place / "it.yaml").write_text(SHORTER)
    return found


def shown(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    capsys.readouterr()
    assert main(["sweep", "it.yaml", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return [(run["name"], run["state"]) for run in found["removed"]]


def test_points_that_left_the_file_are_shown_and_left_alone(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = made(store, plan.runs[3], "planned")
    assert shown(capsys) == [(plan.runs[2].name, "failed"), (waiting.name, "planned")]
    assert main(["sweep", "it.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "removed, failed" in out
    assert "removed, planned" in out
    for _ in range(2):  # the plan that is written in between does not forget them
        assert main(["sweep", "it.yaml"]) == 0
        assert (
            "it: 2 runs are no longer part of it and not complete: --dry-run shows which, "
            "--cancel-removed cancels them" in capsys.readouterr().err
        )
    assert store.folder(plan.runs[2].name).effective_status() == "failed"
    assert waiting.effective_status() == "planned"
    assert [entry.name for entry in store.sweep("it").read_plan()] == [plan.runs[0].name]


def test_they_are_cancelled_when_asked(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "it.yaml", "--cancel-removed"]) == 0
    said = capsys.readouterr().err
    assert f"{plan.runs[2].name}: cancelled (failed before)" in said
    assert [store.folder(run.name).effective_status() for run in plan.runs[:3]] == [
        "completed",
        "completed",
        "cancelled",
    ]
    assert store.folder(plan.runs[2].name).read_state().reason == "removed from sweep it"
    assert not store.folder(plan.runs[3].name).path.exists()
    assert shown(capsys) == []
    assert main(["retry", "--failed"]) == 0
    assert "nothing to retry" in capsys.readouterr().err


def test_one_that_runs_is_asked_to_stop(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = made(store, plan.runs[3], "planned")
    with folder.lock():
        folder.write_state("running")
        assert shown(capsys)[-1] == (folder.name, "running")
        assert main(["sweep", "it.yaml", "--cancel-removed"]) == 0
        assert f"{folder.name}: asked to stop (process " in capsys.readouterr().err
        assert folder.cancel_request().reason == "removed from sweep it"
        assert folder.effective_status() == "running"


def test_what_another_sweep_means_is_not_removed(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.sweep("other").write_plan([entry_of(plan.runs[2])])
    assert shown(capsys) == []


def test_a_damaged_plan_is_written_anew(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    written = store.sweep("it").plan_path
    written.write_text("{")
    assert shown(capsys) == []
    assert written.read_text() == "{", "looking changes nothing"
    assert main(["sweep", "it.yaml"]) == 0
    assert [entry.name for entry in store.sweep("it").read_plan()] == [plan.runs[0].name]


def test_a_point_that_comes_back_is_due_again(
    plan: Plan, place: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "it.yaml", "--cancel-removed"]) == 0
    (place / "it.yaml").write_text(TEXT)
    capsys.readouterr()
    assert main(["sweep", "it.yaml", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in found["runs"]] == ["done", "done", "cancelled", "to do"]
    assert found["totals"]["to_do"] == 2
    assert found["removed"] == []
