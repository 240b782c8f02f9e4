"""The scale of the attention bias: fixed or learned, one or several, kept within bounds."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aqr_exp.aqr import check_name

CONSTRAINTS = ("clamp", "l2", "sigmoid")
SHARINGS = ("one", "modality", "layer", "light")

# The sigmoid reaches its bounds only at infinity. A scale put on a bound (or past one, when bounds
# narrow) is moved inside by this share of the range, where it can still learn: a hundredth leaves
# the sigmoid a slope of 0.01 of the range, a thousandth would leave next to none.
_SIGMOID_MARGIN = 0.01


class BiasScale(nn.Module):
    """The scale of the bias: units of attention score for a weight of 1.

    A learned scale is kept near where it started in one of three ways:

    - `clamp`: cut off at the bounds. At a bound the gradient still passes; outside it is exactly
      zero, so a scale that a step carried outside stays there until the bounds are widened.
    - `sigmoid`: minimum + (maximum - minimum) sigmoid(raw). The gradient never vanishes. It starts
      at `start`; a start on a bound, which the sigmoid cannot reach, is moved inside by a hundredth
      of the range.
    - `l2`: free, and `penalty` (to be added to the loss) pulls it back to `start`. The bounds do
      not act; they are what monitoring measures closeness against.

    A fixed scale is `start`, whatever the bounds.

    Args:
        start: Where it starts.
        learnable: Whether it is a parameter (named `raw`) or a buffer of that name.
        minimum: Lower bound.
        constraint: `clamp`, `l2` or `sigmoid`.
        sharing: `one` scale, one per `modality`, one per decoder `layer`, or two by `light`: one of
            darkness and one of full light, mixed by the light of each sample.
        anneal: (first epoch, minimum, maximum) of each stretch of epochs with bounds of its own, in
            order. Before the first of them `minimum` and `maximum` hold.

    Raises:
        ValueError: An unknown constraint or sharing, bounds that are not in order, a learnable
            start outside its bounds, or bounds to anneal where none act.
    """

    raw: Tensor
    limits: Tensor

    def __init__(
        self,
        *,
        start: float,
        learnable: bool,
        minimum: float,
        maximum: float,
        constraint: str,
        sharing: str,
        layers: int,
        anneal: Sequence[tuple[int, float, float]] = (),
        l2_weight: float = 0.01,
    ) -> None:
        super().__init__()
        check_name("constraint", constraint, CONSTRAINTS)
        check_name("sharing", sharing, SHARINGS)
        # (first epoch, bounds) of each stretch of epochs.
        self._stretches = [(0, minimum, maximum), *anneal]
        _check_stretches(self._stretches)
        if not math.isfinite(start):
            raise ValueError(f"start={start}: the scale must be a finite number")
        if anneal and not (learnable and constraint != "l2"):
            kind = "learned under l2" if learnable else "fixed"
            raise ValueError(f"anneal: no bounds act on a scale that is {kind}")
        self.start = start
        self.learnable = learnable
        self.constraint = constraint
        self.sharing = sharing
        self.layers = layers
        self.l2_weight = l2_weight
        # Double precision, and part of the state: `raw` means nothing without its bounds.
        limits = torch.tensor(self._bounds_at(0), dtype=torch.float64)
        self.register_buffer("limits", limits)
        if learnable and not self.bounds[0] <= start <= self.bounds[1]:
            low, high = self.bounds
            raise ValueError(f"start={start}: a learnable scale starts within [{low}, {high}]")
        raw = self._raw_for(torch.full((len(self.labels),), start, dtype=torch.float64)).float()
        if learnable:
            self.raw = nn.Parameter(raw)
        else:
            self.register_buffer("raw", raw)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each scale, in the order of `values`."""
        if self.sharing == "layer":
            return tuple(f"scale_layer{layer}" for layer in range(self.layers))
        if self.sharing == "light":
            return ("scale_dark", "scale_bright")
        return ("scale",) if self.sharing == "one" else ("scale_lidar", "scale_camera")

    @property
    def bounds(self) -> tuple[float, float]:
        """The bounds of the current epoch."""
        low, high = self.limits.tolist()
        return low, high

    def forward(
        self, layer: int, light: Float[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "2"] | Float[Tensor, "batch 1 2"]:
        """The scales of (lidar, camera) in one decoder layer.

        Args:
            light: Of each sample, from 0 (darkness) to 1; read by the sharing `light` alone.

        Returns:
            [2], or [B, 1, 2] by the light of each sample.

        Raises:
            ValueError: If there is one scale per layer and none for this one, or the light is missing.
        """
        scale = self._value(self.raw)
        if self.sharing == "light":
            if light is None:
                raise ValueError("sharing='light' needs the light of each sample")
            mixed: Tensor = torch.lerp(scale[:1], scale[1:], light.to(scale.dtype))
            return mixed[:, None, None].expand(-1, 1, 2)
        if self.sharing == "layer":
            if not 0 <= layer < self.layers:
                raise ValueError(f"layer {layer}: there are scales for {self.layers} layers")
            scale = scale[layer : layer + 1]
        return scale.expand(2)

    def penalty(self) -> Float[Tensor, ""]:
        """The term to add to the loss: l2_weight (s - start)^2 summed over the scales, 0 unless `l2`."""
        if not (self.learnable and self.constraint == "l2"):
            return self.raw.new_zeros(())
        return self.l2_weight * (self._value(self.raw) - self.start).square().sum()

    def values(self) -> Float[Tensor, " scales"]:
        """All scales (see `labels`), detached."""
        return self._value(self.raw.detach())

    @torch.no_grad()
    def set_epoch(self, epoch: int) -> None:
        """Take the bounds of an epoch; the scales stay where they are as far as these allow.

        Under `sigmoid` a scale on or past a new bound ends a hundredth of the range inside it; under
        `clamp` on it. Called again for the same epoch, also after a checkpoint was loaded, it
        changes nothing.
        """
        bounds = self._bounds_at(epoch)
        if bounds == self.bounds:
            return
        kept = self._value(self.raw.double())
        self.limits.copy_(torch.tensor(bounds, dtype=torch.float64))
        self.raw.copy_(self._raw_for(kept))

    def _bounds_at(self, epoch: int) -> tuple[float, float]:
        _, low, high = [stretch for stretch in self._stretches if stretch[0] <= epoch][-1]
        return float(low), float(high)

    def _value(self, raw: Tensor) -> Tensor:
        if not self.learnable or self.constraint == "l2":
            return raw * 1.0  # never the state itself: what is returned must not follow it
        low, high = self.limits.to(raw.dtype)
        if self.constraint == "clamp":
            return raw.clamp(low, high)
        value: Tensor = low + (high - low) * raw.sigmoid()
        return value

    def _raw_for(self, scale: Tensor) -> Tensor:
        if not self.learnable or self.constraint == "l2":
            return scale
        low, high = self.limits
        if self.constraint == "clamp":
            return scale.clamp(low, high)
        share = (scale - low) / (high - low)
        share = torch.where(share <= 0.0, _SIGMOID_MARGIN, share)
        share = torch.where(share >= 1.0, 1.0 - _SIGMOID_MARGIN, share)
        return share.logit()


def _check_stretches(stretches: Sequence[tuple[int, float, float]]) -> None:
    for _, low, high in stretches:
        # Written so that NaN is refused too.
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"bounds [{low}, {high}]: the minimum must be below the maximum")
    epochs = [first_epoch for first_epoch, _, _ in stretches[1:]]
    if any(epoch < 0 for epoch in epochs) or sorted(set(epochs)) != epochs:
        raise ValueError(f"anneal: first epochs {epochs} must be in order, from 0 up, each once")
