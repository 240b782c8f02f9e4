"""What runs printed, the room they take, and their removal."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_up_runs import MadeUpStore

from aqr_exp.cli.main import main
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.sweep_folder import SweepEntry


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeUpStore:
    """Three seeds of one arm, two of them in a sweep; the last one failed."""
    made_up = MadeUpStore(tmp_path / "it's; results")
    for seed in (0, 1):
        filled(made_up.add("baseline", [], seed, mAP=0.3, NDS=0.2))
    filled(made_up.add("baseline", [], 2))
    entries = [
        SweepEntry(name=name, variant="baseline", overrides=(), seed=seed)
        for seed, name in enumerate(made_up.names()[:2])
    ]
    made_up.sweep("it").write_plan(entries)
    monkeypatch.setenv("AQR_EXP_RESULTS", str(made_up.root))
    return made_up


def filled(folder: RunFolder) -> None:
    (folder.checkpoints_dir / "epoch_1.pth").write_bytes(bytes(2_000_000))
    (folder.checkpoints_dir / "epoch_2.pth").write_bytes(bytes(1_000_000))
    (folder.predictions_dir / "val.json").write_bytes(bytes(500_000))
    folder.train_log_path.write_text("=== attempt 1\none\n\x1b[2Jtwo\nthree\n")


def test_the_room_by_kind(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["du", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found) == 3
    for each in found.values():
        assert (each["checkpoints"], each["predictions"]) == (3_000_000, 500_000)
        assert 0 < each["all else"] < 20_000
    assert main(["du", "it"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Megabytes in {store.runs_dir}"
    assert lines[-2].split("|")[1:4] == [f" 2 runs{' ' * 19}", "         6.0 ", "         1.0 "]


def test_removed_after_asking(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = store.names()
    assert main(["rm", "it"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"to be removed: {first}, {second} (7.0 MB)",
        "sweep it means 2 of them: run again, it trains them anew",
        "aqr-exp: rm asks before it removes: --yes says that it may",
    ]
    assert store.names() == [first, second, third]
    assert main(["rm", "it", "--yes"]) == 0
    assert capsys.readouterr().err.endswith("removed: 7.0 MB\n")
    assert [one.name for one in store.runs_dir.iterdir()] == [third]


def test_a_whole_name_means_no_other_run(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = store.names()
    tenth = store.add("baseline", [], 10, mAP=0.3, NDS=0.2).name
    assert tenth == f"{second}0"
    assert main(["rm", second, "--yes"]) == 0
    assert capsys.readouterr().err.startswith(f"to be removed: {second} (")
    assert store.names() == [first, tenth, third]


def test_a_damaged_plan_keeps_no_run_from_being_removed(store: MadeUpStore) -> None:
    first, *others = store.names()
    store.sweep("it").plan_path.write_text("x")
    assert main(["rm", first, "--yes"]) == 0
    assert store.names() == others


def test_a_link_in_the_place_of_a_run_stays(
    store: MadeUpStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *_ = store.names()
    elsewhere = store.folder(first).path.rename(tmp_path / "elsewhere")
    there = sorted(elsewhere.rglob("*"))
    store.folder(first).path.symlink_to(elsewhere)
    assert main(["rm", first, "--yes"]) == 2
    assert f"{first} stays: damaged, " in capsys.readouterr().err
    assert store.folder(first).path.is_symlink()
    assert sorted(elsewhere.rglob("*")) == there


def test_only_checkpoints_of_completed_runs(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str]
) -> None:
    *done, failed = store.names()
    assert main(["rm", "baseline", "--checkpoints", "--yes"]) == 0
    err = capsys.readouterr().err
    assert f"{failed} stays: failed, the loss is not finite at step 3 (loss)\n" in err
    assert "removed: 6.0 MB\n" in err
    left = {name: len(list(store.folder(name).checkpoints_dir.iterdir())) for name in store.names()}
    assert left == dict.fromkeys(done, 0) | {failed: 2}
    assert main(["show", done[0]]) == 0
    assert "epoch_1.pth is missing" not in capsys.readouterr().err
    assert main(["rm", failed, "--checkpoints", "--yes"]) == 2
    assert capsys.readouterr().err.endswith(f"aqr-exp: nothing to remove of {failed}\n")


def test_a_run_at_work_stays(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    name = store.names()[2]
    folder = store.folder(name)
    with folder.lock():
        folder.write_state("running")
        assert main(["rm", name, "--yes"]) == 2
    assert f"{name} stays: running" in capsys.readouterr().err
    assert folder.path.is_dir()


def test_a_run_that_is_launched_meanwhile_stays(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state does not say so yet, and its lease does."""
    monkeypatch.setattr("aqr_exp.store.lease.PATIENCE_S", 0.2)
    name = store.names()[2]
    with store.folder(name).launch_lock():
        assert main(["rm", name, "--yes"]) != 0
    assert f"{name} is worked on by process" in capsys.readouterr().err
    assert store.folder(name).train_log_path.is_file()


def test_logs_whole_or_their_end(store: MadeUpStore, capsys: pytest.CaptureFixture[str]) -> None:
    name = store.names()[0]
    assert main(["logs", name]) == 0
    assert capsys.readouterr().out == "=== attempt 1\none\n\\x1b[2Jtwo\nthree\n"
    assert main(["logs", name, "--lines", "2"]) == 0
    assert capsys.readouterr().out == "\\x1b[2Jtwo\nthree\n"
    store.folder(name).train_log_path.unlink()
    assert main(["logs", name]) == 1
    assert "no training process has printed anything" in capsys.readouterr().err


def test_a_log_is_followed_until_its_run_has_ended(store: MadeUpStore) -> None:
    folder = store.folder(store.names()[2])
    with folder.lock():
        folder.write_state("running")
        following = subprocess.Popen(
            [sys.executable, "-m", "aqr_exp.cli.main", "logs", folder.name, "--follow"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert following.stdout is not None
        assert [following.stdout.readline() for _ in range(4)][-1] == "three\n"
        with folder.train_log_path.open("a") as log:
            log.write("four\n")
        assert following.stdout.readline() == "four\n"
        assert following.poll() is None
        folder.write_state("failed", reason="over")
    assert following.stdout.read() == ""
    assert following.wait(timeout=60) == 0


def test_a_run_that_waits_for_a_job_stays(
    store: MadeUpStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = store.names()[2]
    look = lambda _self, folder, _status: (  # noqa: E731
        (RunStatus.SUBMITTED, "job 7 pending (Resources)") if folder.name == waits else None
    )
    monkeypatch.setattr("aqr_exp.store.submissions.Jobs.look", look)
    assert main(["rm", waits, "--yes"]) == 2
    assert f"{waits} stays: submitted, job 7 pending (Resources)\n" in capsys.readouterr().err
    assert waits in store.names()
