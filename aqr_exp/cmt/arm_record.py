"""What an arm did in one forward pass, for the monitoring hook and the analysis commands.

Letters: B samples, H heads, Q queries (denoising ones first), K keys, c width of a head.
"""

from dataclasses import dataclass, field

from torch import Tensor

from aqr_exp.aqr.attention_statistics import AttentionStatistics
from aqr_exp.aqr.statistics import attention_scalars, bias_scalars, weight_scalars
from aqr_exp.aqr.windows import Windows
from aqr_exp.cmt.attention import ScoreBias


@dataclass(kw_only=True, eq=False)
class ArmRecord:
    """Everything detached; one entry a decoder layer in the lists.

    Attributes:
        weights: [B, Q, 2] of (lidar, camera).
        first_query: How many denoising queries come first.
        biases: Bias of each layer.
        windows: Windows of each layer.
        attention: What the bias did to the attention of each layer.
    """

    weights: Tensor | None = None
    first_query: int = 0
    biases: list[ScoreBias] = field(default_factory=list)
    windows: list[Windows] = field(default_factory=list)
    attention: list[AttentionStatistics] = field(default_factory=list)

    def see_weights(self, weights: Tensor, first_query: int) -> None:
        """Called by the arm with its weights."""
        self.weights = weights.detach()
        self.first_query = first_query

    def see_bias(self, bias: ScoreBias, windows: Windows) -> None:
        """Called by the arm with a layer's bias."""
        self.biases.append(bias)
        self.windows.append(windows)

    def see_attention(self, statistics: AttentionStatistics) -> None:
        """An observer of a cross-attention (`MultiHeadAttention.observer`)."""
        self.attention.append(statistics)

    def scalars(self) -> dict[str, float]:
        """The numbers worth watching; attention and bias are averaged over the layers."""
        if self.weights is None:
            return {}
        layers = [
            bias_scalars(bias, lidar_slots=windows.lidar_slots, first_query=self.first_query)
            for bias, windows in zip(self.biases, self.windows, strict=True)
        ]
        layers += [
            attention_scalars(statistics, first_query=self.first_query)
            for statistics in self.attention
        ]
        return weight_scalars(self.weights, first_query=self.first_query) | _mean_of(layers)


def _mean_of(layers: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every number over the layers that have it; extremes stay extremes."""
    values: dict[str, list[float]] = {}
    for layer in layers:
        for name, value in layer.items():
            values.setdefault(name, []).append(value)
    combine = {"_min": min, "_max": max}
    return {
        name: combine.get(name[-4:], lambda seen: sum(seen) / len(seen))(seen)
        for name, seen in values.items()
    }
