"""What an arm did in one forward pass, for the monitoring hook and the analysis commands.

Letters: B samples, H heads, Q queries (denoising ones first), K keys, c width of a head.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aqr_exp.aqr.attention.statistics import AttentionStatistics
from aqr_exp.aqr.layout import QueryPlaces, TokenLayout, locate_queries
from aqr_exp.aqr.router import Router, sample_level_loss
from aqr_exp.aqr.statistics import attention_scalars, bias_scalars, weight_scalars
from aqr_exp.aqr.windows import Windows, gather_windows
from aqr_exp.cmt.attention import ScoreBias
from aqr_exp.cmt.transformer import BiasSource


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


Recentre = Callable[[int, Tensor], Tensor]
"""From a layer's number and its normed output to the centres of its boxes, [B, Q, 3], metres."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenScene:
    """What one forward pass of the head offers.

    Attributes:
        memory: [B, K, C] token content.
        key_pos: [B, K, C] token encoding.
        query_pos: [B, Q, C] query encoding.
        points_m: [B, Q, 3] reference points, LiDAR frame, metres.
        lidar2img: [B, V, 4, 4] after augmentation.
        layout: Which token is where.
        first_query: How many denoising queries there are before the learnable ones.
    """

    memory: Float[Tensor, "batch keys width"]
    key_pos: Float[Tensor, "batch keys width"]
    query_pos: Float[Tensor, "batch queries width"]
    points_m: Float[Tensor, "batch queries 3"]
    lidar2img: Float[Tensor, "batch views 4 4"]
    layout: TokenLayout
    first_query: int

    def places(self, points_m: Float[Tensor, "batch queries 3"] | None = None) -> QueryPlaces:
        """Where the reference points, or other points, lie on the feature maps."""
        if points_m is None:
            return self._reference_places
        return locate_queries(points_m, self.lidar2img, self.layout)

    @cached_property
    def _reference_places(self) -> QueryPlaces:
        """Asked for by the router and again by what uses its weights."""
        return locate_queries(self.points_m, self.lidar2img, self.layout)


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """Window sides in cells and tokens, and which views get one (`gather_windows`)."""

    bev: int
    camera: int
    view_policy: str

    def around(self, places: QueryPlaces, layout: TokenLayout) -> Windows:
        """The windows of every query."""
        return gather_windows(
            places,
            layout,
            bev_size=self.bev,
            camera_size=self.camera,
            view_policy=self.view_policy,
        )


class Arm(nn.Module):
    """A router, and hooks at the two places where an arm may act: the features and the scores.

    Args:
        router: Arguments of `Router`.
        router_window: Arguments of `WindowSettings`.
        bev_pitch_m: (x, y) true size of a BEV cell in metres.
        auxiliary_loss: Weight of the sample-level loss on the weights; 0 is without.

    Attributes:
        attention: The `backend` of the decoder's cross-attentions.
        record: Filled during a forward pass where it is not None.
    """

    attention = "auto"

    def __init__(
        self,
        *,
        router: Mapping[str, Any],
        router_window: Mapping[str, Any],
        bev_pitch_m: tuple[float, float],
        auxiliary_loss: float,
    ) -> None:
        super().__init__()
        self.router = Router(**router)
        self.router_window = WindowSettings(**router_window)
        self.bev_pitch_m = bev_pitch_m
        self.auxiliary_loss = auxiliary_loss
        self.record: ArmRecord | None = None

    def weigh(self, scene: TokenScene) -> Float[Tensor, "batch queries 2"]:
        """Two weights for every query, from the tokens around it."""
        windows = self.router_window.around(scene.places(), scene.layout)
        weights: Tensor = self.router(
            scene.query_pos, scene.memory, scene.key_pos, windows, scene.first_query
        )
        if self.record is not None:
            self.record.see_weights(weights, scene.first_query)
        return weights

    def modulate(
        self,
        scene: TokenScene,
        weights: Float[Tensor, "batch queries 2"],
        bev: Float[Tensor, "batch width rows columns"],
        camera: Float[Tensor, "images width img_rows img_columns"],
    ) -> tuple[Tensor, Tensor]:
        """The feature maps after the arm; unchanged by an arm that does not touch them."""
        del scene, weights
        return bev, camera

    def bias_source(
        self, scene: TokenScene, weights: Float[Tensor, "batch queries 2"], recentre: Recentre
    ) -> BiasSource | None:
        """Biases for the decoder's layers; None from an arm that has none."""
        del scene, weights, recentre
        return None

    def losses(
        self,
        weights: Float[Tensor, "batch queries 2"],
        usable: Bool[Tensor, "batch 2"] | None,
    ) -> dict[str, Tensor]:
        """Losses of the arm itself.

        Args:
            weights: Of the learnable queries.
            usable: Whether each sample has its (LiDAR, cameras); None where that is not known.

        Raises:
            ValueError: The sample-level loss is wanted and `usable` is not known.
        """
        if self.auxiliary_loss == 0.0:
            return {}
        if usable is None:
            raise ValueError("the sample-level loss needs `modal_dropout` in the metas")
        return {
            "loss_sample_level": self.auxiliary_loss
            * sample_level_loss(weights, usable, activation=self.router.activation)
        }

    def set_epoch(self, epoch: int) -> None:
        """Tell the arm which epoch begins, from 0."""


def usable_sensors(metas: Sequence[Mapping[str, Any]]) -> Bool[Tensor, "batch 2"] | None:
    """Whether each sample has its (LiDAR, cameras), [B, 2]; None where the metas do not say."""
    if any("modal_dropout" not in meta for meta in metas):
        return None
    dropped = [meta["modal_dropout"] for meta in metas]
    return torch.tensor([[name != "lidar", name != "camera"] for name in dropped])
