"""The checkpoint hook on a stand-in for mmengine's runner: what it saves, keeps and restores."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aqr_exp.train import checkpoint
from aqr_exp.train.checkpoint import KeepCheckpoints, StopRequest, checkpoints, save_atomically

EPOCHS, STEPS = 4, 5


class Sampler:
    def __init__(self) -> None:
        self.left_out = 0

    def leave_out(self, samples: int) -> None:
        self.left_out += samples


class Runner:
    """What the hook needs of mmengine's Runner: a model that an AdamW with a schedule trains."""

    max_epochs, max_iters = EPOCHS, EPOCHS * STEPS

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optim_wrapper = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.param_schedulers = [
            torch.optim.lr_scheduler.LambdaLR(self.optim_wrapper, lambda step: 1 / (1 + step))
        ]
        self.train_loop = SimpleNamespace(_epoch=0, _iter=0)
        self.train_dataloader = SimpleNamespace(batch_size=2, sampler=Sampler())

    @property
    def epoch(self) -> int:
        return self.train_loop._epoch

    @property
    def iter(self) -> int:
        return self.train_loop._iter

    def train(self, hook: KeepCheckpoints, *, stop_after: int | None = None) -> None:
        """Train as mmengine's loop does, each step's batch a function of its number."""
        hook.before_train(self)
        while self.epoch < EPOCHS:
            hook.before_train_epoch(self)
            for index in range(self.iter - self.epoch * STEPS, STEPS):
                batch = torch.full((2, 3), 0.1 * self.iter)
                self.optim_wrapper.zero_grad()
                (self.model(batch) - 1).square().sum().backward()
                self.optim_wrapper.step()
                self.param_schedulers[0].step()
                if self.iter + 1 == stop_after:
                    hook.stop.receive()
                hook.after_train_iter(self, batch_idx=index)
                self.train_loop._iter += 1
            hook.after_train_epoch(self)
            self.train_loop._epoch += 1


def hook(folder: Path, keep: int = 2) -> KeepCheckpoints:
    return KeepCheckpoints(folder, keep, StopRequest())


def weights(runner: Runner) -> dict[str, Any]:
    return {name: value.tolist() for name, value in runner.model.state_dict().items()}


@pytest.fixture
def unbroken(tmp_path: Path) -> Runner:
    runner = Runner()
    (tmp_path / "unbroken").mkdir()
    runner.train(hook(tmp_path / "unbroken"))
    return runner


@pytest.mark.parametrize("stop_after", [1, 7, 10, 19])
def test_a_stopped_training_ends_as_the_unbroken_one(
    tmp_path: Path, unbroken: Runner, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(tmp_path), stop_after=stop_after)
    epochs, within = divmod(stop_after, STEPS)
    newest = f"epoch_{epochs}_step_{stop_after}.pth" if within else f"epoch_{epochs}.pth"
    assert checkpoints(tmp_path)[0].name == newest
    resumed = Runner()
    resumed.train(hook(tmp_path))
    # The optimiser's moments and the schedule were restored too: the weights alone are not enough.
    assert weights(resumed) == weights(unbroken)
    assert resumed.param_schedulers[0].get_last_lr() == unbroken.param_schedulers[0].get_last_lr()
    # The loader passes over what the epoch had seen, once.
    assert resumed.train_dataloader.sampler.left_out == 2 * within


def test_a_killed_training_continues_after_its_last_epoch(tmp_path: Path, unbroken: Runner) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(tmp_path), stop_after=12)
    (tmp_path / "epoch_2_step_12.pth").unlink()
    (tmp_path / ".epoch_3.pth.tmp").write_bytes(b"torn")
    resumed = Runner()
    resumed.train(hook(tmp_path))
    assert weights(resumed) == weights(unbroken)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_ones_are_kept(tmp_path: Path, keep: int) -> None:
    Runner().train(hook(tmp_path, keep))
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == [f"epoch_{epoch}.pth" for epoch in (4, 3, 2)[:keep]]


def test_one_within_an_epoch_goes_when_the_epoch_is_saved_and_displaces_no_whole_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(tmp_path), stop_after=12)
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["epoch_2_step_12.pth", "epoch_2.pth"]
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(tmp_path), stop_after=15)
    assert [path.name for path in checkpoints(tmp_path)] == ["epoch_3.pth", "epoch_2.pth"]


def test_a_stop_during_a_validation_has_nothing_to_save(tmp_path: Path) -> None:
    asked = hook(tmp_path)
    asked.after_val_iter(Runner(), batch_idx=0)
    asked.stop.receive()
    with pytest.raises(KeyboardInterrupt):
        asked.after_val_iter(Runner(), batch_idx=0)
    assert checkpoints(tmp_path) == []


def test_a_checkpoint_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        named = (tmp_path / "epoch_1.pth").exists()
        synced.append((named, os.fstat(descriptor).st_size))

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    save_atomically({"model": {"w": torch.zeros(1000)}}, tmp_path / "epoch_1.pth")
    ((named, size),) = synced
    assert not named
    assert size == (tmp_path / "epoch_1.pth").stat().st_size > 4000
