"""Changing the training data where one stage of a schedule ends and the next begins."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from aqr_exp.config.stages import Stage, stage_at
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.errors import RunFailedError


class ChangeStage(Hook):
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
