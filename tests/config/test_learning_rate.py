import dataclasses

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.config.stages import peak_step, rate_at

SCHEDULE = dataclasses.replace(
    load_run("baseline").schedule,
    learning_rate=1e-4,
    peak_ratio=6.0,
    final_ratio=1e-4,
    warm_fraction=0.4,
)


def test_the_ends_the_peak_and_the_middles() -> None:
    steps = 101
    assert peak_step(SCHEDULE, steps) == 40
    assert rate_at(SCHEDULE, 0, steps) == pytest.approx(1e-4)
    assert rate_at(SCHEDULE, 20, steps) == pytest.approx(3.5e-4)  # half way from 1 to 6
    assert rate_at(SCHEDULE, 40, steps) == pytest.approx(6e-4)
    assert rate_at(SCHEDULE, 70, steps) == pytest.approx((6 + 1e-4) / 2 * 1e-4)
    assert rate_at(SCHEDULE, 100, steps) == pytest.approx(1e-8)


def test_a_run_of_one_step_has_no_time_to_rise() -> None:
    assert rate_at(SCHEDULE, 0, 1) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match=r"^step 1 is not one of 1$"):
        rate_at(SCHEDULE, 1, 1)


@pytest.mark.parametrize("warm", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [2, 7, 40])
def test_it_is_what_the_runner_trains_with(steps: int, warm: float) -> None:
    import torch
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    from aqr_exp.train.runner_config import cycle_config

    schedule = dataclasses.replace(SCHEDULE, warm_fraction=warm)
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
