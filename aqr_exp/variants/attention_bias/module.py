"""The arm whose weights bias the cross-attention scores of the keys around each query.

Letters: B samples, Q queries (denoising ones first). The last axis of weights is (lidar, camera).
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Bool, Float
from mmdet3d.registry import MODELS
from torch import Tensor

from aqr_exp.aqr.bias import AttentionBias
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.cmt.attention import ScoreBias
from aqr_exp.cmt.transformer import BiasSource
from aqr_exp.cmt.variant_module import Arm, Recentre, TokenScene, WindowSettings


@MODELS.register_module()
class AttentionBiasArm(Arm):
    """The weights as an additive bias of the cross-attention scores.

    Args:
        scale: Arguments of `BiasScale`.
        bias: Arguments of `AttentionBias`, but the scale.
        window: Arguments of `WindowSettings`.
        recenter: From the second layer on, windows sit at the boxes of the layer before.
        attention: The `backend` of the decoder's cross-attentions (`aqr_exp.aqr.attention.api.attend`).
        arm: Arguments of `Arm`.
    """

    def __init__(
        self,
        *,
        scale: Mapping[str, Any],
        bias: Mapping[str, Any],
        window: Mapping[str, Any],
        recenter: bool,
        attention: str = "auto",
        **arm: Any,
    ) -> None:
        super().__init__(**arm)
        self.bias = AttentionBias(scale=BiasScale(**scale), **bias)
        self.window = WindowSettings(**window)
        self.recenter = recenter
        self.attention = attention

    @property
    def scale(self) -> BiasScale:
        """What a weight of 1 is worth."""
        return self.bias.scale

    def bias_source(
        self, scene: TokenScene, weights: Float[Tensor, "batch queries 2"], recentre: Recentre
    ) -> BiasSource:
        """The bias of each layer, in windows at the reference points or at the previous boxes."""
        windows = self.window.around(scene.places(), scene.layout)

        def source(layer: int, previous: Tensor | None) -> ScoreBias:
            nonlocal windows
            if self.recenter and previous is not None:
                places = scene.places(recentre(layer - 1, previous))
                windows = self.window.around(places, scene.layout)
            term = self.bias(weights, windows, scene.layout.bev_keys, layer)
            if self.record is not None:
                self.record.see_bias(term, windows)
            return term

        return source

    def losses(
        self,
        weights: Float[Tensor, "batch queries 2"],
        usable: Bool[Tensor, "batch 2"] | None,
    ) -> dict[str, Tensor]:
        """The sample-level loss, and the penalty on a scale constrained by `l2`."""
        losses = super().losses(weights, usable)
        if self.scale.learnable and self.scale.constraint == "l2":
            losses["loss_scale"] = self.scale.penalty()
        return losses

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's bounds of the scale."""
        self.scale.set_epoch(epoch)
