"""A temperature for each query, on all of its cross-attention scores."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from aqr_exp.ideas import Context, Idea, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class MyIdeaSettings(Settings):
    """What is typed as variant.KEY=VALUE; every setting has a type, a default and maybe a range.

    Attributes:
        largest: Factors lie between its inverse and it; 1 changes nothing.
    """

    largest: Annotated[float, Range(1.0, 16.0)] = 4.0


class MyIdeaModule(Idea):
    """A part of the detector's head: its parameters are trained and stored with all others."""

    # With these settings it changes nothing: `aqr-exp check` compares it with the baseline.
    off: ClassVar = {"variant.largest": 1.0}

    def __init__(self, settings: MyIdeaSettings, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.end = math.log(settings.largest)
        self.of_query = nn.Linear(run.model.head.width, 1)
        for parameter in self.of_query.parameters():
            nn.init.zeros_(parameter)  # training starts at the baseline

    def score_scale(self, context: Context) -> Tensor:
        """The factor of each query's scores, [B, Q]: above 1 it attends more sharply."""
        return (self.end * self.of_query(context.query_pos).squeeze(-1).tanh()).exp()
