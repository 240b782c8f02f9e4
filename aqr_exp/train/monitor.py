"""Monitors a variant while it trains: its scalars go into the history, and warnings beside them."""

from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor

from aqr_exp.cmt.head import CmtHead
from aqr_exp.cmt.hooks import Hooks
from aqr_exp.cmt.ranks import ranks, summed
from aqr_exp.cmt.variant_module import VariantModule, VariantRecord
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.stages import stages_of
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.files.own_code import call_own, fail_in, kind_of
from aqr_exp.files.suggest import did_you_mean
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.hooks import place_of


class VariantMonitorHook(Hook):
    """Writes lines of kind `arm` and, once an epoch each, of kind `warning` to the history.

    Args:
        head: The detector's head, which holds the module of the run's variant.
    """

    priority = "LOW"

    def __init__(self, folder: RunFolder, config: RunConfig, head: CmtHead) -> None:
        if head.aqr is None:
            raise ValueError(f"variant '{config.variant.name}' has no module to monitor")
        self.module: VariantModule = head.aqr
        self.hooks = Hooks(head.aqr)
        self.folder = folder
        self.head = head
        self.settings = config.variant
        self.every_steps = config.schedule.log_every_steps
        self.stages = stages_of(config)
        self.spec = spec_of(config.variant)
        below = [
            name for name, _ in (*self.module.named_modules(), *self.module.named_parameters())
        ]
        for name in self.spec.learning_rates(self.settings):
            if name not in below:
                rule = f"{name!r} is no module or parameter of it{did_you_mean(name, below)}"
                fail_in(self.spec.learning_rates, "learning_rates", rule)
        self.gradients: dict[str, Tensor] = {}
        self.loss_scale = 1.0
        self.warned: set[str] = set()

    def before_train(self, _runner: Runner) -> None:
        """Keep the gradients of a recorded step as they arrive: scaling back and clipping change them."""

        def keep(gradient: Tensor, name: str) -> None:
            if self.module.record is not None:
                before = self.gradients.get(name)
                # One for each part of the step's samples.
                self.gradients[name] = gradient.clone() if before is None else before + gradient

        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(partial(keep, name=name))

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin the module's epoch; warnings may come again."""
        if "set_epoch" in self.hooks:
            self.hooks.call("set_epoch", runner.epoch)
        self.warned.clear()

    def before_train_iter(self, runner: Runner, **_: Any) -> None:
        """Record a step that is logged."""
        self.gradients.clear()
        if (runner.iter + 1) % self.every_steps == 0 or runner.iter == 0:
            self.head.observe(VariantRecord())
            # In mixed precision the loss, and with it every gradient that arrives, is multiplied.
            scaler = getattr(runner.optim_wrapper, "loss_scaler", None)
            self.loss_scale = 1.0 if scaler is None else scaler.get_scale()

    def after_train_iter(self, runner: Runner, **_: Any) -> None:
        """Write what was recorded, and warn."""
        record = self.module.record
        if record is None:
            return
        self.head.observe(None)
        if ranks() > 1:
            # Each has those of its own samples; what else is recorded is of the first rank's samples.
            self.gradients = {
                name: summed(self.gradients.get(name, torch.zeros_like(each)))
                for name, each in self.module.named_parameters()
                if each.requires_grad
            }
        gradients = {name: each / self.loss_scale for name, each in self.gradients.items()}
        scalars = record.scalars()
        where = {**place_of(self.stages, runner.epoch), "step": runner.iter + 1}
        if "watched_scalars" in self.hooks:
            scalars |= self.hooks.scalars("watched_scalars", ("kind", *where), gradients)
        if scalars:
            self.folder.append_history({"kind": "arm", **where, **scalars})
        for kind, message in self._warnings(scalars):
            if kind not in self.warned:
                self.warned.add(kind)
                self.folder.append_history({"kind": "warning", **where, "message": message})
                print_log(f"step {where['step']}: {message}", "current")

    def _warnings(self, scalars: dict[str, float]) -> list[tuple[str, str]]:
        found = call_own(self.spec.warnings, "warnings", self.settings, scalars)
        for each in found if isinstance(found, tuple | list) else (found,):
            if not isinstance(each, tuple) or [*map(type, each)] != [str, str]:
                rule = f"must give pairs of kind and message, not {kind_of(each)}"
                fail_in(self.spec.warnings, "warnings", rule)
        return list(found)
