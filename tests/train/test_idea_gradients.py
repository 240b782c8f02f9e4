"""Pre-flight of an idea: parameters that nothing trains."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from aqr_exp.errors import RunFailedError
from aqr_exp.train.first_steps import _check_gradients


class Gains(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Parameter(torch.ones(2))
        self.unused = nn.Parameter(torch.ones(2))
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)


def runner_of(module: Gains, *hooks: str) -> SimpleNamespace:
    model = nn.Module()
    model.pts_bbox_head = nn.Module()
    model.pts_bbox_head.aqr, model.pts_bbox_head.hooks = module, set(hooks)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    return SimpleNamespace(model=model, optim_wrapper=wrapper)


def test_a_parameter_without_a_gradient_is_named_with_the_line_of_its_module() -> None:
    module = Gains()
    runner = runner_of(module)
    runner.optim_wrapper.update_params(module.used.sum())
    line = Gains.__init__.__code__.co_firstlineno
    with pytest.raises(RunFailedError) as caught:
        _check_gradients(runner)
    place, words = str(caught.value).split(": ", 1)
    assert place.endswith(f"{Path(__file__).name}:{line}")
    assert words == "unused: gets no gradient: no loss depends on it"


def test_a_gradient_of_zero_and_a_frozen_parameter_are_none_of_these() -> None:
    module = Gains()
    runner = runner_of(module)
    runner.optim_wrapper.update_params(module.used.sum() + 0 * module.unused.sum())
    _check_gradients(runner)


def test_before_the_first_step_of_the_optimiser_nothing_is_known() -> None:
    _check_gradients(runner_of(Gains()))


def test_an_idea_that_hears_of_epochs_may_use_a_parameter_later() -> None:
    module = Gains()
    runner = runner_of(module, "set_epoch")
    runner.optim_wrapper.update_params(module.used.sum())
    _check_gradients(runner)
