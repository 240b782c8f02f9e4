"""Checkpoints that are whole or absent, and nothing but tensors and numbers."""

import os
import re
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

_NAME = re.compile(r"epoch_(\d+)\.pth")


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
        (int(match[1]), path)
        for path in folder.glob("*.pth")
        if (match := _NAME.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found, reverse=True)]


def load_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read; damaged ones are passed over with a logged word.

    Args:
        folder: Where checkpoints are kept.

    Returns:
        Its content (tensors and numbers only, nothing is executed), or None.
    """
    for path in checkpoints(folder):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        except Exception as error:
            print_log(f"{path} cannot be read ({error}): the one before is taken", "current")
    return None


class CheckpointEachEpoch(Hook):
    """Saves after every epoch and continues from the newest intact checkpoint.

    Together with seeds per step and keyed samples, what a resumed run computes from there on is what an
    unbroken one would have computed.

    Args:
        folder: Where checkpoints are kept.
        keep: How many newest ones stay.
    """

    priority = "VERY_LOW"

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def before_train(self, runner: Runner) -> None:
        """Load the newest intact checkpoint, if there is one."""
        state = load_newest(self.folder)
        if state is None:
            return
        unwrapped(runner).load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)
        runner.train_loop._epoch = state["epoch"]  # noqa: SLF001 - mmengine's own resume does so
        runner.train_loop._iter = state["step"]  # noqa: SLF001
        print_log(f"continues after epoch {state['epoch']}", "current")

    def after_train_epoch(self, runner: Runner) -> None:
        """Save, then drop the oldest."""
        epoch = runner.epoch + 1
        state = {
            "epoch": epoch,
            "step": runner.iter,
            "model": unwrapped(runner).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
        }
        save_atomically(state, self.folder / f"epoch_{epoch}.pth")
        for path in checkpoints(self.folder)[self.keep :]:
            path.unlink()


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The model itself, without a wrapper for several processes."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model
