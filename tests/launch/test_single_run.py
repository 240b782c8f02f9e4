import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aqr_exp.errors import AqrExpError
from aqr_exp.launch.attempt import last_log_lines, queue, settle
from aqr_exp.launch.executor import LocalExecutor, training_arguments, training_program
from aqr_exp.launch.json_worker import python_module
from aqr_exp.launch.single_run import train
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunState, RunStatus

PRELUDE = """
import os, signal, sys
from pathlib import Path
from aqr_exp.errors import AqrExpError
from aqr_exp.store.lease import LockHeldError
from aqr_exp.store.run_folder import RunFolder
folder = RunFolder(Path(sys.argv[1]))
"""

COMPLETES = """
with folder.lock():
    folder.write_state("running")
    print("hello from the training")
    folder.write_metrics({"mAP": 0.25})
    folder.write_state("completed")
"""


def ignore(progress: dict[str, Any]) -> None:
    pass


Trained = Callable[..., RunState]


@pytest.fixture
def trained(folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Train with a program that needs no torch in the training's place."""

    def run(
        body: str, *, show: Callable[[dict[str, Any]], None] = ignore, attempt: int = 1
    ) -> RunState:
        script = tmp_path / "fake training.py"
        script.write_text(PRELUDE + body)
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", json.dumps([sys.executable, str(script)]))
        return train(folder, LocalExecutor(), show, attempt=attempt)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "it's; echo $HOME" / "baseline-aa-s0")
    made.create("seed: 0\n", {})
    return made


def test_the_real_training_is_a_module_of_this_python(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AQR_EXP_TRAIN_COMMAND", raising=False)
    assert training_program() == python_module("aqr_exp.train")
    assert training_program()[0] == sys.executable
    assert training_program()[-1] == "aqr_exp.train"
    assert training_arguments(folder, 1, None) == [str(folder.path), "--attempt", "1"]
    assert training_arguments(folder, 3, 2)[1:] == ["--attempt", "3", "--threads", "2"]


@pytest.mark.parametrize("own", [False, True] if sys.version_info >= (3, 11) else [False])
def test_no_module_of_the_current_folder_is_imported(tmp_path: Path, *, own: bool) -> None:
    # Whatever is imported on the way to the module, and by it, could lie in a shared folder.
    here, package = tmp_path / "here", tmp_path / "package"
    here.mkdir()
    package.mkdir()
    for name in ("torch", "runpy", "os", "json", "pkgutil", "started", "usercustomize"):
        (here / f"{name}.py").write_text("open('executed', 'w')\nraise SystemExit(3)\n")
    (package / "started.py").write_text(
        "import json, sys, torch\nprint(json.dumps([__name__, sys.argv[1:], torch.__name__]))\n"
    )
    (package / "torch.py").touch()
    paths = {"PYTHONPATH": str(package), "PATH": os.defpath}
    # AQR_EXP_PYTHON names another, such as one that has no option for this.
    python = os.environ.get("AQR_EXP_PYTHON", sys.executable)
    command = [python, *python_module("started", own=own)[1:], "--threads", "a b"]
    done = subprocess.run(command, cwd=here, env=paths, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ["__main__", ["--threads", "a b"], "torch"]
    assert not (here / "executed").exists()
    # The folder is not harmless: Python's own way takes what lies there.
    subprocess.run([python, "-m", "started"], cwd=here, env=paths, check=False)
    assert (here / "executed").exists()


def test_the_training_is_replaced_by_a_list_and_never_by_a_shell_string(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["a b", "; echo"]')
    assert training_program() == ["a b", "; echo"]
    for wrong in ("python x.py", "[]", '"python"', "[1]"):
        monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", wrong)
        with pytest.raises(AqrExpError, match="must be a JSON list of arguments") as caught:
            training_program()
        assert wrong in str(caught.value)


def test_a_process_of_an_earlier_attempt_does_not_begin(folder: RunFolder) -> None:
    queue(folder, 2)
    assert folder.is_queued(2)
    assert not folder.is_queued(1)
    folder.write_state("running")
    assert not folder.is_queued(2)


def test_queueing_forgets_what_an_earlier_attempt_was_told(folder: RunFolder) -> None:
    folder.request_cancel("not now")
    folder.write_progress({"phase": "train"})
    assert folder.cancel_request().reason == "not now"
    queue(folder, 2)
    assert folder.cancel_request() is None
    assert folder.read_progress() is None


def test_a_run_that_outlived_its_launcher_is_not_queued(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.PATIENCE_S", 0)
    folder.write_state("running")
    with folder.lock(), pytest.raises(LockHeldError, match="is worked on by process"):
        train(folder, LocalExecutor(), ignore, attempt=2)
    assert folder.read_state().status is RunStatus.RUNNING


def test_a_run_that_just_completed_is_not_started_again(folder: RunFolder) -> None:
    folder.write_metrics({"mAP": 0.5})
    folder.write_state("completed")
    state = train(folder, LocalExecutor(), ignore, attempt=2)
    assert (state.status, state.attempt) == (RunStatus.COMPLETED, 1)


def test_a_run_that_was_asked_to_stop_is_cancelled_with_the_reason(folder: RunFolder) -> None:
    folder.write_state("running")
    folder.request_cancel("cancelled by ann on host")
    state = settle(folder, "it ended", stopped_by=None)
    assert (state.status, state.reason) == (RunStatus.CANCELLED, "cancelled by ann on host")


def test_a_completed_run(folder: RunFolder, trained: Trained) -> None:
    state = trained(COMPLETES)
    assert state.status is RunStatus.COMPLETED
    assert state.attempt == 1
    assert last_log_lines(folder)[-1] == "hello from the training"
    assert last_log_lines(folder)[0].startswith("=== attempt 1, 20")


def test_a_second_attempt_appends_to_the_log_and_counts(
    folder: RunFolder, trained: Trained
) -> None:
    folder.write_progress({"phase": "old"})
    trained("sys.exit('boom')")
    state = trained(COMPLETES, attempt=2)
    assert state.attempt == 2
    log = last_log_lines(folder)
    assert [line.split(",")[0] for line in log if line.startswith("===")] == [
        "=== attempt 1",
        "=== attempt 2",
    ]
    assert folder.read_progress() is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("sys.exit(3)", "the training process ended with exit code 3 and no result"),
        ("folder.write_state('running')", "the training process ended with exit code 0 and no"),
        ("folder.write_state('completed')", "the training process ended with exit code 0 and no"),
        (
            "folder.write_state('running'); os.kill(os.getpid(), signal.SIGKILL)",
            "the training process was killed by SIGKILL (out of memory?)",
        ),
        ("folder.write_state('failed', reason='loss is nan'); sys.exit(1)", "loss is nan"),
    ],
)
def test_whatever_did_not_complete_has_failed_with_a_reason(
    trained: Trained, body: str, reason: str
) -> None:
    state = trained(body)
    assert state.status is RunStatus.FAILED
    assert state.reason is not None
    assert state.reason.startswith(reason)


# The training asks its parent to stop and then waits for the interrupt: nobody has to sleep.
STOPPED = """
def stop(*_):
    folder.write_state("cancelled", reason="interrupted")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
folder.write_state("running")
os.kill(os.getppid(), signal.NAME)
while True:
    signal.pause()
"""


CANCELLED = (RunStatus.CANCELLED, "interrupted")
OUT_OF_TIME = (RunStatus.INTERRUPTED, "its time was up")


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("SIGINT", CANCELLED),
        ("SIGTERM", CANCELLED),
        ("SIGHUP", CANCELLED),
        # Nothing handles these in the training: it ends by them.
        ("SIGUSR1", OUT_OF_TIME),
        ("SIGUSR2", OUT_OF_TIME),
    ],
)
def test_a_stopped_run_is_cancelled_or_out_of_time(
    trained: Trained, name: str, ends: tuple[RunStatus, str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    state = trained(STOPPED.replace("NAME", name))
    assert (state.status, state.reason) == ends
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("name", "ends"), [("SIGTERM", CANCELLED), ("SIGHUP", CANCELLED), ("SIGUSR1", OUT_OF_TIME)]
)
def test_a_training_that_a_stop_reached_before_it_could_handle_any_has_not_failed(
    trained: Trained, name: str, ends: tuple[RunStatus, str]
) -> None:
    state = trained(f"os.kill(os.getpid(), signal.{name})")
    assert (state.status, state.reason) == ends


@pytest.mark.parametrize(
    ("wrote", "stopped_by", "ends"),
    [
        ("running", "SIGUSR2", "interrupted"),
        ("interrupted", "SIGUSR2", "interrupted"),
        ("interrupted", None, "interrupted"),
        # One of the two heard that the run is not wanted any more.
        ("interrupted", "SIGINT", "cancelled"),
        ("cancelled", "SIGUSR2", "cancelled"),
        ("cancelled", None, "cancelled"),
        ("running", None, "failed"),
    ],
)
def test_a_run_is_out_of_time_when_nobody_asked_otherwise(
    folder: RunFolder, wrote: str, stopped_by: str | None, ends: str
) -> None:
    folder.write_state(wrote)
    number = stopped_by and signal.Signals[stopped_by]
    assert settle(folder, "it ended", stopped_by=number or None).status.value == ends


def test_a_cancelled_run_is_cancelled_also_when_its_time_is_up(folder: RunFolder) -> None:
    folder.write_state("running")
    folder.request_cancel("cancelled by ann on host")
    state = settle(folder, "it ended", stopped_by=signal.SIGUSR1)
    assert (state.status, state.reason) == (RunStatus.CANCELLED, "cancelled by ann on host")


def test_progress_is_shown(folder: RunFolder, trained: Trained) -> None:
    body = """
folder.write_progress({"phase": "train", "step": 3})
def stop(*_):
    folder.write_metrics({})
    folder.write_state("completed")
    sys.exit(0)
signal.signal(signal.SIGUSR1, stop)
(folder.path / "pid").write_text(str(os.getpid()))
while True:
    signal.pause()
"""
    seen = []

    def show(progress: dict[str, Any]) -> None:
        seen.append(progress["step"])
        if (folder.path / "pid").exists() and (folder.path / "pid").read_text():
            os.kill(int((folder.path / "pid").read_text()), signal.SIGUSR1)
        else:  # shown before the fake was ready: ask to be shown again
            folder.write_progress({"phase": "train", "step": progress["step"] + 1})

    state = trained(body, show=show)
    assert state.status is RunStatus.COMPLETED
    assert seen[0] == 3


def test_a_run_that_completed_while_it_was_interrupted_is_completed(folder: RunFolder) -> None:
    folder.write_metrics({"mAP": 0.5})
    folder.write_state("completed")
    assert settle(folder, "it ended", stopped_by=signal.SIGINT).status is RunStatus.COMPLETED


def test_a_run_another_process_trains_is_left_to_it(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aqr_exp.store.lease.PATIENCE_S", 0)
    folder.write_state("running")
    with folder.lock(), pytest.raises(LockHeldError, match="is worked on by process"):
        settle(folder, "it ended", stopped_by=None)
    assert folder.read_state().status is RunStatus.RUNNING


def test_only_the_end_of_a_long_log_is_read(folder: RunFolder) -> None:
    assert last_log_lines(folder) == []
    folder.train_log_path.write_bytes(b"x" * 200_000 + b"\n\xff\nlast\n")
    assert last_log_lines(folder, 2) == ["\ufffd", "last"]
