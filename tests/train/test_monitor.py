"""What the variant's hook writes to the history, on a stand-in for mmengine's runner."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from aqr_exp.cmt.variant_module import VariantModule
from aqr_exp.config.load import load_run
from aqr_exp.errors import RunFailedError
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.monitor import VariantMonitorHook
from aqr_exp.variants.routed_module import RoutedModule


class Module(VariantModule):
    """A router of one weight, whose gradient is 3 for an input of 3."""

    watched_scalars = RoutedModule.watched_scalars

    def __init__(self) -> None:
        super().__init__()
        self.router = torch.nn.Linear(1, 1, bias=False)
        self.bias = torch.nn.ModuleDict({"scale": torch.nn.Identity()})


@pytest.mark.parametrize("scale", [None, 1.0, 65536.0])
def test_gradients_are_logged_without_the_scale_of_the_loss(
    tmp_path: Path, scale: float | None
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create("", {})
    module = Module()
    head: Any = SimpleNamespace(
        aqr=module, observe=lambda record: setattr(module, "record", record)
    )
    hook = VariantMonitorHook(folder, load_run("attention_bias"), head)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    wrapper = SimpleNamespace()
    if scale is not None:
        wrapper.loss_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    runner: Any = SimpleNamespace(iter=0, epoch=0, optim_wrapper=wrapper)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner)
    loss = module.router(torch.full((1, 1), 3.0)).sum()
    if scale is None:
        loss.backward()
        optimizer.step()
    else:
        wrapper.loss_scaler.scale(loss).backward()
        assert module.router.weight.grad.item() == 3.0 * scale
        wrapper.loss_scaler.step(optimizer)
        wrapper.loss_scaler.update()
    hook.after_train_iter(runner)
    (line,) = folder.read_history()
    assert line["router_gradient"] == 3.0


def test_a_rate_of_no_module_is_named(tmp_path: Path) -> None:
    module = Module()
    module.bias = torch.nn.ModuleDict({"scales": torch.nn.Identity()})
    head: Any = SimpleNamespace(aqr=module)
    with pytest.raises(RunFailedError) as caught:
        VariantMonitorHook(RunFolder(tmp_path / "run"), load_run("attention_bias"), head)
    assert "learning_rates: 'bias.scale' is no module or parameter of it" in str(caught.value)
    assert "did you mean 'bias.scales'?" in str(caught.value)
