"""The hooks through which a variant changes the detector, and the record of what it did.

Letters: B samples, H heads, Q queries (denoising ones first), K keys, c width of a head. The last axis of
query weights is (lidar, camera).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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


SampleStep = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]
"""From a training sample and random draws of its own to the sample: docs/hooks.md has its entries."""

RunHistory = tuple[str, Sequence[Mapping[str, Any]]]
"""A completed run's name and lines of its history, with `kind` (`train`, `val`, `arm`) and scalars."""

Recentre = Callable[[int, Tensor], Tensor]
"""From a layer's number and its normed output to the centres of its boxes, [B, Q, 3], metres."""


@dataclass(kw_only=True, eq=False)
class ForwardContext:
    """One forward pass of the head, as far as a variant may use it.

    Attributes:
        tokens: Gives the content of the tokens, made once.
        key_pos: Encoding of the tokens.
        query_pos: Encoding of the queries.
        points_m: Reference points, LiDAR frame, metres.
        lidar2img: After augmentation.
        first_query: Number of denoising queries before the learnable ones. They tell where objects
            are: nothing may pass from them to learnable queries or features.
        mean_colour: Mean of each channel (B, G, R) over the normalised images; None unless the
            module's `reads_colour`.
        weights: What `query_weights` gave.
    """

    tokens: Callable[[], Keys]
    key_pos: Keys
    query_pos: Queries
    points_m: Points
    lidar2img: Projections
    layout: TokenLayout
    first_query: int
    mean_colour: Float[Tensor, "batch 3"] | None = None
    weights: Pairs | None = None

    @property
    def memory(self) -> Keys:
        """Content of the tokens, in single precision."""
        return self.tokens().float()

    @cached_property
    def learnable(self) -> "ForwardContext":
        """The same pass without denoising queries: `first_query` is 0."""
        if not self.first_query:
            return self
        rest = slice(self.first_query, None)
        return replace(
            self,
            query_pos=self.query_pos[:, rest],
            points_m=self.points_m[:, rest],
            weights=None if self.weights is None else self.weights[:, rest],
            first_query=0,
        )

    def places(self, points_m: Points | None = None) -> QueryCells:
        """Cells and tokens at the reference points, or at other points."""
        if points_m is None:
            return self._reference_places
        return locate_queries(points_m, self.lidar2img, self.layout)

    @cached_property
    def _reference_places(self) -> QueryCells:
        return locate_queries(self.points_m, self.lidar2img, self.layout)


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Ground truth of a training step, for losses alone.

    Attributes:
        boxes: [G, 9] of each sample (gravity centre, l, w, h, yaw, vx, vy), LiDAR frame, metres; an
            unknown velocity is NaN.
        labels: [G] of each sample.
        usable: True where a sample has its (LiDAR, cameras); None where that is not known.
    """

    boxes: Sequence[Float[Tensor, "_ 9"]]
    labels: Sequence[Int[Tensor, " _"]]
    usable: Bool[Tensor, "batch 2"] | None


class VariantModule(nn.Module):
    """Base of the module that a variant adds to the head, which calls its methods in this order.

    A variant overrides what it changes; what it does not override is never called. Denoising queries
    are in the contexts of `query_weights` and `bias_for_layer` alone, which must treat every query by
    itself; other hooks see and change learnable queries. Shapes and costs are in docs/hooks.md.

    Args:
        settings: Of the variant.
        run: The whole configuration.

    Attributes:
        attention: The `backend` of the decoder's cross-attentions.
        reads_colour: The context's `mean_colour` is read.
        off: Settings by dotted key with which the variant changes nothing; None where there are none.
        forward_hooks: Names of the hooks that take the tokens of both sensors.
        record: Filled during a forward pass where it is not None.
    """

    attention = "auto"
    reads_colour = False
    off: ClassVar[Mapping[str, Any] | None] = None
    forward_hooks = (
        "reference_points", "query_weights", "features", "queries", "bias_for_layer",
        "score_scale", "decoded",
    )  # fmt: skip

    def __init__(self, settings: Any = None, run: Any = None) -> None:
        super().__init__()
        self.settings = settings
        self.run = run
        self.record: VariantRecord | None = None

    @staticmethod
    def learning_rates(settings: Any) -> Mapping[str, Mapping[str, float]]:
        """Options of the optimiser, such as `lr_mult`, by the name of a module or parameter in this one."""
        del settings
        return {}

    @staticmethod
    def train_transforms(settings: Any) -> Sequence[SampleStep]:
        """Steps of the training pipeline after augmentation, before images are normalised."""
        del settings
        return ()

    @staticmethod
    def warnings(settings: Any, scalars: Mapping[str, float]) -> Iterable[tuple[str, str]]:
        """(kind, message) of what goes wrong in a logged step; a kind is warned about once an epoch."""
        del settings, scalars
        return ()

    @staticmethod
    def figure(runs: Sequence[RunHistory]) -> Any:
        """The Matplotlib figure of completed runs, for `aqr-exp plot idea`."""
        del runs

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0."""

    def reference_points(self, points: Points, bev: BevMap, camera: CameraMaps) -> Points:
        """Move the learnable queries' reference points, in [0, 1] over the model's range."""
        del bev, camera
        return points

    def query_weights(self, context: ForwardContext) -> Pairs | None:
        """Two weights for every query, which later hooks find in `context.weights`."""
        del context
        return None

    def features(
        self, context: ForwardContext, bev: BevMap, camera: CameraMaps
    ) -> tuple[Tensor, Tensor]:
        """Change the feature maps."""
        del context
        return bev, camera

    def queries(self, context: ForwardContext) -> Queries:
        """Change the encodings of the queries."""
        return context.query_pos

    def bias_for_layer(self, context: ForwardContext, recentre: Recentre) -> BiasForLayer | None:
        """Bias the cross-attention scores of the decoder's layers; None leaves them as they are."""
        del context, recentre
        return None

    def score_scale(self, context: ForwardContext) -> Float[Tensor, "batch queries"]:
        """The factor of each query's cross-attention scores in all layers and heads."""
        return context.points_m.new_ones(context.points_m.shape[:2])

    def decoded(
        self, context: ForwardContext, outputs: Float[Tensor, "layers batch queries width"]
    ) -> Tensor:
        """Change the outputs of the decoder's layers before the task head reads them."""
        del context
        return outputs

    def losses(self, outputs: Mapping[str, Tensor], targets: Targets) -> Mapping[str, Tensor]:
        """Losses of the variant itself, added to the detector's; names begin with `loss_`.

        Args:
            outputs: Of the head's `forward`, with `decoded`, `bev_map` and `camera_map`.
        """
        del outputs, targets
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
