import json
from pathlib import Path

import pytest

from aqr_exp.cli import sweep_execute
from aqr_exp.cli.main import main
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.record import build_record
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, plan_sweep


def complete(store: Store, plan: Plan, count: int) -> None:
    for run in plan.runs[:count]:
        folder = store.folder(run.name)
        folder.create(to_yaml(run.config), build_record(run.config, overrides=[], argv=[]))
        metrics = {"mAP": 0.2, "NDS": 0.3, "split": "synth_val", "synthetic": True}
        folder.write_metrics({**metrics, "train_time_s": 600.0})
        folder.write_state("completed")


def test_a_dry_run_shows_every_run_and_starts_nothing(
    data: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["attention_bias", "bias_scale=1,2.5", "seed=0,1", "--dry-run"]
    assert main(["sweep", *typed]) == 0
    out, err = capsys.readouterr()
    plan = plan_sweep(sweep_request("attention_bias", typed[1:3]))
    for run in plan.runs:
        assert run.name in out
    assert out.count("to do") >= 4
    assert "4 to do (4 of unknown time: no such run has been completed)" in out
    assert err == ""
    assert not (place / "results").exists()


def test_states_times_and_holes_for_programs(
    data: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_sweep(sweep_request("smoke"))
    complete(store, plan, 3)
    assert main(["sweep", "smoke", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in found["runs"]] == [run.name for run in plan.runs]
    assert [run["state"] for run in found["runs"]] == ["done"] * 3 + ["to do"] * 3
    assert found["totals"] == {
        "runs": 6,
        "states": {"done": 3, "to do": 3},
        "to_do": 3,
        "expected_s": 1800.0,
        "untimed": 0,
        "collapsed": 2,
        "skipped": 0,
        "joined": 0,
    }
    assert found["completeness"]["seeds"] == [0, 1]
    assert main(["sweep", "smoke", "--dry-run", "--json", "--fill"]) == 0
    holes = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in holes["runs"]] == ["to do"] * 3
    assert holes["totals"]["runs"] == 6


def test_a_finished_sweep_is_not_launched(
    data: Path, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launched = []
    monkeypatch.setattr(
        sweep_execute, "execute", lambda plan, *_, **options: launched.append((plan, options)) or 1
    )
    plan = plan_sweep(sweep_request("smoke"))
    complete(store, plan, 5)
    assert main(["sweep", "smoke", "--slots", "2"]) == 1
    ((given, options),) = launched
    assert [run.name for run in given.runs] == [run.name for run in plan.runs]
    assert options == {"slots": 2, "detached": False, "try_first": True}
    capsys.readouterr()
    launched.clear()
    store.folder(plan.runs[5].name)
    complete_last = Plan(name="smoke", runs=plan.runs[5:])
    complete(store, complete_last, 1)
    assert main(["sweep", "smoke"]) == 0
    assert not launched
    assert "nothing is left to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("grid:\n  bias_scale: []\n", "'bias_scale' is an empty list: write values, or leave "),
        ("gird: {}\n", "unknown key 'gird': did you mean 'grid'?"),
        ("seeds: [two]\n", "seed is the text 'two': write a whole number from 0 to 2147483647"),
        (
            "seeds: range(3,1)\n",
            "seed=range(3,1): is not a range: start must lie below stop: write ",
        ),
    ],
)
def test_a_bad_file_is_one_line_with_its_place(
    data: Path, place: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    (place / "bad.yaml").write_text(f"variant: attention_bias\n{text}")
    assert main(["sweep", "bad.yaml"]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    at = 3 if text.startswith("grid") else 2
    assert line.startswith(f"aqr-exp: bad.yaml:{at}: {fault}")
    assert out == ""
    assert not (place / "results").exists()


def test_options_of_a_plan_need_a_dry_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "smoke", "--json"]) == 2
    assert "--json and --fill show a plan: use them with --dry-run" in capsys.readouterr().err
