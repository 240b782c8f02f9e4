import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_a_child import fill, on_a_disk

from aqr_exp.errors import AqrExpError
from aqr_exp.store import history
from aqr_exp.store.lease import LockHeldError, hold
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import IN_HAND, STORED, RunStatus

PLACE = "baseline-ab-s0/history.jsonl"
HOSTILE = ["plain", "with space", "quo'te\"s", "; echo x", "$HOME", "ünï", "-rf"]


@pytest.fixture(params=HOSTILE)
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> RunFolder:
    made = RunFolder(tmp_path / request.param / f"{request.param}-s0")
    made.create("seed: 3\n", {"variant": "baseline"})
    return made


def test_a_created_run_is_complete_and_planned(folder: RunFolder) -> None:
    assert folder.read_spec() == {"seed": 3}
    assert folder.read_record() == {"variant": "baseline"}
    assert folder.read_state().status is RunStatus.PLANNED
    assert folder.read_state().attempt == 1
    assert folder.read_progress() is None
    assert folder.read_history() == []
    for made in (
        folder.predictions_dir,
        folder.checkpoints_dir,
        folder.logs_dir,
        folder.figures_dir,
    ):
        assert made.is_dir()
    assert [item.name for item in folder.path.parent.iterdir()] == [folder.name]


def test_a_run_that_is_there_is_not_touched(folder: RunFolder) -> None:
    with pytest.raises(FileExistsError, match="exists already"):
        RunFolder(folder.path).create("seed: 4\n", {})
    assert folder.read_spec() == {"seed": 3}
    assert [item.name for item in folder.path.parent.iterdir()] == [folder.name]


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "runs" / "x")
    with pytest.raises(TypeError):
        folder.create("", {"a": object()})
    assert list((tmp_path / "runs").iterdir()) == []


def test_state_keeps_the_attempt_unless_told(folder: RunFolder) -> None:
    folder.write_state("queued", attempt=3)
    folder.write_state(RunStatus.FAILED, reason="no memory")
    state = folder.read_state()
    assert (state.status, state.attempt, state.reason) == (RunStatus.FAILED, 3, "no memory")
    assert state.updated.endswith("+00:00")
    with pytest.raises(ValueError, match="'done' is not a valid RunStatus"):
        folder.write_state("done")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"attempt": 1}', "Object missing required field `status`"),
        ('{"status": "done", "attempt": 1}', "status: Invalid enum value 'done'"),
        ('{"status": [], "attempt": 1}', "status: Expected `str`, got `array`"),
        ('{"status": "failed", "attempt": true}', "attempt: Expected `int`, got `bool`"),
        ('{"status": "failed", "attempt": 0}', "attempt: Expected `int` >= 1"),
        (
            '{"status": "failed", "attempt": 1, "reason": 3}',
            r"reason: Expected `str \| null`, got `int`",
        ),
        ('{"status": "unknown", "attempt": 1}', "status 'unknown' is never stored"),
    ],
)
def test_a_damaged_state_is_named_with_its_fault(tmp_path: Path, content: str, fault: str) -> None:
    RunFolder(tmp_path).write_json(tmp_path / "state.json", json.loads(content))
    with pytest.raises(AqrExpError, match=fault) as caught:
        RunFolder(tmp_path).read_state()
    assert str(tmp_path / "state.json") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("a: [1", "is damaged: while parsing"),
        ("- 1", "is damaged: holds a list, not a mapping"),
        ("!!python/object/apply:os.system ['true']", "is damaged: could not determine"),
        (None, "is missing"),
    ],
)
def test_a_damaged_spec_is_named_with_its_fault(
    tmp_path: Path, content: str | None, fault: str
) -> None:
    if content is not None:
        (tmp_path / "spec.yaml").write_text(content)
    with pytest.raises(AqrExpError) as caught:
        RunFolder(tmp_path).read_spec()
    assert str(caught.value).startswith(f"{tmp_path / 'spec.yaml'} {fault}")
    assert "\n" not in str(caught.value)


def test_progress_says_when_it_was_written(folder: RunFolder) -> None:
    folder.write_progress({"phase": "train", "step": 3})
    progress = folder.read_progress()
    assert progress is not None
    assert progress["step"] == 3
    assert progress["updated"].endswith("+00:00")
    folder.forget_attempt()
    assert folder.read_progress() is None


def test_history_has_no_nan(folder: RunFolder) -> None:
    folder.append_history({"kind": "train", "loss": float("nan")})
    folder.append_history({"kind": "val", "mAP": 0.25})
    assert "NaN" not in folder.history_path.read_text()
    assert folder.read_history() == [
        {"attempt": 1, "kind": "train", "loss": None},
        {"attempt": 1, "kind": "val", "mAP": 0.25},
    ]


@given(cut=st.integers(min_value=1, max_value=20))
def test_a_torn_line_is_the_only_loss(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "history.jsonl"
    for step in (1, 2, 3):
        history.append_line(path, {"step": step, "loss": 0.125}, PLACE)
    whole = path.read_bytes()
    path.write_bytes(whole[: -min(cut + 1, len(whole) // 3)])
    assert [entry["step"] for entry in history.read_lines(path, PLACE)] == [1, 2]
    history.append_line(path, {"step": 4, "loss": 0.5}, PLACE)
    assert [entry["step"] for entry in history.read_lines(path, PLACE)] == [1, 2, 4]


@pytest.mark.parametrize(
    ("line", "fault"),
    [('{"a": nope}', "line 2 is not JSON"), ("[1]", "line 2 is no object"), ("x", "line 2 is not")],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n")
    with pytest.raises(AqrExpError, match=fault) as caught:
        history.read_lines(path, None)
    assert str(path) in str(caught.value)


HOLDER = """
import sys
from pathlib import Path
from typing import Any
from aqr_exp.store.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_running_without_a_living_process_is_interrupted(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.PATIENCE_S", 0.0)
    folder.write_state("running")
    assert folder.effective_status() == "interrupted"
    command = [sys.executable, "-c", HOLDER, str(folder.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert folder.effective_status() == "running"
        holder = folder.owner()
        assert holder is not None
        assert holder.startswith(f"process {other.pid} on ")
        with (
            pytest.raises(LockHeldError, match=f"is worked on by process {other.pid} on"),
            hold(folder.lease_path),
        ):
            pass
        other.kill()
    assert folder.effective_status() == "interrupted"
    assert folder.owner() is None


def test_a_pruned_run_of_an_older_version_is_pruned(folder: RunFolder) -> None:
    older = {"status": "cancelled", "attempt": 2, "reason": "pruned: behind", "updated": "u"}
    folder.write_json(folder.state_path, older)
    state = folder.read_state()
    assert (state.status, state.reason, state.attempt) == (RunStatus.PRUNED, "behind", 2)
    folder.write_state("cancelled", reason="interrupted")
    assert folder.effective_status() is RunStatus.CANCELLED


def test_a_request_says_in_which_state_a_run_is_to_end(folder: RunFolder) -> None:
    folder.write_stopped()
    assert (folder.read_state().status, folder.read_state().reason) == ("cancelled", "interrupted")
    folder.request_cancel("behind the median", RunStatus.PRUNED)
    folder.write_stopped()
    assert folder.effective_status() is RunStatus.PRUNED
    assert folder.read_state().reason == "behind the median"
    folder.cancel_path.write_text('{"reason": "of an older version", "requested": "then"}')
    folder.write_stopped()
    assert folder.effective_status() is RunStatus.CANCELLED


def test_other_states_need_no_process(folder: RunFolder) -> None:
    for status in STORED:
        folder.write_state(status)
        expected = RunStatus.INTERRUPTED if status in IN_HAND else status
        assert folder.effective_status() == expected


def test_the_lock_is_free_again_afterwards(folder: RunFolder) -> None:
    with folder.lock():
        assert folder.owner() is not None
    with folder.lock(), folder.launch_lock():
        pass
    assert folder.owner() is None


def test_on_a_full_disk_the_progress_makes_room_for_how_a_run_ended(tmp_path: Path) -> None:
    def full() -> Any:
        folder = RunFolder(tmp_path / "run")
        folder.create("", {})
        folder.write_progress({"phase": "train"})
        fill(tmp_path)
        folder.write_state("failed", reason="no room")
        return folder.read_state().reason, folder.read_progress()

    assert on_a_disk(tmp_path, "64k", full) == ("no room", None)
