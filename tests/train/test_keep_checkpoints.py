"""The checkpoint hook on a stand-in for mmengine's runner: what it saves, keeps and restores."""

import os
import shutil
import signal
import threading
from logging.handlers import BufferingHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_a_child import fill, on_a_disk
from mmengine.logging import MMLogger

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RunFailedError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train import checkpoint, session
from aqr_exp.train.__main__ import main
from aqr_exp.train.checkpoint import (
    KeepCheckpoints,
    StopRequest,
    checkpoints,
    load_newest,
    save_atomically,
)
from aqr_exp.train.hooks import AverageWeights
from aqr_exp.train.session import reason_for

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

    def train(
        self,
        hook: KeepCheckpoints,
        *,
        stop_after: int | None = None,
        average: AverageWeights | None = None,
    ) -> None:
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
                if average:
                    average.after_train_iter(self, batch_idx=index)
                hook.after_train_iter(self, batch_idx=index)
                self.train_loop._iter += 1
            hook.after_train_epoch(self)
            self.train_loop._epoch += 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the checkpoints of a run are."""
    made = RunFolder(tmp_path / "baseline-ab-s0").checkpoints_dir
    made.mkdir(parents=True)
    return made


def hook(folder: Path, keep: int = 2, every_s: float = 0.0) -> KeepCheckpoints:
    return KeepCheckpoints(RunFolder(folder.parent), keep, StopRequest(), every_s)


class KilledError(Exception):
    """In place of SIGKILL: nothing is saved any more."""


def kill_after(trained: KeepCheckpoints, step: int) -> KeepCheckpoints:
    after_step = trained.after_train_iter

    def after_train_iter(runner: Any, **arguments: Any) -> None:
        after_step(runner, **arguments)
        if runner.iter + 1 == step:
            raise KilledError

    trained.after_train_iter = after_train_iter  # type: ignore[method-assign]
    return trained


def weights(runner: Runner) -> dict[str, Any]:
    return {name: value.tolist() for name, value in runner.model.state_dict().items()}


@pytest.fixture
def unbroken(tmp_path: Path) -> Runner:
    runner = Runner()
    whole = RunFolder(tmp_path / "whole").checkpoints_dir
    whole.mkdir(parents=True)
    runner.train(hook(whole))
    return runner


@pytest.mark.parametrize("stop_after", [1, 7, 10, 19])
def test_a_stopped_training_ends_as_the_unbroken_one(
    folder: Path, unbroken: Runner, stop_after: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=stop_after)
    epochs, within = divmod(stop_after, STEPS)
    newest = f"epoch_{epochs}_step_{stop_after}.pth" if within else f"epoch_{epochs}.pth"
    assert checkpoints(folder)[0].name == newest
    resumed = Runner()
    resumed.train(hook(folder))
    # The optimiser's moments and the schedule were restored too: the weights alone are not enough.
    assert weights(resumed) == weights(unbroken)
    assert resumed.param_schedulers[0].get_last_lr() == unbroken.param_schedulers[0].get_last_lr()
    # The loader passes over what the epoch had seen, once.
    assert resumed.train_dataloader.sampler.left_out == 2 * within


def test_a_killed_training_continues_after_its_last_epoch(folder: Path, unbroken: Runner) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=12)
    (folder / "epoch_2_step_12.pth").unlink()
    (folder / ".epoch_3.pth.tmp").write_bytes(b"torn")
    resumed = Runner()
    resumed.train(hook(folder))
    assert weights(resumed) == weights(unbroken)
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_ones_are_kept(folder: Path, keep: int) -> None:
    Runner().train(hook(folder, keep))
    names = [path.name for path in checkpoints(folder)]
    assert names == [f"epoch_{epoch}.pth" for epoch in (4, 3, 2)[:keep]]


def test_one_within_an_epoch_goes_when_the_epoch_is_saved_and_displaces_no_whole_one(
    folder: Path,
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=12)
    names = [path.name for path in checkpoints(folder)]
    assert names == ["epoch_2_step_12.pth", "epoch_2.pth", "epoch_1.pth"]
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=15)
    assert [path.name for path in checkpoints(folder)] == ["epoch_3.pth", "epoch_2.pth"]


@pytest.mark.parametrize("keep", [1, 2])
def test_what_is_saved_stays_beside_a_newer_one_that_is_of_no_use(
    folder: Path, unbroken: Runner, keep: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder, keep), stop_after=15)
    (folder / "epoch_3.pth").write_bytes(b"torn")
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder, keep), stop_after=13)
    assert (folder / "epoch_2_step_13.pth").exists()
    resumed = Runner()
    resumed.train(hook(folder, keep))
    assert weights(resumed) == weights(unbroken)
    assert resumed.train_dataloader.sampler.left_out == 2 * 3


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("killed_after", [3, 8, 14])
def test_one_is_saved_when_none_was_for_long_and_the_last_one_is_kept_beside_the_epochs(
    folder: Path, unbroken: Runner, killed_after: int, keep: int
) -> None:
    with pytest.raises(KilledError):
        Runner().train(kill_after(hook(folder, keep, every_s=1e-9), killed_after))
    epochs = killed_after // STEPS
    whole = [f"epoch_{epoch}.pth" for epoch in range(epochs, 0, -1)][:keep]
    assert [path.name for path in checkpoints(folder)] == [
        f"epoch_{epochs}_step_{killed_after}.pth",
        *whole,
    ]
    resumed = Runner()
    resumed.train(hook(folder, keep, every_s=1e-9))
    assert weights(resumed) == weights(unbroken)
    assert resumed.train_dataloader.sampler.left_out == 2 * (killed_after % STEPS)
    # What was saved within an epoch is of no use after it.
    assert [path.name for path in checkpoints(folder)] == ["epoch_4.pth", "epoch_3.pth"][:keep]


@pytest.mark.parametrize(
    ("every_s", "saved"), [(0.0, []), (100.0, [3, 8]), (160.0, [4, 9]), (250.0, [])]
)
def test_the_time_counts_from_the_last_save_of_any_kind(
    folder: Path, monkeypatch: pytest.MonkeyPatch, every_s: float, saved: list[int]
) -> None:
    """A step takes 40 s."""
    trained, now, names = Runner(), [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = hook(folder, every_s=every_s)

    def save(state: dict[str, Any], path: Path) -> None:
        save_atomically(state, path)
        names.append(path.name)

    monkeypatch.setattr(checkpoint, "save_atomically", save)
    after_step = kept.after_train_iter

    def after_train_iter(runner: Any, **arguments: Any) -> None:
        now[0] += 40.0
        after_step(runner, **arguments)

    kept.after_train_iter = after_train_iter  # type: ignore[method-assign]
    kill_after(kept, 9)
    with pytest.raises(KilledError):
        trained.train(kept)
    within = [int(name.split("_step_")[1][:-4]) for name in names if "_step_" in name]
    assert within == saved
    assert "epoch_1.pth" in names


@pytest.mark.parametrize("asked", ["auto", "cuda", "cpu"])
def test_a_run_goes_on_on_another_device_only_where_that_is_asked_for(
    folder: Path, unbroken: Runner, asked: Any
) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=7)
    saved = folder / "epoch_1_step_7.pth"
    state = torch.load(saved)
    assert state["device"] == "cpu"
    save_atomically(state | {"device": "cuda"}, saved)
    resumed = Runner()
    kept = KeepCheckpoints(RunFolder(folder.parent), 2, StopRequest(), device=asked)
    if asked == "cpu":
        resumed.train(kept)
        assert weights(resumed) == weights(unbroken)
        return
    with pytest.raises(RunFailedError) as caught:
        resumed.train(kept)
    assert str(caught.value) == (
        "it was trained on cuda and would go on on cpu: "
        "`aqr-exp run ... launcher.device=cpu` says that this is wanted"
    )
    assert resumed.iter == 0
    assert torch.load(saved)["device"] == "cuda", "it can go on where it was"


@pytest.mark.parametrize(("asked", "device"), [(None, "auto"), ("cpu", "cpu"), ("cuda", "cuda")])
def test_a_training_takes_the_device_that_is_asked_for_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, device: str
) -> None:
    run = RunFolder(tmp_path / "baseline-ab-s0")
    run.create(to_yaml(load_run("baseline")), {})
    seen: list[RunConfig] = []

    def run_in_folder(folder: RunFolder, config: RunConfig, **_: Any) -> int:
        assert folder.path == run.path
        seen.append(config)
        return 0

    monkeypatch.setattr(session, "run_in_folder", run_in_folder)
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    if asked:
        monkeypatch.setenv("AQR_EXP_DEVICE", asked)
    assert main([str(run.path)]) == 0
    (config,) = seen
    assert config.launcher.device == device
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ("" if asked == "cpu" else "1")


def test_a_checkpoint_of_an_older_version_goes_on_anywhere(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Runner().train(hook(folder), stop_after=7)
    saved = folder / "epoch_1_step_7.pth"
    state = torch.load(saved)
    del state["device"]
    save_atomically(state, saved)
    resumed = Runner()
    hook(folder).before_train(resumed)
    assert resumed.iter == 7


def test_a_stop_during_a_validation_has_nothing_to_save(folder: Path) -> None:
    asked = hook(folder)
    asked.after_val_iter(Runner(), batch_idx=0)
    asked.stop.receive()
    with pytest.raises(KeyboardInterrupt):
        asked.after_val_iter(Runner(), batch_idx=0)
    assert checkpoints(folder) == []


def test_a_checkpoint_is_on_disk_before_it_has_its_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, int]] = []

    def fsync(descriptor: int) -> None:
        named = (folder / "epoch_1.pth").exists()
        synced.append((named, os.fstat(descriptor).st_size))

    monkeypatch.setattr(checkpoint.os, "fsync", fsync)
    save_atomically({"model": {"w": torch.zeros(1000)}}, folder / "epoch_1.pth")
    ((named, size),) = synced
    assert not named
    assert size == (folder / "epoch_1.pth").stat().st_size > 4000


def test_a_disk_that_fills_keeps_what_was_saved_and_the_run_goes_on_with_the_same_bits(
    tmp_path: Path,
) -> None:
    disk, whole = (RunFolder(tmp_path / name) for name in ("disk", "whole"))
    for run in (disk, whole):
        run.checkpoints_dir.mkdir(parents=True)
    kept = disk.checkpoints_dir

    def full() -> Any:
        unbroken = Runner()
        unbroken.train(KeepCheckpoints(whole, 1, StopRequest()))
        runner, hook = Runner(), KeepCheckpoints(disk, 2, StopRequest())
        filler: list[Path] = []
        after_epoch = hook.after_train_epoch

        def fill_after_the_first(runner: Any) -> None:
            after_epoch(runner)
            filler.append(fill(kept))

        hook.after_train_epoch = fill_after_the_first  # type: ignore[method-assign]
        with pytest.raises(OSError, match="No space left on device") as caught:
            runner.train(hook)
        names = sorted(path.name for path in kept.iterdir())
        filler[0].unlink()
        again = Runner()
        again.train(KeepCheckpoints(disk, 2, StopRequest()))
        ends = [one.model.state_dict()["weight"].tolist() for one in (unbroken, again)]
        return reason_for(caught.value), names, ends

    reason, names, ends = on_a_disk(kept, "64k", full)
    hint = "free some space, then type it again"
    assert reason == f"{kept / 'epoch_2.pth'}: no space left on device ({hint})"
    assert names == ["epoch_1.pth", "filler"]
    assert ends[0] == ends[1]


def test_a_training_does_not_continue_another_runs(folder: Path, unbroken: Runner) -> None:
    """Checkpoints of another run of the same model, as a wrong copy leaves them."""
    other = folder.parents[1] / "whole" / "checkpoints"
    for path in checkpoints(other):
        shutil.copy(path, folder)
    assert len(checkpoints(folder)) == 2
    resumed = Runner()
    hook(folder).before_train(resumed)
    assert (resumed.epoch, resumed.iter) == (0, 0)
    hook(other).before_train(resumed)
    assert (resumed.epoch, resumed.iter) == (EPOCHS, EPOCHS * STEPS)


def averaged(folder: Path, decay: float = 0.75) -> tuple[Runner, AverageWeights, KeepCheckpoints]:
    """A training that averages the weights of a module that cannot be copied."""
    runner = Runner()
    runner.model.lock = threading.Lock()
    average = AverageWeights(runner, decay)
    kept = KeepCheckpoints(RunFolder(folder.parent), 2, StopRequest(), averaged=average.averaged)
    return runner, average, kept


def test_the_average_keeps_its_share_of_itself_and_has_no_part_in_training(folder: Path) -> None:
    plain, (runner, average, kept) = Runner(), averaged(folder)
    plain.train(hook(folder))
    shutil.rmtree(folder)
    folder.mkdir()
    seen: list[torch.Tensor] = []
    after = average.after_train_iter

    def watch(runner: Any, **rest: Any) -> None:
        if not seen:  # as modules do that make them when they see their first input
            runner.model.register_buffer("mask", torch.tensor([float("-inf"), 0.0]))
        seen.append(runner.model.weight.detach().clone())
        after(runner, **rest)

    average.after_train_iter = watch
    runner.train(kept, average=average)
    assert torch.equal(runner.model.weight, plain.model.weight)
    expected = seen[0]
    for weight in seen[1:]:
        expected = 0.75 * expected + 0.25 * weight
    with pytest.raises(KeyboardInterrupt), average.in_place():  # noqa: PT012
        torch.testing.assert_close(runner.model.weight.detach(), expected)
        assert not torch.equal(runner.model.weight, plain.model.weight)
        raise KeyboardInterrupt
    assert torch.equal(runner.model.weight, plain.model.weight)
    # A mask has no average.
    assert runner.model.mask.tolist() == [float("-inf"), 0.0]


@pytest.mark.parametrize("step", [1, 7, 10])
def test_the_average_goes_on_from_a_checkpoint_to_the_bit(folder: Path, step: int) -> None:
    whole = averaged(folder)
    whole[0].train(whole[2], average=whole[1])
    expected = whole[1].averaged.state_dict()
    shutil.rmtree(folder)
    folder.mkdir()
    runner, average, kept = averaged(folder)
    with pytest.raises(KeyboardInterrupt):
        runner.train(kept, average=average, stop_after=step)
    runner, average, kept = averaged(folder)
    runner.train(kept, average=average)
    found = average.averaged.state_dict()
    assert found.keys() == expected.keys()
    assert found["n_averaged"] == EPOCHS * STEPS
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_without_the_average_is_passed_over_in_one_line(
    folder: Path,
) -> None:
    runner, average, kept = averaged(folder)
    runner.train(kept, average=average)
    expected = average.averaged.state_dict()
    newest, before = checkpoints(folder)
    state = torch.load(newest, weights_only=True)
    del state["average"]
    torch.save(state, newest)
    assert load_newest(RunFolder(folder.parent))["epoch"] == 4, "weights alone are there"
    assert load_newest(RunFolder(folder.parent), averaged=True)["epoch"] == 3
    runner, average, kept = averaged(folder)
    log = BufferingHandler(1000)
    MMLogger.get_current_instance().addHandler(log)
    runner.train(kept, average=average)
    MMLogger.get_current_instance().removeHandler(log)
    assert [line for record in log.buffer if "average" in (line := record.getMessage())] == [
        f"{newest} cannot be read (it has no average of the weights): the one before is taken"
    ]
    assert before.name == "epoch_3.pth"
    found = average.averaged.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
