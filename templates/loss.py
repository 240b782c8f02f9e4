"""A loss that draws what each decoder layer puts out towards the last layer's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor

from aqr_exp.ideas import Idea, Range, Settings, Targets


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(Settings):
    """What is typed as variant.KEY=VALUE; every setting has a type, a default and maybe a range.

    Attributes:
        weight: Of the loss; 0 changes nothing.
    """

    weight: Annotated[float, Range(0.0, 100.0)] = 0.1


class MyIdeaModule(Idea):
    """A part of the detector's head, here without parameters of its own."""

    # With these settings it changes nothing: `aqr-exp check` compares it with the baseline.
    off: ClassVar = {"variant.weight": 0.0}

    def losses(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """Losses by name, added to the detector's; in training alone, where there are targets."""
        layers = outputs["decoded"]  # [L, B, Q, C], the last layer's are detected from
        apart = (layers[:-1] - layers[-1].detach()).square().mean()
        return {"loss_layers": self.settings.weight * apart}
