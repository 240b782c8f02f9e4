"""Searches over stub trainings, from the command line down: only the training is replaced."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from made_up_data import write_identity
from stub_trial import read_trial_audit

from aqr_exp.cli.main import main
from aqr_exp.statistics.grouping import group_seeds
from aqr_exp.store.collect import collect
from aqr_exp.store.lease import look
from aqr_exp.store.store import Store

SEARCH = """\
variant: attention_bias
strategy: optuna
trials: 12
search:
  bias_scale: tag(log, interval(0.5, 10))
fixed: {learnable_scale: false, preset: smoke}
"""
PRUNED = """\
variant: attention_bias
strategy: random
trials: 6
search:
  bias_scale: tag(log, interval(0.5, 10))
fixed: {learnable_scale: false, schedule.validate_every_epochs: 1}
prune: {rule: baseline, after_epochs: 2}
"""
COMMAND_LINE = Path(forked.__file__)
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
    forked.be_quick(monkeypatch.setattr)
    monkeypatch.setenv("STUB_AUDIT", str(folder / "audit.jsonl"))
    return folder


@pytest.fixture
def sweep(place: Path) -> Callable[..., subprocess.Popen]:
    """Starts a sweep as a process of its own."""

    def begin(text: str, **environment: str) -> subprocess.Popen:
        (place / "it.yaml").write_text(text)
        command = [sys.executable, str(COMMAND_LINE), "sweep", "it.yaml", "--slots", "2"]
        with (place / "output").open("ab") as output:
            return subprocess.Popen(
                command,
                env=os.environ | environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    return begin


def trials(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    assert main(["sweep", "it.yaml", "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["trials"]


def counted(place: Path, event: str) -> Counter[str]:
    audit = read_trial_audit(place / "audit.jsonl")
    return Counter(name for what, name, _ in audit if what == event)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_killed_search_goes_on_and_repeats_nothing_that_was_finished(
    place: Path, sweep: Callable[..., subprocess.Popen], capsys: pytest.CaptureFixture[str]
) -> None:
    gate = place / "gate"
    first = sweep(SEARCH, STUB_HOLD=f"5 {gate}")
    # Five are done, and two are held.
    wait_until(lambda: counted(place, "begins").total() >= 7, first)
    assert counted(place, "finishes").total() == 5
    first.kill()
    assert first.wait() == -signal.SIGKILL
    # One of the two trainings that outlived it dies as well; the other goes on.
    running = sorted(set(counted(place, "begins")) - set(counted(place, "finishes")))
    store = Store(place / "results")
    victim = look(store.folder(running[0]).lease_path)
    assert victim is not None
    assert victim.owner is not None
    os.kill(victim.owner.pid, signal.SIGKILL)
    before = trials(capsys)
    gate.touch()
    assert sweep(SEARCH).wait() == 0
    found = trials(capsys)
    assert [trial["state"] for trial in found] == ["complete"] * 12
    # What had been proposed when it was killed is what was run.
    assert [trial["overrides"] for trial in found[: len(before)]] == [
        trial["overrides"] for trial in before
    ]
    assert set(counted(place, "finishes").values()) == {1}
    assert len(counted(place, "finishes")) == 12
    begun = counted(place, "begins")
    assert {name for name, count in begun.items() if count > 1} == {running[0]}
    assert len(collect(store)) == 12
    # Once more: nothing is left to do.
    assert sweep(SEARCH).wait() == 0
    assert counted(place, "begins") == begun


def test_two_processes_share_a_search(
    place: Path, sweep: Callable[..., subprocess.Popen], capsys: pytest.CaptureFixture[str]
) -> None:
    processes = [sweep(SEARCH) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert [trial["state"] for trial in trials(capsys)] == ["complete"] * 12
    assert set(counted(place, "begins").values()) == {1}
    assert len(counted(place, "finishes")) == 12
    plan = Store(place / "results").sweep("it").read_plan()
    assert {entry.name for entry in plan} == set(counted(place, "finishes"))


def test_what_is_hopeless_is_stopped_and_marked(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Points worse than the baseline hang after two epochs: only a pruner ends them."""
    (place / "it.yaml").write_text(PRUNED)
    monkeypatch.setenv("STUB_HANGS_BELOW", "0.3")
    assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
    said = capsys.readouterr().err
    found = trials(capsys)
    pruned = [trial for trial in found if trial["state"] == "pruned"]
    assert 1 <= len(pruned) <= 5
    assert len([trial for trial in found if trial["state"] == "complete"]) == 6 - len(pruned)
    for trial in pruned:
        scale = float(trial["overrides"][0].partition("=")[2])
        assert not 2 / 2.72 < scale < 2 * 2.72  # where the stub is better than the baseline
        assert trial["value"] is None
        assert trial["reason"].endswith("after epoch 2, behind 0.1500 of the baseline")
        assert f"trial {trial['number']} is given up: {trial['reason']}" in said
    rows = collect(Store(place / "results"))
    assert Counter(row.status for row in rows) == {
        "completed": 7 - len(pruned),
        "pruned": len(pruned),
    }
    groups, notes = group_seeds(rows)
    assert all(row.completed for group in groups for row in group)
    assert len(notes) == len(pruned)
    assert all(": pruned: mAP " in note for note in notes)
    # Running the sweep again, or retrying what failed, starts none of them.
    begun = counted(place, "begins")
    assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
    assert main(["retry", "--failed"]) == 0
    assert main(["resume"]) == 0
    assert counted(place, "begins") == begun


def test_a_configuration_that_was_run_is_not_run_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A space of two points: six trials tell the results of two runs, each trained once."""
    text = SEARCH.replace("tag(log, interval(0.5, 10))", "[1, 4]").replace("12", "6")
    (place / "it.yaml").write_text(text)
    assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
    found = trials(capsys)
    assert [trial["state"] for trial in found] == ["complete"] * 6
    assert set(counted(place, "begins").values()) == {1}
    assert 1 <= len(counted(place, "begins")) <= 2
    assert {round(trial["value"], 4) for trial in found} == {0.3307}  # .4 - .1 ln 2


def test_the_objective_of_several_seeds_is_their_mean(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SEARCH.replace("tag(log, interval(0.5, 10))", "[1, 4]").replace("12", "1")
    (place / "it.yaml").write_text(text + "seeds: [0, 4]\n")
    assert main(["sweep", "it.yaml"]) == 0
    (trial,) = trials(capsys)
    assert trial["value"] == pytest.approx(0.4 - 0.1 * 0.693147 + 0.002, abs=1e-6)
    assert len(counted(place, "begins")) == 2
    # Neither of them can be declared any more, now that results are there.
    assert Store(place / "results").sweep("it").declared() == ("mAP", ())


def test_a_search_does_not_go_on_with_the_trials_of_other_settings(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was tried with a smoke preset is no objective of the real schedule."""
    (place / "it.yaml").write_text(SEARCH.replace("12", "1"))
    assert main(["sweep", "it.yaml"]) == 0
    for typed, what in (
        (["preset=quick"], "fixed settings"),
        (["schedule.epochs=3"], "fixed settings"),
        (["seed=0,1"], "seeds"),
    ):
        for option in (["--dry-run"], []):
            capsys.readouterr()
            assert main(["sweep", "it.yaml", *typed, *option]) == 2
            assert f"{what}: not what this search was begun with" in capsys.readouterr().err
    assert main(["sweep", "it.yaml", "launcher.threads=1", "trials=2"]) == 0
    assert [trial["state"] for trial in trials(capsys)] == ["complete"] * 2


def test_a_failed_run_leaves_its_trial_open_until_it_is_run_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "it.yaml").write_text(SEARCH.replace("12", "5"))
    with monkeypatch.context() as failing:
        failing.setenv("STUB_FAILS_BELOW", "0.35")
        assert main(["sweep", "it.yaml", "--slots", "2"]) == 1
    said = capsys.readouterr().err
    assert "failed: the loss is not finite at step 7 (loss_cls)" in said
    assert "| a line before the end" in said
    states = Counter(trial["state"] for trial in trials(capsys))
    assert states["open"] >= 1
    assert states.total() == 5
    assert main(["sweep", "it.yaml", "--slots", "2"]) == 0
    assert [trial["state"] for trial in trials(capsys)] == ["complete"] * 5
    assert set(counted(place, "finishes").values()) == {1}
