"""Query encodings that also tell how far away the query is."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from aqr_exp.ideas import Context, Idea, Queries, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(Settings):
    """What is typed as variant.KEY=VALUE; every setting has a type, a default and maybe a range.

    Attributes:
        strength: Factor of what is added; 0 changes nothing.
        reach_m: Distance that counts as 1.
    """

    strength: Annotated[float, Range(0.0, 10.0)] = 1.0
    reach_m: Annotated[float, Range(1.0, 200.0)] = 50.0


class MyIdeaModule(Idea):
    """A part of the detector's head: its parameters are trained and stored with all others."""

    # With these settings it changes nothing: `aqr-exp check` compares it with the baseline.
    off: ClassVar = {"variant.strength": 0.0}

    def __init__(self, settings: MyIdeaSettings, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.strength, self.reach_m = settings.strength, settings.reach_m
        self.of_distance = nn.Linear(1, run.model.head.width)
        for parameter in self.of_distance.parameters():
            nn.init.zeros_(parameter)  # training starts at the baseline

    def queries(self, context: Context) -> Queries:
        """Change the encodings [B, Q, C] of the queries at context.points_m [B, Q, 3], metres."""
        distance = context.points_m[..., :2].norm(dim=-1, keepdim=True) / self.reach_m
        return context.query_pos + self.strength * self.of_distance(distance)
