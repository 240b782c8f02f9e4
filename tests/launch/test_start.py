"""Runs that looked due while others finish, fail or hold them at that moment."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_process import make, stub_task

from aqr_exp.launch import attempt as starting
from aqr_exp.launch.attempt import Decision, PriorState, RunSnapshot, Started, settle, start
from aqr_exp.launch.executor import LocalExecutor
from aqr_exp.launch.slots import Reservation, SlotLeases, cpu_slots
from aqr_exp.store.lease import Lease, LeaseInfo, claim
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.store.store import Store

EXECUTOR = LocalExecutor()


@pytest.fixture
def folder(store: Store) -> RunFolder:
    made = stub_task(store, 0).folder
    make(made, 0)
    # Its launcher was killed, and its training process has not begun yet.
    made.write_state("queued", attempt=1)
    return made


@pytest.fixture
def room(tmp_path: Path) -> Reservation:
    reserved = SlotLeases(tmp_path / "slots", cpu_slots(1)).reserve()
    assert reserved is not None
    return reserved


def leases(folder: RunFolder) -> list[Path]:
    return [path for path in (folder.lease_path, folder.launch_lease_path) if path.exists()]


def before_it_is_ours(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen after the launcher claimed the launch and before it claims the run."""

    def claim_late(path: Path) -> Lease | LeaseInfo:
        if path.name == ".lease":
            happens()
        return claim(path)

    monkeypatch.setattr(starting, "claim", claim_late)


def test_a_run_that_is_still_due_is_started(
    folder: RunFolder, room: Reservation, stubs: Callable[[dict], None]
) -> None:
    started = start(folder, PriorState(), EXECUTOR, room)
    assert isinstance(started, Started)
    assert started.attempt == 2
    while (summary := started.job.poll()) is None:
        EXECUTOR.wait([started.job], 60)
    assert settle(folder, summary, stopped_by=None).status.value == "completed"
    assert leases(folder) == [folder.launch_lease_path]
    started.lease.release()
    assert leases(folder) == []


def test_a_run_that_an_orphan_completes_at_that_moment_is_not_started_again(
    folder: RunFolder, room: Reservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete() -> None:
        folder.write_metrics({"mAP": 0.5})
        folder.write_state("completed")

    before_it_is_ours(monkeypatch, complete)
    answer = start(folder, PriorState(), EXECUTOR, room)
    assert isinstance(answer, RunSnapshot)
    assert answer.decision is Decision.COMPLETED
    assert (folder.effective_status(), folder.read_state().attempt) == ("completed", 1)
    assert leases(folder) == []


def test_a_run_that_an_orphan_fails_at_that_moment_has_failed(
    folder: RunFolder, room: Reservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_it_is_ours(monkeypatch, lambda: folder.write_state("failed", reason="no memory"))
    answer = start(folder, PriorState(), EXECUTOR, room)
    assert isinstance(answer, RunSnapshot)
    assert (answer.decision, answer.reason) == (Decision.FAILED, "no memory")
    assert leases(folder) == []


@pytest.mark.parametrize("holds", ["lock", "launch_lock"])
def test_a_run_somebody_works_on_is_theirs(
    folder: RunFolder, room: Reservation, holds: str
) -> None:
    with getattr(folder, holds)():
        answer = start(folder, PriorState(), EXECUTOR, room)
        assert isinstance(answer, RunSnapshot)
        assert answer.decision is Decision.ELSEWHERE
        assert len(leases(folder)) == 1
    assert folder.read_state().attempt == 1


def test_a_run_that_cannot_be_started_has_failed(
    folder: RunFolder, room: Reservation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AQR_EXP_TRAIN_COMMAND", '["/certainly/absent"]')
    answer = start(folder, PriorState(), EXECUTOR, room)
    assert isinstance(answer, RunSnapshot)
    assert answer.decision is Decision.FAILED
    assert (answer.reason or "").startswith("cannot be started: /certainly/absent: no such file")
    assert folder.read_state().reason == answer.reason
    assert leases(folder) == []
