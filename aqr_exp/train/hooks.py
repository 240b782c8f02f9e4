"""Seeds as functions of (run seed, step): a resumed step draws what the unbroken one drew."""

import math
import random
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from aqr_exp.config.stages import Stage, stage_at
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.errors import RunFailedError
from aqr_exp.store.run_folder import RunFolder


def step_seed(seed: int, step: int) -> int:
    """The seed of everything random inside one training step (dropout, denoising noise, grid mask).

    Args:
        seed: The run's seed.
        step: Zero-based step, counted over all epochs.
    """
    return int(np.random.SeedSequence((seed, 2, step)).generate_state(1)[0])


def seed_step(seed: int, step: int) -> None:
    """Set every global random state for one step."""
    value = step_seed(seed, step)
    random.seed(value)
    np.random.seed(value)  # noqa: NPY002 - the open-mmlab code draws from the global state
    torch.manual_seed(value)


class StageSwitchHook(Hook):
    """Builds the training data anew, its data set, pipeline and workers, whenever a stage begins.

    A run that continues within a later stage comes here before its first epoch, so it takes that
    stage's data too.

    Args:
        stages: Of the run; the Runner was made with the data of the first.
        batch_size: Samples a step of this process.
    """

    # Before the sampler is told its epoch.
    priority = "VERY_HIGH"

    def __init__(self, stages: tuple[Stage, ...], batch_size: int) -> None:
        self.stages = stages
        self.batch_size = batch_size
        self.loaded = 1

    def before_train_epoch(self, runner: Runner) -> None:
        """Change the data when this epoch's are others.

        Raises:
            RunFailedError: The stage's data have another length, so that the steps of the rate's
                cycle would be wrong.
        """
        stage = stage_at(self.stages, runner.epoch)
        if stage is None or stage.number == self.loaded:
            return
        settings = dataloader_config(
            stage.config,
            stage.config.data.train_split,
            training=True,
            batch_size=self.batch_size,
        )
        loader = runner.build_dataloader(settings, seed=runner.seed)
        steps = runner.max_iters // runner.max_epochs
        if len(loader) != steps:
            raise RunFailedError(f"{stage}: {len(loader)} steps an epoch, {steps} before it")
        runner.train_loop.dataloader = loader
        self.loaded = stage.number
        print_log(f"{stage} begins", "current")


def stage_entry(stages: tuple[Stage, ...], epoch: int) -> dict[str, int]:
    """What a line of the history says about its stage.

    Args:
        stages: Of the run.
        epoch: Counted from 0.

    Returns:
        `stage`, counted from 1; nothing for a run without stages.
    """
    stage = stage_at(stages, epoch)
    return {} if stage is None else {"stage": stage.number}


class SeedEachStep(Hook):
    """Makes every random draw of a step a function of (seed, step).

    Args:
        seed: The run's seed.
    """

    priority = "VERY_HIGH"

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any | None = None
    ) -> None:
        """Seed the step."""
        del batch_idx, data_batch
        seed_step(self.seed, runner.iter)


class RecordHistory(Hook):
    """Writes scalars to the run's history and where the run is to its progress file.

    Args:
        folder: The run's folder.
        every_steps: Steps between two lines.
        stages: Of the run; the lines name theirs.
    """

    def __init__(self, folder: RunFolder, every_steps: int, stages: tuple[Stage, ...] = ()) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.stages = stages
        self.started = self.step_started = self.step_loaded = 0.0
        self.first_step: int | None = None

    def before_train_epoch(self, runner: Runner) -> None:
        """Loading of the first batch counts from here; of the first epoch, the time that is left."""
        self.step_started = time.monotonic()
        if self.first_step is None:
            # Not before the training: there a run that continues has not been loaded yet.
            self.started, self.first_step = self.step_started, runner.iter

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any | None = None
    ) -> None:
        """The batch is there."""
        del runner, batch_idx, data_batch
        self.step_loaded = time.monotonic()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Check the loss; now and then write a line and the progress.

        Raises:
            RunFailedError: The loss is not finite; names the step.
        """
        del batch_idx, data_batch
        now = time.monotonic()
        losses = {name: float(value.detach()) for name, value in (outputs or {}).items()}
        step = runner.iter + 1
        if not math.isfinite(losses.get("loss", 0.0)):
            bad = ", ".join(name for name, value in losses.items() if not math.isfinite(value))
            raise RunFailedError(f"the loss is not finite at step {step} ({bad})")
        if step % self.every_steps == 0 or step in (1, runner.max_iters):
            self.folder.append_history(
                {
                    "kind": "train",
                    "epoch": runner.epoch + 1,
                    **stage_entry(self.stages, runner.epoch),
                    "step": step,
                    **losses,
                    "lr": runner.optim_wrapper.get_lr()["lr"][0],
                    "grad_norm": _scalar(runner, "train/grad_norm"),
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
        """A point of the curve; never the metric of record."""
        if metrics:
            point: dict[str, Any] = {"kind": "val", "epoch": runner.epoch}
            point.update(stage_entry(self.stages, runner.epoch - 1))
            point.update((name, metrics[name]) for name in ("mAP", "NDS") if name in metrics)
            self.folder.append_history(point)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any | None = None,
        outputs: Sequence[Any] | None = None,
    ) -> None:
        """Progress of the standalone evaluation."""
        del data_batch, outputs
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


def _scalar(runner: Runner, name: str) -> float | None:
    scalars = runner.message_hub.log_scalars
    return float(scalars[name].current()) if name in scalars else None


class CatchUpValidationHook(Hook):
    """Evaluates after a resume what an evaluation between epochs was interrupted at.

    Args:
        folder: The run's folder; its history tells which evaluations were made.
    """

    # When the checkpoint has been loaded.
    priority = "LOWEST"

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def before_train(self, runner: Runner) -> None:
        """Make the point of the curve that is missing, if one is."""
        loop, epoch = runner.val_loop, runner.epoch
        due = epoch % runner.train_loop.val_interval == 0 or epoch == runner.max_epochs
        within_epoch = runner.iter != epoch * (runner.max_iters // runner.max_epochs)
        if loop is None or not epoch or not due or within_epoch:
            return
        made = {line.get("epoch") for line in self.folder.read_history() if line["kind"] == "val"}
        if epoch not in made:
            loop.run()
