"""The weights as a bias of the cross-attention scores of the keys around each query.

Letters: B samples, Q queries (denoising ones first). The last axis of weights is (lidar, camera).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from aqr_exp.aqr.bias import AttentionBias
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.aqr.statistics import scale_scalars
from aqr_exp.aqr.windows import gather_windows
from aqr_exp.cmt.attention import ScoreBias
from aqr_exp.cmt.transformer import BiasForLayer
from aqr_exp.cmt.variant_module import ForwardContext, Recentre, Targets
from aqr_exp.variants.routed_module import RoutedModule


class AttentionBiasModule(RoutedModule):
    """The weights as an additive bias of the cross-attention scores.

    Args:
        scale: Arguments of `BiasScale`.
        bias: Arguments of `AttentionBias`, but the scale.
        window: Sizes and view policy of `gather_windows`.
        recenter: From the second layer on, windows sit at the boxes of the layer before.
        attention: The `backend` of the decoder's cross-attentions (`aqr_exp.aqr.attention.api.attend`).
        normalisation: `mean` and `std` of each channel that images are normalised by.
        routed: Arguments of `RoutedModule`.
    """

    # A weight of no score changes nothing, whatever the router says.
    off: ClassVar = {"variant.bias.scale.start": 0.0, "variant.bias.scale.learnable": False}

    channel_mean: Tensor
    channel_std: Tensor

    def __init__(
        self,
        *,
        scale: Mapping[str, Any],
        bias: Mapping[str, Any],
        window: Mapping[str, Any],
        recenter: bool,
        normalisation: Mapping[str, Sequence[float]],
        attention: str = "auto",
        **routed: Any,
    ) -> None:
        super().__init__(**routed)
        self.bias = AttentionBias(scale=BiasScale(**scale), **bias)
        self.window = dict(window)
        self.recenter = recenter
        self.attention = attention
        self.reads_colour = self.scale.sharing == "light"
        # Not in the state: they are in the configuration.
        for name in ("mean", "std"):
            values = torch.tensor(normalisation[name])
            self.register_buffer(f"channel_{name}", values, persistent=False)

    @property
    def scale(self) -> BiasScale:
        """The score that a weight of 1 adds."""
        return self.bias.scale

    def light(self, mean_colour: Float[Tensor, "batch 3"]) -> Float[Tensor, " batch"]:
        """How bright the images of each sample are, from 0, black, to 1: as those of the normalisation.

        Args:
            mean_colour: Mean of each channel over the normalised images.
        """
        share = (mean_colour * self.channel_std + self.channel_mean) / self.channel_mean
        return share.mean(dim=-1).clamp(0.0, 1.0)

    def bias_for_layer(self, context: ForwardContext, recentre: Recentre) -> BiasForLayer:
        """The bias of each layer, in windows at the reference points or at the previous boxes."""
        windows = gather_windows(context.places(), context.layout, **self.window)
        colour = context.mean_colour
        light = None if colour is None else self.light(colour.float())

        def bias(layer: int, previous: Tensor | None) -> ScoreBias:
            nonlocal windows
            if self.recenter and previous is not None:
                places = context.places(recentre(layer - 1, previous))
                windows = gather_windows(places, context.layout, **self.window)
            term = self.bias(context.weights, windows, context.layout.bev_keys, layer, light)
            if self.record is not None:
                self.record.biases.append(term)
                self.record.windows.append(windows)
            return term

        return bias

    def losses(self, outputs: Mapping[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """The sample-level loss, and the penalty on a scale constrained by `l2`."""
        losses = super().losses(outputs, targets)
        if self.scale.learnable and self.scale.constraint == "l2":
            losses["loss_scale"] = self.scale.penalty()
        return losses

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch's bounds of the scale."""
        self.scale.set_epoch(epoch)

    def watched_scalars(self, gradients: Mapping[str, Tensor]) -> dict[str, float]:
        """The scales with their gradients, and the router's scalars."""
        scale = scale_scalars(
            self.scale.labels,
            self.scale.values(),
            maximum=self.scale.bounds[1] if self.scale.learnable else 0.0,
            gradient=gradients.get("bias.scale.raw"),
        )
        return scale | super().watched_scalars(gradients)

    def final_metrics(self) -> dict[str, Any]:
        """The scale after training; a list of scales that are not shared."""
        values = [float(value) for value in self.scale.values()]
        return {"aqr/final_scale": values[0] if len(values) == 1 else values}
