"""Executing a plan, watching it, and what can be done to it from outside, with stubs for trainings."""

import dataclasses
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_execute import execute
from aqr_exp.config.identity import run_name
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store
from aqr_exp.sweep.plan import Plan, PlannedRun

Stubs = Callable[[dict], None]
STUB = Path(__file__).parents[1] / "launch" / "stub_training.py"


@pytest.fixture
def stubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stubs:
    """Start stubs instead of trainings, doing what a plan by run name says."""
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(STUB)]))
    monkeypatch.setenv("STUB_AUDIT", str(tmp_path / "audit"))
    monkeypatch.setenv("STUB_PLAN", "{}")
    return lambda plan: monkeypatch.setenv("STUB_PLAN", json.dumps(plan))


@pytest.fixture
def plan(config: RunConfig) -> Plan:
    """Two seeds of the baseline."""
    runs = []
    for seed in (0, 1):
        one = dataclasses.replace(config, seed=seed)
        runs.append(
            PlannedRun(
                variant="baseline",
                overrides=(),
                seed=seed,
                config=one,
                name=run_name(one),
                labels=("baseline",),
            )
        )
    return Plan(name='a "b"', runs=tuple(runs))


def folders(plan: Plan, store: Store) -> list[RunFolder]:
    return [store.folder(run.name) for run in plan.runs]


def test_a_plan_is_executed_once(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(plan, store, slots=2, summarized=False) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == 'a "b": 2 runs: 2 completed'
    first = folders(plan, store)[0]
    assert f"{first.name}: starts on cpu-0" in err
    assert first.read_record()["overrides"] == ["seed=0"]
    assert first.read_record()["hardware"]["threads"] == first.read_spec()["launcher"]["threads"]
    assert [entry.label for entry in store.sweep(plan.name).read_plan()] == [
        "baseline seed=0",
        "baseline seed=1",
    ]
    assert execute(plan, store, summarized=False) == 0
    assert capsys.readouterr().err == 'a "b": 2 runs: 2 completed\n'
    assert first.read_state().attempt == 1


def test_a_failure_is_told_with_its_log_and_retried_alone(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = folders(plan, store)
    stubs({bad.name: {"ends": "nan"}})
    assert execute(plan, store, slots=2) == 1
    err = capsys.readouterr().err
    assert f"{bad.name} failed: the loss is not finite at step 7 (loss_cls)" in err
    assert f"  | line before the end of {bad.name}" in err
    assert err.splitlines()[-2:] == [
        'a "b": 2 runs: 1 completed, 1 failed',
        "1 did not end well: `aqr-exp retry --failed` runs them again",
    ]
    stubs({})
    assert main(["retry", "--failed", "--slots", "1"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "retry: 1 runs: 1 completed"
    assert (good.read_state().attempt, bad.read_state().attempt) == (1, 2)
    assert main(["retry", "--failed"]) == 0
    assert capsys.readouterr().err == "nothing to retry: no run is failed\n"


def test_a_damaged_run_is_not_said_to_be_retried(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs({})
    assert execute(plan, store, slots=2, summarized=False) == 0
    folders(plan, store)[0].state_path.write_text("junk")
    capsys.readouterr()
    assert execute(plan, store, summarized=False) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        'a "b": 2 runs: 1 completed, 1 damaged',
        "1 damaged: delete the folder of a damaged run; the next sweep recreates it",
    ]


def test_what_a_sweep_lacks_is_resumed(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders(plan, store)
    assert execute(dataclasses.replace(plan, runs=plan.runs[:1]), store) == 0
    first.metrics_path.unlink()
    first.write_state("running")
    # The sweep meant a second run and was stopped before it made it.
    from aqr_exp.launch.scheduler import entry_of

    store.sweep(plan.name).write_plan([entry_of(run) for run in plan.runs])
    assert not second.path.exists()
    assert main(["resume", plan.name, "--slots", "1"]) == 0
    assert "attempt 2" in capsys.readouterr().err
    assert [one.effective_status() for one in (first, second)] == ["completed"] * 2
    assert main(["resume"]) == 0
    assert "nothing to resume: no run is cancelled or interrupted" in capsys.readouterr().err


def test_a_sweep_whose_meaning_changed_is_not_resumed_as_something_else(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    from aqr_exp.launch.scheduler import entry_of

    entry = msgspec.structs.replace(entry_of(plan.runs[0]), name="baseline-000000000000-s0")
    store.sweep("s").write_plan([entry])
    assert main(["resume", "s"]) == 1
    err = capsys.readouterr().err
    assert f"`baseline seed=0` means {plan.runs[0].name} now: run the sweep again" in err


def test_an_unknown_holder_is_robbed_only_on_request(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(plan, store) == 0
    first = folders(plan, store)[0]
    first.metrics_path.unlink()
    first.write_state("running")
    with first.lock() as lease:
        lease.file.write_text("{")
        assert main(["resume", first.name]) == 0
        assert "nothing to resume" in capsys.readouterr().err
        assert main(["list"]) == 0
        assert "unknown" in capsys.readouterr().out
        assert main(["resume", first.name, "--steal"]) == 0
        assert f"{first.name}: taken from an unreadable lease" in capsys.readouterr().err
        assert not lease.beat()
    assert first.effective_status() == "completed"


def test_a_living_holder_is_never_robbed(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    from aqr_exp.launch.record import create_run

    first = folders(plan, store)[0]
    create_run(first, plan.runs[0].config, [])
    first.write_state("running")
    with first.lock() as lease:
        assert main(["resume", first.name, "--steal"]) == 0
        assert lease.beat()
    assert "nothing to resume" in capsys.readouterr().err


def test_of_a_sweep_that_nobody_works_on_all_is_said_once(
    plan: Plan,
    store: Store,
    stubs: Stubs,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert execute(plan, store, slots=2) == 0
    capsys.readouterr()
    # It looks twice: the clock says 0 when it starts, then 1 and 2.
    clock = SimpleNamespace(monotonic=itertools.count().__next__, sleep=lambda _: None)
    monkeypatch.setattr("aqr_exp.cli.watch.time", clock)
    monkeypatch.setattr("aqr_exp.cli.watch.SETTLING_S", 1.5)
    assert main(["watch", plan.name]) == 0
    assert capsys.readouterr() == ("worked on by: no scheduler\n2 runs: 2 completed\n", "")
    assert main(["cancel", plan.name]) == 2
    line = f"aqr-exp: no process works on sweep {plan.name}: there is nothing to cancel\n"
    assert capsys.readouterr().err == line
    assert not store.sweep(plan.name).cancel_path.exists()


def test_a_run_whose_time_was_up_has_not_failed_and_the_next_launch_continues_it(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    good, late = folders(plan, store)
    stubs({late.name: {"ends": "time is up"}})
    assert execute(plan, store, slots=2, summarized=False) == 75
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == 'a "b": 2 runs: 1 completed, 1 interrupted'
    assert f"{late.name} interrupted in " in err
    assert ": its time was up" in err
    assert late.read_state().status == "interrupted"
    assert main(["retry", "--failed"]) == 0
    assert capsys.readouterr().err == "nothing to retry: no run is failed\n"
    assert main(["list", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert (listed[late.name]["status"], listed[late.name]["reason"]) == (
        "interrupted",
        "its time was up",
    )
    assert main(["watch", "--once", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"] == {"completed": 1, "interrupted": 1}
    main(["table"])
    assert f"{late.name}: interrupted: its time was up" in capsys.readouterr().out
    stubs({})
    assert main(["resume"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "resume: 1 runs: 1 completed"
    assert (good.read_state().attempt, late.read_state().attempt) == (1, 2)


def test_a_run_whose_time_was_up_can_be_cancelled(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs({"*": {"ends": "time is up"}})
    assert execute(plan, store, slots=2, summarized=False) == 75
    late = folders(plan, store)[0]
    assert main(["cancel", late.name]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"{late.name}: cancelled"
    assert late.read_state().status == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["retry"], "name a run or a sweep, or type --failed for every failed run"),
        (["resume", "--steal"], "--steal needs the names of the runs or sweeps it may take from"),
        (["resume", "nothing"], "unknown run or sweep 'nothing': nothing was started in"),
        (["cancel", "nothing"], "unknown run or sweep 'nothing': nothing was started in"),
        (
            ["resume", "--slots", "0"],
            "Invalid value for '--slots': 0 is not in the range 1<=x<=1000.",
        ),
        (["sweep", "smoke", "--dry-run", "--slots", "0"], "Invalid value for '--slots': 0 is not"),
        (["watch", "nothing"], "unknown sweep 'nothing': no sweep was started here"),
    ],
)
def test_a_wrong_request_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"aqr-exp: {line}")
    assert err.count("\n") == 1
    assert list(place.iterdir()) == []


def test_wrong_slots_and_names_leave_nothing(plan: Plan, store: Store) -> None:
    with pytest.raises(RequestError, match="--slots 0: must be at least 1"):
        execute(plan, store, slots=0)
    with pytest.raises(RequestError, match="'a/b' cannot be a sweep's name"):
        execute(dataclasses.replace(plan, name="a/b"), store)
    assert not store.root.exists()


def test_a_waiting_run_is_cancelled_and_an_ended_one_is_not(
    plan: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    from aqr_exp.launch.record import create_run

    first = folders(plan, store)[0]
    create_run(first, plan.runs[0].config, [])
    assert main(["cancel", first.name]) == 0
    assert capsys.readouterr().err == f"{first.name}: cancelled\n"
    assert first.read_state().status.value == "cancelled"
    assert (first.read_state().reason or "").startswith("cancelled by ")
    assert main(["cancel", first.name]) == 2
    assert f"{first.name} is cancelled: there is nothing to cancel" in capsys.readouterr().err


HOLDER = """
import sys
from pathlib import Path
from aqr_exp.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
with folder.lock():
    folder.write_state("running")
    folder.write_progress({"phase": "train", "step": 3, "steps": 9, "loss": 1.25, "eta_s": 65})
    print("held", flush=True)
    sys.stdin.read()
    folder.write_metrics({"mAP": 0.25})
    folder.write_state("completed")
"""


def test_another_terminal_sees_and_stops_a_running_run(
    plan: Plan, store: Store, stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(plan, store, slots=2) == 0
    first = folders(plan, store)[0]
    first.metrics_path.unlink()
    capsys.readouterr()
    command = [sys.executable, "-c", HOLDER, str(first.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert main(["watch", plan.name, "--once"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{first.name} running: train, step 3/9, loss 1.250, 1:05 left",
            "worked on by: no scheduler",
            "2 runs: 1 completed, 1 running, about 1:05 left",
        ]
        assert main(["watch", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["totals"] == {"completed": 1, "running": 1}
        assert shown["left_s"] == 65
        assert [run["status"] for run in shown["runs"]] == ["running", "completed"]
        assert main(["cancel", plan.name]) == 0
        assert "asked to stop (no scheduler works on it; 1 runs running)" in capsys.readouterr().err
        assert first.cancel_request().reason.startswith("cancelled by ")
        assert main(["cancel", first.name]) == 0
        assert f"{first.name}: asked to stop (process {other.pid} on " in capsys.readouterr().err
        # It ends while it is watched, and so does the watching.
        timer = threading.Timer(0.5, other.stdin.close)
        timer.start()
        assert main(["watch", plan.name]) == 0
        timer.join()
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 2 completed"
