"""The hooks through which a variant changes the detector, and the record of what it did.

Letters: B samples, H heads, Q queries (denoising ones first), K keys, c width of a head. The last axis of
query weights is (lidar, camera).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from aqr_exp.aqr import BevMap, CameraMaps, Keys, Pairs, Points, Projections, Queries
from aqr_exp.aqr.attention.statistics import AttentionStatistics
from aqr_exp.aqr.layout import QueryCells, TokenLayout, locate_queries
from aqr_exp.aqr.statistics import attention_scalars, bias_scalars, weight_scalars
from aqr_exp.aqr.windows import Windows
from aqr_exp.cmt.attention import ScoreBias
from aqr_exp.cmt.transformer import BiasForLayer


@dataclass(kw_only=True, eq=False)
class VariantRecord:
    """Record of a variant in the forward passes of one step, detached.

    The lists have one entry a decoder layer and pass.

    Attributes:
        first_query: Number of denoising queries, which come first.
        attention: Attention of each layer with and without its bias.
    """

    weights: Pairs | None = None
    first_query: int = 0
    biases: list[ScoreBias] = field(default_factory=list)
    windows: list[Windows] = field(default_factory=list)
    attention: list[AttentionStatistics] = field(default_factory=list)

    def add_weights(self, weights: Pairs, first_query: int) -> None:
        """Add the query weights of a pass; the passes of a step have the same number of queries."""
        before = () if self.weights is None else (self.weights,)
        self.weights, self.first_query = torch.cat((*before, weights.detach())), first_query

    def scalars(self) -> dict[str, float]:
        """Watched scalars by name; attention and bias are averaged over the layers."""
        if self.weights is None:
            return {}
        first = self.first_query
        layers = [
            bias_scalars(bias, lidar_slots=windows.lidar_slots, first_query=first)
            for bias, windows in zip(self.biases, self.windows, strict=True)
        ]
        layers += [attention_scalars(seen, first_query=first) for seen in self.attention]
        return weight_scalars(self.weights, first_query=first) | _mean_of(layers)


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
class ForwardContext:
    """One forward pass of the head, as far as a variant may use it.

    Attributes:
        memory, key_pos: Content and encoding of the tokens.
        query_pos: Encoding of the queries.
        points_m: Reference points, LiDAR frame, metres.
        lidar2img: After augmentation.
        first_query: Number of denoising queries before the learnable ones.
        mean_colour: Mean of each channel (B, G, R) over the normalised images; None unless the
            module's `reads_colour`.
    """

    memory: Keys
    key_pos: Keys
    query_pos: Queries
    points_m: Points
    lidar2img: Projections
    layout: TokenLayout
    first_query: int
    mean_colour: Float[Tensor, "batch 3"] | None = None

    def places(self, points_m: Points | None = None) -> QueryCells:
        """Cells and tokens at the reference points, or at other points."""
        if points_m is None:
            return self._reference_places
        return locate_queries(points_m, self.lidar2img, self.layout)

    @cached_property
    def _reference_places(self) -> QueryCells:
        return locate_queries(self.points_m, self.lidar2img, self.layout)


class VariantModule(nn.Module):
    """Base of the module that a variant adds to the head, which calls its methods in this order.

    A variant overrides what it changes.

    Attributes:
        attention: The `backend` of the decoder's cross-attentions.
        reads_colour: The context's `mean_colour` is read.
        record: Filled during a forward pass where it is not None.
    """

    attention = "auto"
    reads_colour = False

    def __init__(self) -> None:
        super().__init__()
        self.record: VariantRecord | None = None

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0."""

    def query_weights(self, context: ForwardContext) -> Pairs:
        """Two weights for every query."""
        raise NotImplementedError

    def modulate(
        self, context: ForwardContext, weights: Pairs, bev: BevMap, camera: CameraMaps
    ) -> tuple[Tensor, Tensor]:
        """Change the feature maps."""
        del context, weights
        return bev, camera

    def bias_for_layer(
        self, context: ForwardContext, weights: Pairs, recentre: Recentre
    ) -> BiasForLayer | None:
        """Bias the cross-attention scores of the decoder's layers; None leaves them as they are."""
        del context, weights, recentre
        return None

    def losses(self, weights: Pairs, usable: Bool[Tensor, "batch 2"] | None) -> dict[str, Tensor]:
        """Losses of the variant itself, by name.

        Args:
            usable: True where a sample has its (LiDAR, cameras); None where that is not known.
        """
        del weights, usable
        return {}

    def watched_scalars(self, gradients: Mapping[str, Tensor]) -> dict[str, float]:
        """Scalars of the module in a logged step, beside those of the step's record.

        Args:
            gradients: Before clipping, by the name of the parameter in this module.
        """
        del gradients
        return {}

    def final_metrics(self) -> dict[str, Any]:
        """Metrics of record of the trained module itself."""
        return {}


def usable_sensors(metas: Sequence[Mapping[str, Any]]) -> Bool[Tensor, "batch 2"] | None:
    """True where a sample has its (LiDAR, cameras), [B, 2]; None where the metas lack it."""
    if any("modal_dropout" not in meta for meta in metas):
        return None
    dropped = [meta["modal_dropout"] for meta in metas]
    return torch.tensor([[name != "lidar", name != "camera"] for name in dropped])
