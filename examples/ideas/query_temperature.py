"""A temperature for each query: how sharply it attends, to all tokens alike."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from aqr_exp.ideas import Context, Idea, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class QueryTemperature(Settings):
    """Settings.

    Attributes:
        most: Largest change of a query's scores: they are multiplied by 1/most up to most.
    """

    most: Annotated[float, Range(1.0, 16.0)] = 2.0


class QueryTemperatureModule(Idea):
    off = {"variant.most": 1.0}

    def __init__(self, settings: QueryTemperature, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.sharpness = nn.Linear(run.model.head.width, 1)
        # From zero, so that training begins at the baseline.
        nn.init.zeros_(self.sharpness.weight)
        nn.init.zeros_(self.sharpness.bias)
        self.mean = 1.0

    def score_scale(self, context: Context) -> Tensor:
        power = self.sharpness(context.query_pos.float()).squeeze(-1).tanh()
        factor = self.settings.most**power
        self.mean = float(factor.detach().mean())
        return factor

    def watched_scalars(self, gradients: dict[str, Tensor]) -> dict[str, float]:
        return {"sharpness_mean": self.mean}

    @staticmethod
    def warnings(settings: QueryTemperature, scalars: dict[str, float]) -> list[tuple[str, str]]:
        if scalars["sharpness_mean"] < 0.95 * settings.most:
            return []
        return [("sharp", f"queries are {scalars['sharpness_mean']:.2f} times as sharp on average")]
