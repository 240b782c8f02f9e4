"""A learned gain for the features of each sensor."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from aqr_exp.ideas import BevMap, CameraMaps, Context, Idea, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(Settings):
    """What is typed as variant.KEY=VALUE; every setting has a type, a default and maybe a range.

    Attributes:
        start: Gain of both sensors before training.
    """

    start: Annotated[float, Range(0.0, 4.0)] = 1.0


class MyIdeaModule(Idea):
    """A part of the detector's head: its parameters are trained and stored with all others."""

    # With these settings it changes nothing: `aqr-exp check` compares it with the baseline.
    off: ClassVar = {"variant.start": 1.0}

    def __init__(self, settings: MyIdeaSettings, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.gain = nn.Parameter(torch.full((2,), settings.start))

    def features(self, context: Context, bev: BevMap, camera: CameraMaps) -> tuple[Tensor, Tensor]:
        """Change the BEV map [B, C, H, W] and the maps of the cameras [B V, C, h, w]."""
        return bev * self.gain[0], camera * self.gain[1]
