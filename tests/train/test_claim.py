import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aqr_exp.store.lease import evict
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.session import Claim, held_for_training

FOR_EVER_S = 300


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setattr("aqr_exp.store.lease.BEAT_S", 0.01)
    made = RunFolder(tmp_path / "it's; echo $HOME")
    made.create("seed: 0\n", {})
    return made


def interrupted(folder: RunFolder, meanwhile: Callable[[Claim], None]) -> Claim:
    """Train until something outside interrupts the training."""
    with held_for_training(folder) as claim:
        try:
            meanwhile(claim)
            threading.Event().wait(FOR_EVER_S)
        except KeyboardInterrupt:
            return claim
    raise AssertionError("nobody interrupted it")


def test_a_request_to_stop_interrupts_the_training(folder: RunFolder) -> None:
    claim = interrupted(folder, lambda _: folder.request_cancel("cancelled by ann on host"))
    assert not claim.lost
    assert folder.cancel_request().reason == "cancelled by ann on host"


def test_a_training_whose_run_was_taken_stops_and_knows_it(folder: RunFolder) -> None:
    claim = interrupted(folder, lambda claim: claim.still_ours() and evict(claim.lease.file))
    assert claim.lost
    assert not claim.still_ours()


def test_the_loss_is_found_before_anything_is_written(folder: RunFolder) -> None:
    found: list[bool] = []

    def take_and_ask(claim: Claim) -> None:
        evict(claim.lease.file)
        found.append(claim.still_ours())

    interrupted(folder, take_and_ask)
    assert found in ([False], []), "asked, or interrupted before that"


def test_undisturbed_it_ends_and_holds_nothing(folder: RunFolder) -> None:
    with held_for_training(folder) as claim:
        assert claim.still_ours()
    assert folder.owner() is None
