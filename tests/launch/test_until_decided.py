"""Sweeps until decided over stub trainings, from the command line down: only the training is replaced."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked
import msgspec
import pytest
from made_up_data import write_identity
from stub_trial import read_trial_audit

from aqr_exp.cli.main import main
from aqr_exp.cli.sweep_until import planned
from aqr_exp.config.identity import to_yaml
from aqr_exp.launch.scheduler import entry_of
from aqr_exp.statistics.sequential import next_decision
from aqr_exp.store.decisions import Decided, read_decided, write_once
from aqr_exp.store.looks import LOOKS
from aqr_exp.store.store import Store
from aqr_exp.sweep.cli_source import sweep_request
from aqr_exp.sweep.plan import plan_sweep

# By the stub: the baseline's mAP is .3; 10 points more, half a point more, and the same.
SWEEP = """\
variant: attention_bias
grid: {bias_scale: [2, 5.1714, 5.4366]}
fixed: {learnable_scale: false, preset: smoke}
baseline: true
until_decided: {start: 3, max_seeds: 6, sesoi: 0.5}
"""
ONE = SWEEP.replace("[2, 5.1714, 5.4366]", "[5.1714]").replace("max_seeds: 6", "max_seeds: 4")
PATIENCE_S = 300


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "it's; echo $HOME"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_identity(folder / "data" / "synth")
    monkeypatch.delenv("AQR_EXP_DATA", raising=False)
    monkeypatch.delenv("AQR_EXP_RESULTS", raising=False)
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["stub_trial"]')  # so that it is not tried first
    monkeypatch.setenv("STUB_MODULE", "stub_trial")
    monkeypatch.setenv("STUB_NOISE", "0.01")
    forked.be_quick(monkeypatch.setattr)
    monkeypatch.setenv("STUB_AUDIT", str(folder / "audit.jsonl"))
    (folder / "it.yaml").write_text(SWEEP)
    return folder


@pytest.fixture
def sweep(place: Path) -> Callable[..., subprocess.Popen]:
    """Starts the sweep as a process of its own."""

    def begin(**environment: str) -> subprocess.Popen:
        command = [sys.executable, forked.__file__, "sweep", "it.yaml", "--until-decided"]
        with (place / "output").open("ab") as output:
            return subprocess.Popen(
                [*command, "--slots", "2"],
                env=os.environ | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    return begin


def counted(place: Path, event: str) -> Counter[str]:
    audit = read_trial_audit(place / "audit.jsonl")
    return Counter(name for what, name, _ in audit if what == event)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None, Path("output").read_text()
        assert time.monotonic() < ends
        time.sleep(0.01)


def decided(place: Path) -> Decided:
    found = read_decided(Store(place / "results").sweep("it"))
    assert found is not None
    return found


def facts(found: Decided) -> list[tuple]:
    return [(one.look, one.runs, one.missing, one.arms) for one in found.decisions]


def test_a_sweep_killed_twice_decides_as_an_unbroken_one(
    place: Path, sweep: Callable[..., subprocess.Popen]
) -> None:
    assert sweep().wait() == 0, (place / "output").read_text()
    whole, runs = decided(place), counted(place, "finishes")
    words = [whole.arms[arm].word for arm in whole.design.arms]
    assert words[0] == "better"
    assert whole.arms[whole.design.arms[0]].look == 3
    assert len(whole.decisions) >= 2
    # The arm that was found first got no more seeds; each run was made once.
    assert set(runs.values()) == {1}
    assert set(runs) == set(whole.values)
    assert sum(name.startswith(whole.design.arms[0]) for name in runs) == 3
    shutil.rmtree(place / "results")
    (place / "audit.jsonl").unlink()
    gates = [place / "first gate", place / "second gate"]
    for count, gate in zip((5, 13), gates, strict=True):
        launcher = sweep(STUB_HOLD=f"{count} {gate}")
        before = [one for one in gates if one != gate]
        wait_until(lambda count=count: counted(place, "finishes").total() >= count, launcher)
        launcher.kill()
        assert launcher.wait() == -signal.SIGKILL
        before[0].touch()
        gate.touch()
    both = [sweep(), sweep()]
    assert [one.wait() for one in both] == [0, 0], (place / "output").read_text()
    again = decided(place)
    assert facts(again) == facts(whole)
    assert set(counted(place, "finishes")) == set(runs)
    assert again.design.seeds == (0, 1, 2, 3, 4, 5)
    # What is decided stays so, whatever is run beside it; and nothing is left to do.
    done = counted(place, "begins")
    assert main(["sweep", "it.yaml", "--until-decided"]) == 0
    assert counted(place, "begins") == done
    assert facts(decided(place)) == facts(whole)


def test_a_run_that_fails_twice_is_missing_for_its_arm(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STUB_FAILS", "baseline-")
    (place / "it.yaml").write_text(ONE)
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 1
    found = decided(place)
    # Without any run of the reference nothing can be judged; it is said, and it ends.
    assert [one.look for one in found.decisions] == [3, 4]
    assert {one.word for one in found.arms.values()} == {"undecided"}
    assert set(found.decisions[0].missing) == {
        f"{found.design.reference}-s{seed}" for seed in range(3)
    }
    attempts = Counter(
        name for kind, name, _ in read_trial_audit(place / "audit.jsonl") if kind == "begins"
    )
    assert {attempts[name] for name in found.decisions[0].missing} == {2}
    assert "3 seeds: without baseline-" in capsys.readouterr().err


def test_a_run_whose_time_was_up_is_waited_for_by_nobody_and_decided_with_the_next_time(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "it.yaml").write_text(ONE)
    late = planned(sweep_request("it.yaml"), Store(place / "results"))[0].due()[0]
    monkeypatch.setenv("STUB_TIME_UP", late)
    monkeypatch.setattr("aqr_exp.launch.stage_source.STUCK_AFTER_S", 1.0)
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 75
    err = capsys.readouterr().err
    assert f"it: nothing is decided without {late}" in err
    assert f"{late} interrupted" in err
    assert decided(place).decisions == ()
    # No family can be declared any more, now that results are there.
    assert Store(place / "results").sweep("it").declared() == ("mAP", ())
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 0
    assert decided(place).look is None
    attempts = {name: n for kind, name, n in read_trial_audit(place / "audit.jsonl")}
    assert attempts.pop(late) == 2
    assert set(attempts.values()) == {1}


def test_a_failure_after_an_interruption_is_the_first_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "it.yaml").write_text(ONE)
    store = Store(place / "results")
    late = planned(sweep_request("it.yaml"), store)[0].due()[0]
    monkeypatch.setenv("STUB_TIME_UP", late)
    monkeypatch.setattr("aqr_exp.launch.stage_source.STUCK_AFTER_S", 1.0)
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 75
    folder = store.folder(late)
    folder.write_state("queued", attempt=2)
    folder.write_state("failed", reason="no memory")
    folder.write_state("failed", reason="no memory: said in full")  # of the same attempt
    assert folder.read_state().failures == 1
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 0
    assert [one.missing for one in decided(place).decisions] == [{}] * len(decided(place).decisions)
    assert (folder.read_state().attempt, folder.read_state().failures) == (3, 1)


def test_the_plan_its_cost_and_the_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "it until decided: mAP of 3 arms against baseline-" in out
    assert (
        "looks after 3 to 6 seeds (0, 1, 2, 3, 4, 5), smallest effect of interest 0.5 points" in out
    )
    assert "  least: 12 runs, unknown time" in out
    assert "  worst: 24 runs, unknown time" in out
    assert not (place / "results").exists()
    assert main(["sweep", "it.yaml", "--until-decided", "--slots", "2"]) == 0
    out, err = capsys.readouterr()
    assert "it: 3 seeds: attention_bias-" in err
    assert "next look at 4 of 6 seeds: " in err
    assert "sweep it until decided, looks after 3 to 6 seeds: look after 3: p = " in out
    assert "the interval holds at all looks" in out
    found = decided(place)
    assert main(["watch", "it", "--once", "--json"]) == 0
    watched = json.loads(capsys.readouterr().out)
    assert watched["totals"] == {"completed": len(found.values)}
    # Compared alone it is the same verdict, and other metrics are looked at again.
    first = found.design.arms[0]
    assert (
        main(["compare", found.design.reference, first, "--by", "metric", "--format", "json"]) == 0
    )
    tables = json.loads(capsys.readouterr().out)
    by_name = {row["metric"]: row for row in tables["metrics"]["rows"]}
    one = found.arms[first]
    assert by_name["mAP"]["verdict"] == "better"
    assert by_name["mAP"]["low"] == pytest.approx(round(100 * one.low, 2))
    assert (Path("results") / LOOKS).is_dir()
    # A result that is forced later changes nothing that was decided.
    store = Store(place / "results")
    folder = store.folder(f"{found.design.reference}-s0")
    rerun = store.folder(store.next_rerun(folder.name))
    record = folder.read_record() | {"name": rerun.name}
    rerun.create(folder.spec_path.read_text().partition("\n")[2], record)
    rerun.write_metrics({"mAP": 0.9, "NDS": 0.3, "split": "synth_val", "synthetic": True})
    rerun.write_state("completed")
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 0
    assert facts(decided(place)) == facts(found)


CHANGES = {
    "sesoi=0.4: sweep 'it' was planned with 0.5": SWEEP.replace("sesoi: 0.5", "sesoi: 0.4"),
    "max_seeds=7: sweep 'it' was planned with 6": SWEEP.replace("max_seeds: 6", "max_seeds: 7"),
    "primary=NDS: sweep 'it' was planned with mAP": SWEEP + "primary: NDS\n",
}


def test_a_plan_is_not_changed_once_it_is_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = Store(place / "results").sweep("it")
    design = planned(sweep_request("it.yaml"), Store(place / "results"))[0].design
    write_once(sweep, design)
    write_once(sweep, msgspec.structs.replace(design, sesoi=3.0))  # the first one counts
    for said, text in CHANGES.items():
        (place / "it.yaml").write_text(text)
        assert main(["sweep", "it.yaml", "--until-decided"]) == 2
        assert capsys.readouterr().err == f"aqr-exp: {said}: --name NAME makes another sweep\n"
    (place / "it.yaml").write_text(SWEEP)
    assert main(["sweep", "it.yaml"]) == 2
    assert "was begun with --until-decided: add it" in capsys.readouterr().err
    assert decided(place).design == design


def test_a_decision_that_was_changed_is_found(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(place / "results")
    sweep = store.sweep("it")
    now = planned(sweep_request("it.yaml"), store)[0]
    write_once(sweep, now.design)
    noise = (0.0, 0.006, -0.005)
    for _ in range(2):
        runs = {name: 0.3 + noise[int(name[-1]) % 3] for name in now.due()}
        write_once(sweep, next_decision(now, runs, {}, {}))
        now = decided(place)
    assert [one.look for one in now.decisions] == [3, 4]
    assert now.look == 5
    first, arm = now.decisions[0], now.design.arms[0]
    path = sweep.decisions_dir / "3" / "decision.json"
    text = path.read_text()
    path.write_text(text.replace("0.306", "0.307", 1))
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 1
    assert "decision.json is damaged: its content does not fit its chec" in capsys.readouterr().err
    # With a checksum of its own it does not fit the decision after it.
    shutil.rmtree(path.parent)
    write_once(sweep, msgspec.structs.replace(first, runs=first.runs | {f"{arm}-s0": 0.9}))
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 1
    assert "is damaged: it does not follow the plan" in capsys.readouterr().err
    # Nor, without one, what its runs give.
    shutil.rmtree(sweep.decisions_dir / "4")
    shutil.rmtree(path.parent)
    word = msgspec.structs.replace(first.arms[arm], word="better", out=True)
    write_once(sweep, msgspec.structs.replace(first, arms=first.arms | {arm: word}))
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 1
    assert "the decision after 3 seeds is not what its runs give" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("until_decided: {start: 5, max_seeds: 5}", "'start' is 5: it must be below max_seeds (5)"),
        ("until_decided: {sesoi: 0}", "'sesoi' is the value 0: write points from 0.01 to 99"),
        ("until_decided: {begin: 3}", "unknown key 'begin' (known: start, max_seeds, sesoi)"),
        (
            "until_decided: {max_seeds: 1e9}",
            "'max_seeds' is the value 1e9: write a whole number",
        ),
        ("primary: mAPP", "'primary' is 'mAPP': did you mean 'mAP'?"),
    ],
)
def test_a_wrong_plan_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (place / "it.yaml").write_text(f"variant: [baseline, attention_bias]\n{text}\n")
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"aqr-exp: it.yaml:2: {said}")


def test_what_cannot_be_decided_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, said in (
        ("variant: attention_bias", "has 0 baselines and 1 other arms"),
        ("variant: baseline", "has 1 baselines and 0 other arms"),
        (
            "variant: [baseline, attention_bias]\nprimary: mATE",
            "needs a metric that is given in points",
        ),
        (
            "variant: [baseline, attention_bias]\nskip: seed == 1",
            "a condition leaves seeds of an arm out",
        ),
    ):
        (place / "it.yaml").write_text(text + "\n")
        assert main(["sweep", "it.yaml", "--until-decided", "--dry-run"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert len(line) <= 200
    assert not (place / "results").exists()


def test_known_results_have_no_part(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "it.yaml").write_text("variant: [baseline, attention_bias]\nseeds: [0, 1]\n")
    plan, store = plan_sweep(sweep_request("it.yaml")), Store(place / "results")
    folder = store.folder(plan.runs[1].name)
    folder.create(to_yaml(plan.runs[1].config), {"name": folder.name})
    folder.write_metrics({"mAP": 0.3, "NDS": 0.3, "split": "synth_val", "synthetic": True})
    folder.write_state("completed")
    assert main(["sweep", "it.yaml", "--until-decided", "--dry-run", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["seeds"] == [*range(1, 11)]
    assert "it: not seeds 0: a plan takes at most 10, and none whose result is known" in err
    store.sweep("it").write_plan([entry_of(run) for run in plan.runs])
    assert main(["sweep", "it.yaml", "--until-decided"]) == 2
    assert "was begun without --until-decided" in capsys.readouterr().err
