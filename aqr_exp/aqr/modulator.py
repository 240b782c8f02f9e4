"""Features times their weight map.

Letters: N feature maps, C channels, H and W rows and columns.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aqr_exp.aqr import check_name

MODES = ("elementwise", "channelwise", "adaptive")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None, "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
}  # fmt: skip


class FeatureModulator(nn.Module):
    """x * (r + (1 - r) * map), where r is the share of the feature that passes whatever the map says.

    In every mode, and whatever has been learned, r = 1 returns the features exactly.

    - `elementwise`: the formula, with the same map for all channels. Nothing is learned. r = 0 is
      exactly the product x * map.
    - `channelwise`: the map is replaced by a gain for each channel, a learned 1 x 1 convolution of
      the map (factor and offset a channel). It starts at factor 1 and offset 0, hence as
      `elementwise`. r = 0 is exactly x * gain.
    - `adaptive`: r is replaced by a learned gate for each cell, which mixes the features (gate 1)
      with the product (gate 0): x * (gate + (1 - gate) * map), where
      gate = sigmoid(logit(r) + a 1 x 1 convolution of features and map). The convolution starts
      from zero, so the gate starts at r everywhere, hence as `elementwise`. At r = 0 the gate is
      exactly 0 and the result exactly x * map, at r = 1 it is exactly 1; between them it can go
      anywhere.

    Before it multiplies, the map passes a learned factor and offset, where there are any, and then the
    activation. These see cells that no query reaches as 0: `sigmoid` makes 0.5 of them.

    Args:
        residual: r, from 0 to 1.
        learnable: A factor and an offset of the whole map are learned, from 1 and 0, in the modes
            `elementwise` and `adaptive`; `channelwise` has its own for each channel.
        activation: What the map passes last: `none`, `relu`, `sigmoid` or `tanh`.

    Raises:
        ValueError: If the mode or the activation is unknown, r is not from 0 to 1, or `channelwise`
            would learn the map twice.
    """

    def __init__(
        self,
        *,
        channels: int,
        mode: str,
        residual: float,
        learnable: bool = False,
        activation: str = "none",
    ) -> None:
        super().__init__()
        check_name("mode", mode, MODES)
        check_name("activation", activation, ACTIVATIONS)
        if learnable and mode == "channelwise":
            raise ValueError("learnable: mode='channelwise' learns the map's factors already")
        if not 0.0 <= residual <= 1.0:
            raise ValueError(f"residual={residual}: must be from 0 to 1")
        self.mode = mode
        self.residual = residual
        self.activation = ACTIVATIONS[activation]
        self.gain = None
        if learnable or mode == "channelwise":
            self.gain = _convolution(1, channels if mode == "channelwise" else 1, start=1.0)
        if mode == "adaptive":
            self.gate = _convolution(channels + 1, 1, start=0.0)

    def forward(
        self,
        feature: Float[Tensor, "maps channels rows columns"],
        weight_map: Float[Tensor, "maps 1 rows columns"],
    ) -> Float[Tensor, "maps channels rows columns"]:
        """Modulate; the result has the features' type.

        Raises:
            ValueError: If the maps' sizes differ.
        """
        wanted = (len(feature), 1, *feature.shape[2:])
        if weight_map.shape != wanted:
            raise ValueError(
                f"a weight map of shape {tuple(weight_map.shape)} does not fit features of shape "
                f"{tuple(feature.shape)}: it must be {wanted}"
            )
        with torch.autocast(feature.device.type, enabled=False):
            share: Tensor | float = self.residual
            if self.gain is not None:
                weight_map = self.gain(weight_map)
            if self.activation is not None:
                weight_map = self.activation(weight_map)
            if self.mode == "adaptive":
                both = torch.cat((feature.to(weight_map.dtype), weight_map), dim=1)
                share = (self.gate(both) + _logit(self.residual)).sigmoid()
            return feature * (share + (1.0 - share) * weight_map).to(feature.dtype)


def _convolution(inputs: int, outputs: int, start: float) -> nn.Conv2d:
    """1 x 1, every factor at `start`, every offset at zero."""
    convolution = nn.Conv2d(inputs, outputs, 1)
    for name, parameter in convolution.named_parameters():
        nn.init.constant_(parameter, start if name == "weight" else 0.0)
    return convolution


def _logit(share: float) -> float:
    """The logit of `share`; infinite at 0 and 1."""
    if share in {0.0, 1.0}:
        return math.copysign(math.inf, share - 0.5)
    return math.log(share / (1.0 - share))
