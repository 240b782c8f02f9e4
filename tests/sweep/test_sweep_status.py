from pathlib import Path

import pytest

from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.status import RunStatus
from aqr_exp.store.store import Store
from aqr_exp.sweep.status import RunLine, SweepStatus, WatchedRun, count_by_status, left_s, line_of


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = Store(tmp_path).folder("run-s0")
    made.create("seed: 0\n", {})
    return made


def watched(folder: RunFolder) -> WatchedRun:
    return WatchedRun(folder=folder, label="baseline seed=0", expected_s=30.0)


def line(
    status: str, expected_s: float | None = None, eta_s: float | None = None, **steps: int
) -> RunLine:
    progress = {} if eta_s is None else {"phase": "train", "eta_s": eta_s, **steps}
    return RunLine(
        name="x", label="x", status=RunStatus(status), expected_s=expected_s, progress=progress
    )


def test_what_never_ran_is_to_do(folder: RunFolder, tmp_path: Path) -> None:
    assert line_of(watched(folder)).status == "to do"
    absent = line_of(watched(RunFolder(tmp_path / "absent")))
    assert (absent.status, absent.left_s) == ("to do", 30.0)


def test_a_running_run_says_where_it_is(folder: RunFolder) -> None:
    folder.write_state("running")
    folder.write_progress({"phase": "train", "eta_s": 12.0})
    with folder.lock():
        found = line_of(watched(folder))
    assert (found.status, found.left_s, found.progress["phase"]) == ("running", 12.0, "train")
    assert line_of(watched(folder)).status == "interrupted"


def test_a_queued_run_runs(folder: RunFolder) -> None:
    folder.write_state("queued")
    with folder.launch_lock():
        assert line_of(watched(folder)).status == "running"


def test_the_rest_has_its_reason(folder: RunFolder) -> None:
    folder.write_state("failed", reason="no memory", attempt=2)
    found = line_of(watched(folder))
    assert (found.status, found.reason, found.attempt) == ("failed", "no memory", 2)
    folder.write_state("running")
    with folder.lock() as lease:
        lease.file.write_text("{")
        found = line_of(watched(folder))
    assert found.status == "unknown"
    assert (found.reason or "").startswith("held by an unreadable lease")
    folder.state_path.write_text("{")
    found = line_of(watched(folder))
    assert found.status == "damaged"
    assert str(folder.state_path) in (found.reason or "")


def test_what_is_complete_is_read_once(folder: RunFolder) -> None:
    status = SweepStatus([watched(folder)])
    folder.write_state("failed")
    assert [found.status for found in status.look()] == ["failed"]
    folder.write_metrics({"mAP": 0.5, "train_time_s": 42.0})
    folder.write_state("completed")
    assert [(found.status, found.expected_s) for found in status.look()] == [("completed", 42.0)]
    folder.state_path.unlink()
    assert [found.status for found in status.look()] == ["completed"]


def test_totals_come_in_one_order_and_leave_nothing_out() -> None:
    lines = [line(status) for status in ("damaged", "to do", "completed", "to do")]
    assert list(count_by_status(lines).items()) == [("completed", 1), ("to do", 2), ("damaged", 1)]


@pytest.mark.parametrize(
    ("lines", "expected_s"),
    [
        ([], None),
        ([line("completed")], None),
        ([line("running"), line("to do")], None),
        ([line("running", eta_s=10.0), line("running", eta_s=30.0)], 30.0),
        ([line("running", eta_s=10.0), line("running", eta_s=10.0), line("to do", 40.0)], 40.0),
        # Ten runs of about 20 s, two side by side.
        (
            [line("running", eta_s=20.0)] * 2 + [line("to do", 20.0)] * 4 + [line("to do")] * 4,
            100.0,
        ),
        # A run that has trained 9 of 10 steps and needs 10 s more takes 100 s from start to end.
        ([line("running", eta_s=10.0, step=9, steps=10), line("to do"), line("to do")], 210.0),
        # Those that are through say how long one takes.
        ([line("completed", 50.0), line("running", 50.0, eta_s=5.0), line("to do")], 55.0),
    ],
)
def test_time_left_is_work_over_runs_side_by_side(
    lines: list[RunLine], expected_s: float | None
) -> None:
    assert left_s(lines) == expected_s
