from pathlib import Path

import pytest

from aqr_exp.launch.attempt import Decision, PriorState, decide, prior_state
from aqr_exp.store.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "it's; echo $HOME" / "run-s0")
    made.create("seed: 0\n", {})
    return made


def test_a_run_that_is_not_there_is_due(tmp_path: Path) -> None:
    absent = RunFolder(tmp_path / "absent")
    assert prior_state(absent) == PriorState()
    snapshot = decide(absent, PriorState())
    assert (snapshot.decision, snapshot.attempt) == (Decision.DUE, 1)


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
    snapshot = decide(folder, PriorState())
    assert (snapshot.decision, snapshot.reason) == (Decision.DUE, None)


def test_a_folder_without_its_state_is_damaged(folder: RunFolder) -> None:
    folder.state_path.unlink()
    snapshot = decide(folder, PriorState())
    assert (snapshot.decision, snapshot.reason) == (
        Decision.FAILED,
        f"{folder.state_path} is missing",
    )


def test_a_planned_run_is_due_for_the_first_time(folder: RunFolder) -> None:
    assert prior_state(folder).attempts == 0
    snapshot = decide(folder, prior_state(folder))
    assert (snapshot.decision, snapshot.attempt) == (Decision.DUE, 1)


def test_a_complete_run_is_done_and_without_metrics_it_is_damaged(folder: RunFolder) -> None:
    folder.write_state("completed")
    snapshot = decide(folder, prior_state(folder))
    assert snapshot.decision is Decision.FAILED
    assert snapshot.reason == f"{folder.metrics_path} is missing"
    folder.write_metrics({"mAP": 0.5})
    assert decide(folder, prior_state(folder)).decision is Decision.COMPLETED


def test_a_failure_before_is_due_and_one_since_is_an_outcome(folder: RunFolder) -> None:
    folder.write_state("failed", reason="the loss is not finite", attempt=2)
    before = prior_state(folder)
    snapshot = decide(folder, before)
    assert (snapshot.decision, snapshot.attempt) == (Decision.DUE, 3)
    folder.write_state("failed", reason="again", attempt=3)
    snapshot = decide(folder, before)
    assert (snapshot.decision, snapshot.reason) == (Decision.FAILED, "again")
    assert decide(folder, prior_state(folder)).decision is Decision.DUE, "for who comes now"


def test_a_run_that_runs_elsewhere_counts_with_how_it_ends(folder: RunFolder) -> None:
    folder.write_state("running", attempt=2)
    with folder.lock():
        prior = prior_state(folder)
        snapshot = decide(folder, prior)
        assert snapshot.decision is Decision.ELSEWHERE
        assert snapshot.reason == f"held by {folder.owner()}"
    assert decide(folder, prior).decision is Decision.DUE, "its process died without a word"
    folder.write_state("failed", reason="no memory")
    assert decide(folder, prior).decision is Decision.FAILED


def test_the_launchers_own_claim_is_no_reason_to_wait(folder: RunFolder) -> None:
    folder.write_state("queued", attempt=1)
    with folder.launch_lock(), folder.lock():
        assert decide(folder, PriorState()).decision is Decision.ELSEWHERE
        snapshot = decide(folder, PriorState(), ours=True)
        assert (snapshot.decision, snapshot.attempt) == (Decision.DUE, 2)


def test_an_interrupted_launcher_leaves_its_runs_to_others(folder: RunFolder) -> None:
    prior = prior_state(folder)
    folder.write_state("cancelled", reason="interrupted", attempt=1)
    snapshot = decide(folder, prior)
    assert (snapshot.decision, snapshot.attempt) == (Decision.DUE, 2)


def test_what_was_cancelled_on_request_since_is_not_started(folder: RunFolder) -> None:
    prior = prior_state(folder)
    folder.request_cancel("cancelled by ann on host")
    folder.write_state("cancelled", reason="cancelled by ann on host")
    snapshot = decide(folder, prior)
    assert (snapshot.decision, snapshot.reason) == (Decision.CANCELLED, "cancelled by ann on host")
    assert decide(folder, prior_state(folder)).decision is Decision.DUE, "asking anew goes on"


def test_nothing_is_done_where_nobody_can_tell(folder: RunFolder) -> None:
    folder.write_state("running")
    with folder.lock() as lease:
        lease.file.write_text("{")
        snapshot = decide(folder, prior_state(folder))
        assert snapshot.decision is Decision.UNKNOWN
        assert (snapshot.reason or "").startswith("held by an unreadable lease (unknown")


def test_a_damaged_folder_has_failed_and_is_not_touched(folder: RunFolder, tmp_path: Path) -> None:
    folder.state_path.write_text("{")
    assert prior_state(folder) == PriorState()
    snapshot = decide(folder, PriorState())
    assert snapshot.decision is Decision.FAILED
    assert (snapshot.reason or "").startswith(f"{folder.state_path} is damaged")
    strange = RunFolder(tmp_path / "strange")
    strange.path.mkdir()
    (strange.path / "notes.txt").write_text("mine")
    assert decide(strange, PriorState()).reason == f"{strange.state_path} is missing"
