"""The learning rate of the runner's schedulers is the one that the configuration computes."""

import dataclasses

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from aqr_exp.config.load import load_run
from aqr_exp.config.stages import rate_at
from aqr_exp.train.runner_config import cycle_config


@pytest.mark.parametrize("warm", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("warm_steps", [0, 5, 1000])
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_it_is_what_the_runner_trains_with(steps: int, warm: float, warm_steps: int) -> None:
    schedule = dataclasses.replace(
        load_run("baseline").schedule, learning_rate=1e-4, peak_ratio=6.0, final_ratio=1e-4,
        warm_fraction=warm, warm_steps=warm_steps,
    )  # fmt: skip
    optimizer = OptimWrapper(torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1e-4))
    pieces = [
        PARAM_SCHEDULERS.build(piece, default_args={"optimizer": optimizer})
        for piece in cycle_config(schedule, steps)
    ]
    optimizer.update_params(optimizer.optimizer.param_groups[0]["params"][0].sum())
    for step in range(steps):
        found = optimizer.param_groups[0]["lr"]
        assert found == pytest.approx(rate_at(schedule, step, steps), rel=1e-6), step
        for piece in pieces:
            piece.step()
