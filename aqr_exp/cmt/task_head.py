"""From decoded queries to box parameters and class scores, by grouped 1-D convolutions.

One group per decoder layer, so that a single convolution serves all layers at once.

Letters: L layers (groups), B samples, Q queries, C width, d outputs of a branch.
"""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from aqr_exp.aqr import check_name

STARTS = ("torch", "kaiming")
PRIOR_LOGIT = -2.19
"""Start of the class logits under `kaiming`: a score of 0.1."""
_NEAR_ZERO_STD = 0.01


class GroupLayerNorm1d(nn.Module):
    """Layer norm over each group of channels, with one weight and bias per channel.

    The published task head normalises with eps 1e-6.
    """

    def __init__(self, channels: int, groups: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.groups = groups
        self.eps = eps

    def forward(
        self, tensor: Float[Tensor, "batch channels n"]
    ) -> Float[Tensor, "batch channels n"]:
        """Normalise every column of every group to mean 0 and (biased) variance 1."""
        grouped = tensor.unflatten(1, (self.groups, -1))
        centred = grouped - grouped.mean(dim=2, keepdim=True)
        variance = centred.square().mean(dim=2, keepdim=True)
        normed = (centred * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        return normed * self.weight[:, None] + self.bias[:, None]


@MODELS.register_module()
class SeparateTaskHead(nn.Module):
    """Two grouped convolutions over the queries per branch.

    Args:
        branches: Outputs of each branch, by name.
        kernel: Queries each convolution sees, odd; 1 sees each alone.
        start: `torch`, as published: torch's default for both convolutions, so that boxes start a few
            metres from their reference points and scores near 0.5; `kaiming`: He's for both, with
            boxes five times as far and `cls_logits` at a score of 0.1.
        start_at_reference: Begin with outputs near zero instead, so that boxes start at their
            reference points.
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        branches: Mapping[str, int],
        hidden: int,
        kernel: int = 1,
        start: str = "torch",
        start_at_reference: bool = False,
    ) -> None:
        super().__init__()
        check_name("start", start, STARTS)
        kaiming = start == "kaiming"
        self.layers = layers
        self.branches = dict(branches)
        convolution = partial(nn.Conv1d, kernel_size=kernel, padding=kernel // 2, groups=layers)
        for name, outputs in self.branches.items():
            first = convolution(width * layers, hidden * layers, bias=False)
            last = convolution(hidden * layers, outputs * layers)
            if kaiming:
                nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
            if start_at_reference:
                nn.init.normal_(last.weight, std=_NEAR_ZERO_STD)
            elif kaiming:
                nn.init.kaiming_normal_(last.weight, mode="fan_out", nonlinearity="relu")
            if kaiming or start_at_reference:
                prior = PRIOR_LOGIT if kaiming and name == "cls_logits" else 0.0
                last.bias = nn.Parameter(torch.full((outputs * layers,), prior))
            norm = GroupLayerNorm1d(hidden * layers, layers)
            self.add_module(name, nn.Sequential(first, norm, nn.ReLU(inplace=True), last))

    def forward(
        self, decoded: Float[Tensor, "layers batch queries width"]
    ) -> dict[str, Float[Tensor, "layers batch queries _"]]:
        """Predict [L, B, Q, d] for every branch, raw (before any sigmoid)."""
        stacked = decoded.permute(1, 0, 3, 2).flatten(1, 2)  # B, L * C, Q
        return {
            name: self.get_submodule(name)(stacked)
            .unflatten(1, (self.layers, -1))
            .permute(1, 0, 3, 2)
            for name in self.branches
        }
