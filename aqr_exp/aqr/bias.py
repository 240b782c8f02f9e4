"""The attention bias: what each query adds to its scores of the keys in its windows.

It is never a [queries x keys] matrix: a value for each window slot, or for each modality.

Letters: B samples, Q queries (denoising ones included), K keys, S window slots.
The last axis of a pair of weights or biases is (lidar, camera).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aqr_exp.aqr import Pairs, SlotIndex, SlotMask, SlotNumbers, check_name
from aqr_exp.aqr.scale import BiasScale
from aqr_exp.aqr.windows import WindowGrid, Windows

UNITS = ("score", "log_odds")


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalBias:
    """A bias for the keys in each query's windows; all other keys have none.

    Attributes:
        index, valid: Which key each slot is, 0 where the slot is invalid, and where it is one.
        value: What is added to the score, the same for all heads; 0 where the slot is invalid.
        grid: The windows by their places; None where the slots are of no square windows.
    """

    index: SlotIndex
    valid: SlotMask
    value: SlotNumbers
    grid: WindowGrid | None = None

    def dense(self, keys: int) -> Float[Tensor, "batch queries {keys}"]:
        """The same bias as a matrix, 0 outside the windows: for tests, and for few queries at a time."""
        matrix = self.value.new_zeros(*self.value.shape[:2], keys)
        # An invalid slot names key 0, which may be a valid slot of the same query: add, not set.
        return matrix.scatter_add(-1, self.index.long(), self.value * self.valid)

    def rows(self, part: slice) -> "LocalBias":
        """The bias of some of the queries, without the grid."""
        return LocalBias(
            index=self.index[:, part], valid=self.valid[:, part], value=self.value[:, part]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class GlobalBias:
    """One bias for all keys of a modality.

    Attributes:
        value: What is added to the scores of (lidar, camera) keys.
        lidar_keys: How many keys, from the first, are the LiDAR's.
    """

    value: Pairs
    lidar_keys: int

    def dense(self, keys: int) -> Float[Tensor, "batch queries {keys}"]:
        """The same bias as a matrix."""
        return _spread(self.value, self.lidar_keys, keys - self.lidar_keys)


class AttentionBias(nn.Module):
    """Turns a query's two weights into the bias of its cross-attention scores.

    bias = clamp(weight * falloff * scale * unit, -max_bias, max_bias); beyond the clamp it carries
    no gradient.

    Args:
        scale: What a weight of 1 is worth.
        local: Whether only the keys in a query's windows are biased, or all of the modality.
        gaussian: Whether the bias falls off, from 1 at the query's own cell, as
            exp(-distance^2 / (2 sigma^2)); distance and sigma in cells.
        max_bias: The most that is added to or taken from a score.
        unit: `score`: the scale is in units of attention score. `log_odds`: in units of
            log((N - n) / n) for a window of n valid keys among N, which with even scores lifts the
            window to half of the mass; at least 0, so that a window of more than half of the keys
            does not turn the sign of its weight around.
        sigma_cells: Width of the falloff; a quarter of the window's size where not given, so that a
            key at the window's edge keeps about 0.14 of the bias.

    Raises:
        ValueError: An unknown unit, a max_bias or sigma that is not positive, or an option that a
            bias of all keys would ignore.
    """

    def __init__(
        self,
        *,
        scale: BiasScale,
        local: bool,
        gaussian: bool,
        max_bias: float,
        unit: str,
        sigma_cells: float | None = None,
    ) -> None:
        super().__init__()
        check_name("unit", unit, UNITS)
        if not (math.isfinite(max_bias) and max_bias > 0.0):
            raise ValueError(f"max_bias={max_bias}: must be a positive number")
        if sigma_cells is not None and not (math.isfinite(sigma_cells) and sigma_cells > 0.0):
            raise ValueError(f"sigma_cells={sigma_cells}: must be a positive number of cells")
        if not local and (gaussian or unit == "log_odds"):
            what = "gaussian" if gaussian else "unit='log_odds'"
            raise ValueError(f"{what}: needs windows, and local=False has none")
        self.scale = scale
        self.local = local
        self.gaussian = gaussian
        self.max_bias = max_bias
        self.unit = unit
        self.sigma_cells = sigma_cells

    def forward(
        self,
        weights: Pairs,
        windows: Windows,
        lidar_keys: int,
        layer: int,
        light: Float[Tensor, " batch"] | None = None,
    ) -> LocalBias | GlobalBias:
        """The bias of one decoder layer.

        Args:
            lidar_keys: How many keys, from the first, are the LiDAR's.
            layer: Which decoder layer, from 0.
            light: Of each sample, from 0 to 1, where the scale depends on it.

        Returns:
            The bias, in single precision or better whatever the weights' type.
        """
        # The scale is in single precision, and so is the product: half precision steps by 0.03 at 5.
        pair = weights * self.scale(layer, light)
        if not self.local:
            held = pair.clamp(-self.max_bias, self.max_bias)
            return GlobalBias(value=held, lidar_keys=lidar_keys)
        if self.unit == "log_odds":
            pair = pair * _log_odds(windows).to(pair.dtype)
        value = _spread(pair, windows.lidar_slots, len(windows.offset) - windows.lidar_slots)
        if self.gaussian:
            parts = windows.offset.double().tensor_split([windows.lidar_slots])
            falloff = torch.cat([_gaussian(offset, self.sigma_cells) for offset in parts])
            value = value * falloff.to(value.dtype)
        value = value.clamp(-self.max_bias, self.max_bias)
        return LocalBias(
            index=windows.index,
            valid=windows.valid,
            value=value.masked_fill(~windows.valid, 0.0),
            grid=windows.grid,
        )


def _spread(pair: Pairs, lidar: int, camera: int) -> Float[Tensor, "batch queries n"]:
    """The first number `lidar` times, then the second `camera` times."""
    return torch.cat(
        (pair[..., :1].expand(-1, -1, lidar), pair[..., 1:].expand(-1, -1, camera)), dim=-1
    )


def _gaussian(
    offset: Float[Tensor, "slots 2"], sigma_cells: float | None
) -> Float[Tensor, " slots"]:
    if len(offset) == 0:
        return offset.new_zeros(0)
    size = offset[:, 0].max() - offset[:, 0].min() + 1.0
    sigma = size / 4.0 if sigma_cells is None else sigma_cells
    return (-offset.square().sum(dim=-1) / (2.0 * sigma**2)).exp()


def _log_odds(windows: Windows) -> Pairs:
    lidar = windows.valid[..., : windows.lidar_slots].sum(dim=-1)
    camera = windows.valid[..., windows.lidar_slots :].sum(dim=-1)
    # An empty window has no valid slot to carry the number: any finite one will do.
    inside = torch.stack((lidar, camera), dim=-1).clamp(min=1).double()
    return ((windows.keys - inside) / inside).log().clamp(min=0.0)
