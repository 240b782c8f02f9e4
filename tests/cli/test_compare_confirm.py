"""Comparing and confirming as a person does, with stubs for trainings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from aqr_exp.cli.main import main
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.record import build_record
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import Plan, plan_sweep

# What the stub of a training measures: mAP by seed, the arm's name tells the scale.
TRAINING = """
import sys
from pathlib import Path
from aqr_exp.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
with folder.lock():
    folder.write_state("running")
    spec = folder.read_spec()
    bias = spec["variant"].get("bias")
    mean_ap = 0.3 + (bias["scale"]["start"] / 100 if bias else 0) + spec["seed"] ** 2 / 1000
    folder.write_metrics(
        {"mAP": mean_ap, "NDS": 0.3, "split": "synth_val", "synthetic": True, "AP/car": 0.5, "gt/car": 9}
    )
    folder.write_state("completed")
"""


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(script)]))


@pytest.fixture
def swept(data: Path, store: Store) -> Plan:
    """A finished sweep over two scales and seeds 0 and 1, with its baseline."""
    plan = plan_sweep(sweep_request("bias_scale", ["bias_scale=1,2.5", "seed=0,1"]))
    for place, run in enumerate(plan.runs):
        folder = store.folder(run.name)
        record = build_record(run.config, overrides=run.overrides, argv=[])
        folder.create(to_yaml(run.config), record)
        metrics = {"mAP": 0.2 + place / 100, "NDS": 0.3, "AP/car": 0.5, "gt/car": 9}
        folder.write_metrics({**metrics, "split": "synth_val", "synthetic": True})
        folder.write_state("completed")
    from aqr_exp.launch.scheduler import entry_of

    store.sweep(plan.name).write_plan([entry_of(run) for run in plan.runs])
    return plan


def arm(plan: Plan, place: int) -> str:
    return plan.runs[place].name.rpartition("-s")[0]


def test_a_dry_run_of_a_confirmation_starts_nothing(
    swept: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = store.names()
    assert main(["confirm", "bias_scale", "--dry-run", "--best", "1", "--seeds", "2"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == (
        "bias_scale: the best 1 of 2 points by mAP, again with the baseline on fresh seeds 2, 3"
    )
    assert err.count("to do: ") == 4
    assert "not confirmed yet" in out
    assert "2 of 2 fresh seeds are not complete" in out
    assert store.names() == before
    assert store.sweep_names() == ["bias_scale"]


def test_a_confirmation_runs_what_is_missing_and_reports_the_shrinkage(
    swept: Plan, store: Store, training: None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["confirm", "bias_scale", "--best", "1", "--seeds", "3", "--format", "json"]
    assert main(asked) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["title"] == (
        "Confirmation of bias_scale: the best 1 of 2 points by mAP "
        "(SYNTHETIC data, not comparable with nuScenes)"
    )
    (line,) = report["rows"]
    assert line["point"] == "attention_bias"
    # Runs 2 and 5 of the plan are those of scale 2.5.
    assert line["selected on val"] == round(100 * (0.22 + 0.25) / 2, 2)
    confirmed = 0.3 + 0.025 + (4 + 9 + 16) / 3000
    assert line["confirmed"] == round(100 * confirmed, 2)
    assert line["shrinkage"] == round(100 * (confirmed - 0.235), 2)
    assert (line["n"], line["fresh n"]) == (2, 3)
    assert line["selected lead"] == 2.0
    assert line["confirmed lead"] == 2.5
    assert report["notes"][0].startswith("selected on val: the first mAP of each point is the one")
    fresh = [name for name in store.names() if name not in {run.name for run in swept.runs}]
    assert sorted(name.rpartition("-s")[2] for name in fresh) == ["2", "2", "3", "3", "4", "4"]
    attempts = {name: store.folder(name).read_state().updated for name in fresh}
    assert main(asked) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == report
    assert {name: store.folder(name).read_state().updated for name in fresh} == attempts
    # More seeds: only what is missing is run.
    assert main([*asked[:4], "--seeds", "4"]) == 0
    capsys.readouterr()
    assert len(store.names()) == len(swept.runs) + 8


def test_a_confirmation_that_cannot_be_is_one_line(
    swept: Plan, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed, fault in (
        (
            ["bias_scal"],
            "sweep 'bias_scal' was not run yet: did you mean 'bias_scale'? (sweeps that",
        ),
        (["window_size"], "sweep 'window_size' was not run yet (sweeps that were run: bias_scale)"),
        (["bias_scale", "--metric", "map"], "unknown metric 'map': did you mean 'mAP'?"),
        (
            ["bias_scale", "bias_scale=1"],
            "'bias_scale' names a sweep that was run: it takes no over",
        ),
    ):
        assert main(["confirm", *typed]) == 2
        out, err = capsys.readouterr()
        assert err.splitlines()[-1].startswith(f"aqr-exp: {fault}")
        assert out == ""
    assert store.sweep_names() == ["bias_scale"]


def test_arms_are_compared_by_their_beginnings(
    swept: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["compare", arm(swept, 0), arm(swept, 2), "--by", "metric,scene"]
    assert main([*typed, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["configuration", "metrics", "errors", "scenes"]
    first = found["metrics"]["rows"][0]
    assert (first["A"], first["B"], first["difference"]) == (21.5, 23.5, 2.0)
    assert found["scenes"]["rows"] == []
    assert "no match records" in found["scenes"]["notes"][0]
    keys = [row["key"] for row in found["configuration"]["rows"]]
    assert keys == ["variant.name", "variant.router", "variant.bias"]
    assert main(typed) == 0
    out, err = capsys.readouterr()
    assert "| mAP " in out
    # A block without lines is its title and why.
    assert "no scenes are compared: " in out
    assert err == ""


def test_two_runs_of_one_arm_differ_in_their_seed_alone(
    swept: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{arm(swept, 0)}-s{seed}" for seed in (0, 1)]
    assert main(["compare", *names, "--by", "metric"]) == 0
    out = capsys.readouterr().out
    assert "the configurations are the same but for the seed" in out
    assert "1 seed cannot tell seed noise: run 3 of each arm" in out


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        (["ARM0", "ARM0"], "'ARM0' and 'ARM0' have runs in common: nothing to compare"),
        (["attention", "ARM0"], "'attention' begins the names of 2 arms: attention_bias-"),
        (["basline", "ARM0"], "no run begins with 'basline': did you mean 'baseline'?"),
        (["ARM0", "ARM1", "--by", "clas"], "--by 'clas': did you mean 'class'? (available: metric"),
        (["ARM0", "ARM1", "--by", ","], "--by names nothing (available: metric, class, condition"),
        (["ARM0", "ARM1", "--metrics", "mapp"], "unknown metric 'mapp': did you mean 'mAP'?"),
        (["ARM0", "ARM1", "--factor", "schedul"], "unknown factor 'schedul': did you mean 'schedu"),
    ],
)
def test_a_comparison_that_cannot_be_is_one_line(
    swept: Plan, typed: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {"ARM0": arm(swept, 0), "ARM1": arm(swept, 1)}
    for name, value in arms.items():
        fault = fault.replace(name, value)
    assert main(["compare", *(arms.get(word, word) for word in typed)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"aqr-exp: {fault}")
    assert len(err.splitlines()) == 1
    assert out == ""


PROBE = """
import sys
from aqr_exp.cli.main import main
code = main(sys.argv[1:])
heavy = ("torch", "mmengine", "mmcv", "nuscenes", "pandas", "hydra", "matplotlib", "rich")
sys.stderr.write("HEAVY: " + ",".join(name for name in heavy if name in sys.modules) + "\\n")
sys.exit(code)
"""


def test_a_comparison_imports_nothing_heavy(swept: Plan) -> None:
    command = [sys.executable, "-c", PROBE, "compare", arm(swept, 0), arm(swept, 2)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "HEAVY: "
    assert "AP/car" in result.stdout


@pytest.mark.parametrize(
    ("typed", "fault"),
    [
        (["--sesoi", "nan"], "sesoi: nan is not between 0 and 100 points"),
        (["--sesoi", "0"], "sesoi: 0 is not between 0 and 100 points"),
        (
            ["--population", "scene"],
            "Invalid value for '--population': 'scene' is not one of 'val', ",
        ),
    ],
)
@pytest.mark.parametrize("command", ["table", "compare"])
def test_a_question_that_cannot_be_is_one_line(
    swept: Plan, command: str, typed: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = [arm(swept, 0), arm(swept, 2)] if command == "compare" else []
    assert main([command, *arms, *typed]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"aqr-exp: {fault}")
    assert len(err.splitlines()) == 1
    assert out == ""
