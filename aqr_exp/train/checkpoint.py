"""Requests to stop a training: the first waits for the step's end and a checkpoint, the second does not."""

import contextlib
import os
import re
import signal
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether this process was asked to stop.

    Args:
        pressing: Whether a request that is there now must not wait: nothing may be saved any more.
        one_request: Whether several signals may be one request: whoever cancels a run writes it down,
            and both its launcher and this process act on it.

    Attributes:
        asked: Whether it was asked to stop.
    """

    def __init__(
        self,
        pressing: Callable[[], bool] = lambda: False,
        one_request: Callable[[], bool] = lambda: False,
    ) -> None:
        self.asked = False
        self._pressing = pressing
        self._one_request = one_request

    def receive(self) -> None:
        """Note a request.

        Raises:
            KeyboardInterrupt: It must not wait.
        """
        if self._pressing() or (self.asked and not self._one_request()):
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def stops_wait(request: StopRequest) -> Iterator[None]:
    """Let signals that mean stop go to `request` instead of interrupting whatever is being done.

    Args:
        request: Takes them; whoever can stop in good order looks at it.
    """
    ours = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() == ours:
            request.receive()
        elif number == signal.SIGTERM:
            # A forked loader worker: it ends at once when told to, and not by a terminal's Ctrl-C,
            # which the training process takes for both.
            os._exit(128 + number)

    kept = {number: signal.signal(number, handle) for number in STOPPING}
    try:
        yield
    finally:
        for number, previous in kept.items():
            signal.signal(number, previous)


# After whole epochs, or within one: so many whole epochs, and so many steps in all.
_NAME = re.compile(r"epoch_(\d+)(?:_step_(\d+))?\.pth")


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside its place and move it there when it is safely on disk."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """The folder's checkpoints, newest first."""
    found = [
        (int(match[1]), int(match[2] or 0), path)
        for path in folder.glob("*.pth")
        if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, _, path in sorted(found, reverse=True)]


def read_checked(path: Path) -> dict[str, Any]:
    """A checkpoint's content; tensors and numbers only, nothing is executed.

    Raises:
        Exception: It is truncated or damaged, or holds something else.
    """
    with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"the checksum of {damaged} is wrong")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read; damaged ones are passed over with a logged word.

    Args:
        folder: Where checkpoints are kept.

    Returns:
        Its content (tensors and numbers only, nothing is executed), or None.
    """
    for path in checkpoints(folder):
        try:
            return read_checked(path)
        except Exception as error:
            print_log(f"{path} cannot be read ({error}): the one before is taken", "current")
    return None


class KeepCheckpoints(Hook):
    """Saves after every epoch, and within one when asked to stop; continues from the newest intact one.

    Together with seeds per step and keyed samples, what a resumed run computes from there on is what an
    unbroken one would have computed.

    Args:
        folder: Where checkpoints are kept.
        keep: How many newest ones stay.
        stop: Whether the process was asked to stop.
    """

    priority = "VERY_LOW"

    def __init__(self, folder: Path, keep: int, stop: StopRequest) -> None:
        self.folder = folder
        self.keep = keep
        self.stop = stop
        self.steps_done = 0

    def before_train(self, runner: Runner) -> None:
        """Load the newest intact checkpoint, if there is one."""
        for torn in self.folder.glob(".*.pth.tmp"):
            torn.unlink()
        state = load_newest(self.folder)
        if state is None:
            return
        unwrapped(runner).load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        runner.train_loop._epoch = state["epoch"]  # noqa: SLF001 - mmengine's own resume does so
        runner.train_loop._iter = state["step"]  # noqa: SLF001
        self.steps_done = state["step"] - state["epoch"] * _steps_per_epoch(runner)
        within = f" and {self.steps_done} steps" if self.steps_done else ""
        print_log(f"continues after epoch {state['epoch']}{within}", "current")

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out what the epoch had trained on before it was interrupted."""
        loader = runner.train_dataloader
        if self.steps_done:
            loader.sampler.leave_out(self.steps_done * loader.batch_size)
            self.steps_done = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Save and end when asked to stop.

        Raises:
            KeyboardInterrupt: The process was asked to stop; everything is saved.
        """
        del batch_idx, data_batch, outputs
        if not self.stop.asked:
            return
        step = runner.iter + 1
        # The epoch's last step is saved when the epoch has ended.
        if step < (runner.epoch + 1) * _steps_per_epoch(runner):
            self._save(runner, runner.epoch, step, f"epoch_{runner.epoch}_step_{step}.pth")
            raise KeyboardInterrupt

    def after_train_epoch(self, runner: Runner) -> None:
        """Save.

        Raises:
            KeyboardInterrupt: The process was asked to stop; everything is saved.
        """
        epoch = runner.epoch + 1
        self._save(runner, epoch, runner.iter, f"epoch_{epoch}.pth")
        if self.stop.asked:
            raise KeyboardInterrupt

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any | None = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Evaluation between epochs has nothing to save.

        Raises:
            KeyboardInterrupt: The process was asked to stop.
        """
        del runner, batch_idx, data_batch, outputs
        if self.stop.asked:
            raise KeyboardInterrupt

    def _save(self, runner: Runner, epoch: int, step: int, name: str) -> None:
        state = {
            "epoch": epoch,
            "step": step,
            "model": unwrapped(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
        }
        save_atomically(state, self.folder / name)
        newest, *others = checkpoints(self.folder)
        # What was saved within an epoch is of no use after it, and must not displace what is.
        spent = [path for path in others if "_step_" in path.name and "_step_" not in newest.name]
        kept = [path for path in others if path not in spent][: self.keep - 1]
        for path in others:
            if path not in kept:
                path.unlink()


def _steps_per_epoch(runner: Runner) -> int:
    return int(runner.max_iters // runner.max_epochs)


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The model itself, without a wrapper for several processes."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model
