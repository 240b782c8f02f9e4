from pathlib import Path

import pytest

from aqr_exp.launch.task import Outlook, Past, past_of, view_of
from aqr_exp.store.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "it's; echo $HOME" / "run-s0")
    made.create("seed: 0\n", {})
    return made


def test_a_run_that_is_not_there_is_due(tmp_path: Path) -> None:
    absent = RunFolder(tmp_path / "absent")
    assert past_of(absent) == Past()
    view = view_of(absent, Past())
    assert (view.outlook, view.attempt) == (Outlook.DUE, 1)


def test_a_run_that_arrives_between_two_looks_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another launcher makes the folder just after this one has missed its state."""
    folder = RunFolder(tmp_path / "run-s0")
    look = Path.exists

    def exists(path: Path) -> bool:
        found = look(path)
        if path == folder.state_path and not look(folder.path):
            folder.create("seed: 0\n", {})
        return found

    monkeypatch.setattr(Path, "exists", exists)
    view = view_of(folder, Past())
    assert (view.outlook, view.reason) == (Outlook.DUE, None)


def test_a_folder_without_its_state_is_damaged(folder: RunFolder) -> None:
    folder.state_path.unlink()
    view = view_of(folder, Past())
    assert (view.outlook, view.reason) == (Outlook.FAILED, f"{folder.state_path} is missing")


def test_a_planned_run_is_due_for_the_first_time(folder: RunFolder) -> None:
    assert past_of(folder).attempts == 0
    view = view_of(folder, past_of(folder))
    assert (view.outlook, view.attempt) == (Outlook.DUE, 1)


def test_a_complete_run_is_done_and_without_metrics_it_is_damaged(folder: RunFolder) -> None:
    folder.write_state("completed")
    view = view_of(folder, past_of(folder))
    assert view.outlook is Outlook.FAILED
    assert view.reason == f"{folder.metrics_path} is missing"
    folder.write_metrics({"mAP": 0.5})
    assert view_of(folder, past_of(folder)).outlook is Outlook.COMPLETED


def test_a_failure_before_is_due_and_one_since_is_an_outcome(folder: RunFolder) -> None:
    folder.write_state("failed", reason="the loss is not finite", attempt=2)
    before = past_of(folder)
    view = view_of(folder, before)
    assert (view.outlook, view.attempt) == (Outlook.DUE, 3)
    folder.write_state("failed", reason="again", attempt=3)
    view = view_of(folder, before)
    assert (view.outlook, view.reason) == (Outlook.FAILED, "again")
    assert view_of(folder, past_of(folder)).outlook is Outlook.DUE, "for who comes now"


def test_a_run_that_runs_elsewhere_counts_with_how_it_ends(folder: RunFolder) -> None:
    folder.write_state("running", attempt=2)
    with folder.lock():
        past = past_of(folder)
        view = view_of(folder, past)
        assert view.outlook is Outlook.ELSEWHERE
        assert view.reason == f"held by {folder.holder()}"
    assert view_of(folder, past).outlook is Outlook.DUE, "its process died without a word"
    folder.write_state("failed", reason="no memory")
    assert view_of(folder, past).outlook is Outlook.FAILED


def test_the_launchers_own_claim_is_no_reason_to_wait(folder: RunFolder) -> None:
    folder.write_state("queued", attempt=1)
    with folder.launch_lock(), folder.lock():
        assert view_of(folder, Past()).outlook is Outlook.ELSEWHERE
        view = view_of(folder, Past(), ours=True)
        assert (view.outlook, view.attempt) == (Outlook.DUE, 2)


def test_an_interrupted_launcher_leaves_its_runs_to_others(folder: RunFolder) -> None:
    past = past_of(folder)
    folder.write_state("cancelled", reason="interrupted", attempt=1)
    view = view_of(folder, past)
    assert (view.outlook, view.attempt) == (Outlook.DUE, 2)


def test_what_was_cancelled_on_request_since_is_not_started(folder: RunFolder) -> None:
    past = past_of(folder)
    folder.request_cancel("cancelled by ann on host")
    folder.write_state("cancelled", reason="cancelled by ann on host")
    view = view_of(folder, past)
    assert (view.outlook, view.reason) == (Outlook.CANCELLED, "cancelled by ann on host")
    assert view_of(folder, past_of(folder)).outlook is Outlook.DUE, "asking anew goes on"


def test_nothing_is_done_where_nobody_can_tell(folder: RunFolder) -> None:
    folder.write_state("running")
    with folder.lock() as lease:
        lease.file.write_text("{")
        view = view_of(folder, past_of(folder))
        assert view.outlook is Outlook.UNKNOWN
        assert (view.reason or "").startswith("held by an unreadable lease (unknown")


def test_a_damaged_folder_has_failed_and_is_not_touched(folder: RunFolder, tmp_path: Path) -> None:
    folder.state_path.write_text("{")
    assert past_of(folder) == Past()
    view = view_of(folder, Past())
    assert view.outlook is Outlook.FAILED
    assert (view.reason or "").startswith(f"{folder.state_path} is damaged")
    strange = RunFolder(tmp_path / "strange")
    strange.path.mkdir()
    (strange.path / "notes.txt").write_text("mine")
    assert view_of(strange, Past()).reason == f"{strange.state_path} is missing"
