"""Watches the method while it trains: its scalars into the history, and a warning when it goes astray."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from aqr_exp.aqr.scale_names import is_scale
from aqr_exp.aqr.statistics import MODALITIES, scale_scalars
from aqr_exp.cmt.head import CmtHead
from aqr_exp.cmt.variant_module import Arm, ArmRecord
from aqr_exp.config.stages import Stage
from aqr_exp.store.run_folder import RunFolder
from aqr_exp.train.hooks import stage_entry
from aqr_exp.variants.attention_bias.module import AttentionBiasArm

NEAR_BOUND = 0.8
"""A scale beyond this share of its upper bound is about to be held there."""
SATURATED_SHARE = 0.5
"""More of the biases than this beyond +-3: softmax answers to them no longer."""
COLLAPSED_SHARE = 0.95
"""More of the queries than this prefer one modality."""
STEADY_MEAN, STEADY_SPREAD = 0.9, 0.02
"""Weights near the end of their range that hardly differ between queries: the router routes nothing."""


class WatchArm(Hook):
    """Writes lines of kind `arm` and, once an epoch each, of kind `warning` to the history.

    Args:
        folder: The run's folder.
        head: The detector's head.
        arm: Its arm.
        every_steps: Steps between two lines.
        warn_threshold: A scale above it is warned about; None warns about none.
        stages: Of the run; the lines name theirs.
    """

    priority = "LOW"

    def __init__(
        self,
        folder: RunFolder,
        head: CmtHead,
        arm: Arm,
        every_steps: int,
        warn_threshold: float | None,
        stages: tuple[Stage, ...] = (),
    ) -> None:
        self.folder = folder
        self.head = head
        self.arm = arm
        self.every_steps = every_steps
        self.warn_threshold = warn_threshold
        self.stages = stages
        self.gradients: dict[str, Tensor] = {}
        self.warned: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Keep every gradient of the arm as it arrives, before clipping."""
        del runner
        for name, parameter in self.arm.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient, name=name: self._keep(name, gradient))

    def _keep(self, name: str, gradient: Tensor) -> None:
        self.gradients[name] = gradient.detach()

    def before_train_epoch(self, runner: Runner) -> None:
        """Tell the arm its epoch; warnings may come again."""
        self.arm.set_epoch(runner.epoch)
        self.warned.clear()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any | None = None
    ) -> None:
        """On a step that is logged, record."""
        del batch_idx, data_batch
        self.gradients.clear()
        if (runner.iter + 1) % self.every_steps == 0 or runner.iter == 0:
            self._observe(ArmRecord())

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Write what was recorded, and warn."""
        del batch_idx, data_batch, outputs
        record = self.arm.record
        if record is None:
            return
        self._observe(None)
        scalars = record.scalars() | self._scale() | self._gradient_norms()
        stage = stage_entry(self.stages, runner.epoch)
        where = {"epoch": runner.epoch + 1, **stage, "step": runner.iter + 1}
        self.folder.append_history({"kind": "arm", **where, **scalars})
        for kind, message in warnings(scalars, self.warn_threshold):
            if kind not in self.warned:
                self.warned.add(kind)
                self.folder.append_history({"kind": "warning", **where, "message": message})
                print_log(f"step {where['step']}: {message}", "current")

    def _observe(self, record: ArmRecord | None) -> None:
        self.arm.record = record
        for attention in self.head.transformer.cross_attentions:
            attention.attn.observer = None if record is None else record.see_attention

    def _scale(self) -> dict[str, float]:
        if not isinstance(self.arm, AttentionBiasArm):
            return {}
        scale = self.arm.scale
        return scale_scalars(
            scale.labels,
            scale.values(),
            maximum=scale.bounds[1] if scale.learnable else 0.0,
            gradient=self.gradients.get("bias.scale.raw"),
        )

    def _gradient_norms(self) -> dict[str, float]:
        squares = {
            name: float(gradient.square().sum())
            for name, gradient in self.gradients.items()
            if name.startswith("router.")
        }
        return {"router_gradient": sum(squares.values()) ** 0.5} if squares else {}


def warnings(
    scalars: Mapping[str, float], warn_threshold: float | None
) -> Iterator[tuple[str, str]]:
    """What of a logged step deserves a warning.

    Args:
        scalars: Of a line of kind `arm`.
        warn_threshold: A scale above it deserves one.

    Yields:
        (kind, message); a kind is warned about once an epoch.
    """
    for name in [key for key in scalars if key.endswith("_of_max")]:
        label = name.removesuffix("_of_max")
        value, share = scalars[label], scalars[name]
        if share > NEAR_BOUND:
            yield name, f"{label} is {value:.3g}, {share:.0%} of its upper bound"
    for label in [key for key in scalars if is_scale(key)]:
        if warn_threshold is not None and scalars[label] > warn_threshold:
            yield label, f"{label} is {scalars[label]:.3g}, above {warn_threshold:g}"
        if scalars.get(f"{label}_gradient") == 0.0 and not _weights_are_zero(scalars):
            yield f"{label}_gradient", f"{label} gets no gradient: it has left its bounds"
    if scalars.get("bias_share_above_3", 0.0) > SATURATED_SHARE:
        share = scalars["bias_share_above_3"]
        yield "saturated", f"{share:.0%} of the biases are beyond +-3, where softmax is saturated"
    if scalars.get("router_gradient") == 0.0:
        yield "router_gradient", "the router gets no gradient"
    for modality in MODALITIES:
        share = scalars.get(f"prefers_{modality}", 0.0)
        if share > COLLAPSED_SHARE:
            yield f"prefers_{modality}", f"{share:.0%} of the queries prefer the {modality}"
        mean = scalars.get(f"weight_{modality}_mean", 0.0)
        if abs(mean) > STEADY_MEAN and scalars[f"weight_{modality}_std"] < STEADY_SPREAD:
            yield f"weight_{modality}", f"every query gets the same {modality} weight, {mean:.2f}"


def _weights_are_zero(scalars: Mapping[str, float]) -> bool:
    """As before the first step of a router that starts from zero: nothing acts yet."""
    names = [f"weight_{modality}_{what}" for modality in MODALITIES for what in ("mean", "std")]
    return all(scalars.get(name) == 0.0 for name in names)


def final_scale(model: nn.Module) -> float | list[float] | None:
    """The scale of the bias after training; several where it is not shared; None without a bias."""
    for module in model.modules():
        if isinstance(module, AttentionBiasArm):
            values = [float(value) for value in module.scale.values()]
            return values[0] if len(values) == 1 else values
    return None
