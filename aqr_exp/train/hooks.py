"""Hooks of a training: seeds of each step, stages, history and progress, missed validations."""

import contextlib
import math
import random
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner, TestLoop
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from aqr_exp.cmt.ranks import rank
from aqr_exp.config.stages import Stage, stage_at
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.errors import RunFailedError
from aqr_exp.statistics.metrics import MAIN_METRICS
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.checkpoint import unwrapped


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """The seed of everything random inside one training step (dropout, denoising noise, grid mask).

    A function of the run's seed, the step (from 0, over all epochs) and the process among those that
    train together: a resumed step draws as the unbroken one.
    """
    others = (rank,) if rank else ()
    return int(np.random.SeedSequence((seed, 2, step, *others)).generate_state(1)[0])


def seed_step(seed: int, step: int) -> None:
    """Set every global random state for one step."""
    value = step_seed(seed, step, rank())
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the open-mmlab code draws from the global state
    torch.manual_seed(value)


class StageSwitchHook(Hook):
    """Replaces the training data (data set, pipeline and workers) whenever a stage begins.

    A run that continues within a later stage gets that stage's data before its first epoch.

    Args:
        stages: Of the run, or none; the Runner was built with the data of the first.
        batch_size: Samples of a step in this process.
    """

    # Before the sampler gets its epoch.
    priority = "VERY_HIGH"

    def __init__(self, stages: tuple[Stage, ...], batch_size: int) -> None:
        self.stages = stages
        self.batch_size = batch_size
        self.loaded = 1

    def before_train_epoch(self, runner: Runner) -> None:
        """Change the data when this epoch begins another stage.

        Raises:
            RunFailedError: The stage's data have another length: the learning rate's cycle would be
                wrong.
        """
        stage = stage_at(self.stages, runner.epoch)
        if stage is None or stage.number == self.loaded:
            return
        config = stage.config
        settings = dataloader_config(
            config, config.data.train_split, training=True, batch_size=self.batch_size
        )
        loader = runner.build_dataloader(settings, seed=runner.seed)
        steps = runner.max_iters // runner.max_epochs
        if len(loader) != steps:
            raise RunFailedError(f"{stage}: {len(loader)} steps an epoch, {steps} before it")
        runner.train_loop.dataloader = loader
        self.loaded = stage.number
        print_log(f"{stage} begins", "current")


def place_of(stages: tuple[Stage, ...], epoch: int) -> dict[str, int]:
    """The `epoch` of a line of the history and, in a run with stages, the `stage`; both from 1.

    Args:
        epoch: Counted from 0.
    """
    stage = stage_at(stages, epoch)
    return {"epoch": epoch + 1} | ({} if stage is None else {"stage": stage.number})


class SeedEachStep(Hook):
    """Makes every random draw of a step a function of (run seed, step)."""

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_iter(self, runner: Runner, **_: Any) -> None:
        """Seed the step."""
        seed_step(self.seed, runner.iter)


class RecordHistory(Hook):
    """Writes scalars to the run's history every few steps, and its progress to the progress file."""

    priority = "LOW"

    def __init__(self, folder: RunFolder, every_steps: int, stages: tuple[Stage, ...]) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.stages = stages
        self.started = self.step_started = self.step_loaded = 0.0
        self.first_step: int | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clocks of the first batch's loading and, in the first epoch, of the time left."""
        self.step_started = time.monotonic()
        if self.first_step is None:
            # Not in before_train: there the checkpoint of a resumed run has not been loaded yet.
            self.started, self.first_step = self.step_started, runner.iter

    def before_train_iter(self, _runner: Runner, **_: Any) -> None:
        """Note when the batch was loaded."""
        self.step_loaded = time.monotonic()

    def after_train_iter(
        self, runner: Runner, *, outputs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Check the loss; every few steps write a line and the progress.

        Raises:
            RunFailedError: The loss is not finite; names the step.
        """
        now = time.monotonic()
        losses = {name: float(value.detach()) for name, value in (outputs or {}).items()}
        step = runner.iter + 1
        if not math.isfinite(losses.get("loss", 0.0)):
            bad = ", ".join(name for name, value in losses.items() if not math.isfinite(value))
            raise RunFailedError(f"the loss is not finite at step {step} ({bad})")
        if step % self.every_steps == 0 or step in (1, runner.max_iters):
            norm = runner.message_hub.log_scalars.get("train/grad_norm")
            self.folder.append_history(
                {
                    "kind": "train",
                    **place_of(self.stages, runner.epoch),
                    "step": step,
                    **losses,
                    "lr": runner.optim_wrapper.get_lr()["lr"][0],
                    "grad_norm": float(norm.current()) if norm is not None else None,
                    "step_time_s": round(now - self.step_started, 4),
                    "data_time_s": round(self.step_loaded - self.step_started, 4),
                }
            )
            done = step - (self.first_step or 0)
            self.folder.write_progress(
                {
                    "phase": "train",
                    "epoch": runner.epoch + 1,
                    "epochs": runner.max_epochs,
                    "step": step,
                    "steps": runner.max_iters,
                    "loss": losses.get("loss"),
                    "eta_s": (now - self.started) / done * (runner.max_iters - step),
                }
            )
        self.step_started = now

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Write a point of the curve; it is never the metric of record."""
        if metrics:
            place = place_of(self.stages, runner.epoch - 1)
            scores: dict[str, float] = {
                name: metrics[name] for name in MAIN_METRICS if name in metrics
            }
            self.folder.append_history({"kind": "val", **place, **scores})

    def after_test_iter(self, runner: Runner, *, batch_idx: int, **_: Any) -> None:
        """Write the progress of the final evaluation."""
        batches = len(runner.test_dataloader)
        done = batch_idx + 1
        if done == 1:
            self.started = time.monotonic()
        if done % 10 == 0 or done == batches:
            elapsed = time.monotonic() - self.started
            self.folder.write_progress(
                {
                    "phase": "predict" if done < batches else "score",
                    "step": done,
                    "steps": batches,
                    "eta_s": elapsed / max(1, done - 1) * (batches - done),
                }
            )


class AverageWeights(Hook):
    """Keeps an exponential moving average of the weights, which the training itself never sees.

    It is of parameters alone, of which any module can be averaged; buffers stay the training's.

    Args:
        decay: Share of itself that the average keeps each step; it begins as the weights after the first.
    """

    metrics: ClassVar = {f"{name}_ema": name for name in MAIN_METRICS}
    """Names of its scores, and what they are scores by."""

    def __init__(self, runner: Runner, decay: float) -> None:
        self.weights = nn.ParameterList(unwrapped(runner).parameters())
        self.averaged = AveragedModel(self.weights, multi_avg_fn=get_ema_multi_avg_fn(decay))
        self.averaged.requires_grad_(requires_grad=False)

    def after_train_iter(self, _runner: Runner, **_: Any) -> None:
        """Average; before a checkpoint of this step is saved."""
        self.averaged.update_parameters(self.weights)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the place of the weights, and these back at the end."""
        trained = [weight.data for weight in self.weights]
        try:
            for weight, average in zip(self.weights, self.averaged.parameters(), strict=True):
                weight.data = average.data
            yield
        finally:
            for weight, data in zip(self.weights, trained, strict=True):
                weight.data = data

    def score(self, runner: Runner, evaluator: dict[str, Any]) -> dict[str, float]:
        """The average's metrics on the test data, under names of their own; rank 0 has them."""
        with self.in_place():
            scores = TestLoop(runner, runner.test_dataloader, evaluator).run()
        return {own: scores[name] for own, name in self.metrics.items() if name in scores}


class CatchUpValidationHook(Hook):
    """Runs a validation between epochs that was interrupted, when the run is resumed.

    The run's history holds the validations that were completed.
    """

    # After the checkpoint has been loaded.
    priority = "LOWEST"

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def before_train(self, runner: Runner) -> None:
        """Validate if the point of the curve at this epoch is missing."""
        loop, epoch = runner.val_loop, runner.epoch
        due = epoch % runner.train_loop.val_interval == 0 or epoch == runner.max_epochs
        within_epoch = runner.iter != epoch * (runner.max_iters // runner.max_epochs)
        if loop is None or not epoch or not due or within_epoch:
            return
        made = {line.get("epoch") for line in self.folder.read_history() if line["kind"] == "val"}
        if epoch not in made:
            loop.run()
