"""A consistency loss: the centres of early decoder layers follow those of the last one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor
from torch.nn import functional

from aqr_exp.ideas import Idea, Range, Settings, Targets


@dataclass(frozen=True, kw_only=True)
class LayerConsistency(Settings):
    """Settings.

    Attributes:
        weight: Weight of the loss.
        sure: Only queries whose highest score in the last layer exceeds this are held together.
    """

    weight: Annotated[float, Range(0.0, 100.0)] = 0.1
    sure: Annotated[float, Range(0.0, 1.0)] = 0.1


class LayerConsistencyModule(Idea):
    off = {"variant.weight": 0.0}

    def losses(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        centres = outputs["center"]  # layers, samples, queries, (x, y) in metres
        last = centres[-1:].detach().expand_as(centres[:-1])
        apart = functional.smooth_l1_loss(centres[:-1], last, reduction="none").sum(dim=-1)
        sure = outputs["cls_logits"][-1].detach().sigmoid().amax(dim=-1) > self.settings.sure
        mean = (apart * sure).sum() / (sure.sum() * len(apart)).clamp(min=1)
        return {"loss_layers_apart": self.settings.weight * mean}
