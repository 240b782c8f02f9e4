"""A learned gain for each sensor's features."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from aqr_exp.ideas import BevMap, CameraMaps, Context, Idea, Range, RunConfig, Settings


@dataclass(frozen=True, kw_only=True)
class ModalityGain(Settings):
    """Settings.

    Attributes:
        start: Gain of both sensors before training.
        lr_mult: Multiplier on the gains' learning rate.
    """

    start: Annotated[float, Range(0.0, 4.0)] = 1.0
    lr_mult: Annotated[float, Range(0.0, 100.0)] = 10.0


class ModalityGainModule(Idea):
    off = {"variant.start": 1.0}

    def __init__(self, settings: ModalityGain, run: RunConfig) -> None:
        super().__init__(settings, run)
        self.gain = nn.Parameter(torch.full((2,), settings.start))

    def features(self, context: Context, bev: BevMap, camera: CameraMaps) -> tuple[Tensor, Tensor]:
        return bev * self.gain[0], camera * self.gain[1]

    def watched_scalars(self, gradients: dict[str, Tensor]) -> dict[str, float]:
        lidar, camera = self.gain.tolist()
        return {"gain_lidar": lidar, "gain_camera": camera}

    @staticmethod
    def learning_rates(settings: ModalityGain) -> dict[str, dict[str, float]]:
        return {"gain": {"lr_mult": settings.lr_mult, "decay_mult": 0.0}}

    @staticmethod
    def figure(runs: list[tuple[str, list[dict[str, Any]]]]) -> Any:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 3), layout="constrained")
        axes = figure.subplots()
        for name, lines in runs:
            watched = [line for line in lines if "gain_lidar" in line]
            steps = [line["step"] for line in watched]
            for sensor in ("lidar", "camera"):
                axes.plot(
                    steps, [line[f"gain_{sensor}"] for line in watched], label=f"{name} {sensor}"
                )
        axes.set(xlabel="step", ylabel="gain")
        axes.legend(fontsize=6)
        return figure
