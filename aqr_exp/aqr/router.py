"""The adaptive query router: two modality weights for every query.

It derives from the router of MoME (Park et al., CVPR 2025, arXiv 2503.19776), and differs: MoME sorts
each query into one of three experts (both sensors, LiDAR, camera), takes the best, and learns that
from sample-level labels by cross-entropy. Here a query gets two continuous weights, which the
detection loss alone trains.

Letters: B samples, Q queries (denoising ones included), K keys, S window slots, C width.
The last axis of weights is (lidar, camera).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from aqr_exp.aqr import Keys, Pairs, Queries, check_name
from aqr_exp.aqr.attention.gathered import GatheredAttention
from aqr_exp.aqr.windows import Windows

ACTIVATIONS = {
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "logsigmoid": functional.logsigmoid,
}  # fmt: skip
KINDS = ("learned", "constant", "shuffled")
STARTS = ("zero", "xavier")
MODALITIES = ("both", "lidar", "camera")

# Keeps the logarithms of the sample-level loss finite.
_SHARE_EPS = 1e-6


class Router(nn.Module):
    """Reads the keys around each query and predicts the weight of each modality.

    One layer: attention to the windows' keys, norm, feed-forward block, norm; then a linear layer and
    the activation. The content of a query starts at zero, so the residual connection around the
    attention has nothing to add: what a weight depends on is what the query found in its windows.

    Where the last layer starts from weight zero, all weights of all queries start at
    activation(init_bias), and `tanh` with init_bias 0 starts exactly without any effect. The layers
    before it learn from the second step on.

    Args:
        heads: Heads of the attention; divides C.
        ffn_channels: Hidden width of the feed-forward block.
        activation: `tanh`: weights in [-1, 1], a negative one pushes attention away. `sigmoid`: in
            [0, 1]. `logsigmoid`: at most 0, the logarithm of what `sigmoid` gives.
        init_bias: Where both biases of the last layer start.
        init_weight: Where its weight starts: `zero`, or `xavier`, uniformly at random.
        dropout: Share of the attention's probabilities, and of what it found, that training drops.
        ffn_dropout: Share of the feed-forward block's hidden numbers and of its output.
        post_norm: Once more a norm, after the layer.
        kind: `learned`; or a control. `constant`: the same two weights for every query; the router
            has no parameters. `shuffled`: learned weights, dealt to other queries of the same
            sample: anew at each training step, from torch's global generator, and in evaluation
            always in the same way.
        constant: The weights of the kind `constant`.
        modalities: `both`, or the only one whose weight acts.
        neutral: The weight of a switched-off modality: what has no effect where the weights are used.

    Raises:
        ValueError: An unknown name, heads that do not divide the width, a number that is not finite,
            or a dropout that is not from 0 to below 1.
    """

    constant: Tensor
    neutral: Tensor
    switched_off: Tensor

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        ffn_channels: int,
        activation: str,
        init_bias: float,
        init_weight: str = "zero",
        dropout: float = 0.0,
        ffn_dropout: float = 0.0,
        post_norm: bool = False,
        kind: str = "learned",
        constant: Sequence[float] = (1.0, 1.0),
        modalities: str = "both",
        neutral: float = 0.0,
    ) -> None:
        super().__init__()
        check_name("activation", activation, ACTIVATIONS)
        check_name("kind", kind, KINDS)
        check_name("modalities", modalities, MODALITIES)
        check_name("init_weight", init_weight, STARTS)
        if len(constant) != 2 or not all(map(math.isfinite, constant)):
            raise ValueError(f"constant={tuple(constant)}: must be two finite weights")
        for name, number in (("init_bias", init_bias), ("neutral", neutral)):
            if not math.isfinite(number):
                raise ValueError(f"{name}={number}: must be a finite number")
        for name, number in (("dropout", dropout), ("ffn_dropout", ffn_dropout)):
            if not 0.0 <= number < 1.0:
                raise ValueError(f"{name}={number}: must be from 0 to below 1")
        self.activation = activation
        self.dropout, self.ffn_dropout = dropout, ffn_dropout
        self.kind = kind
        off = [modalities == "camera", modalities == "lidar"]
        # Not in the state: they are in the configuration.
        for name, value in (("constant", constant), ("neutral", neutral), ("switched_off", off)):
            self.register_buffer(name, torch.tensor(value), persistent=False)
        if kind == "constant":
            return
        self.cross_attn = GatheredAttention(width, heads, dropout)
        self.attn_norm = nn.LayerNorm(width)
        first, last = nn.Linear(width, ffn_channels), nn.Linear(ffn_channels, width)
        for linear in (first, last):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.ffn = nn.Sequential(first, nn.ReLU(), last)
        self.ffn_norm = nn.LayerNorm(width)
        self.post_norm = nn.LayerNorm(width) if post_norm else nn.Identity()
        self.output = nn.Linear(width, 2)
        if init_weight == "xavier":
            nn.init.xavier_uniform_(self.output.weight)
        else:
            nn.init.zeros_(self.output.weight)
        nn.init.constant_(self.output.bias, init_bias)

    def forward(
        self,
        query_pos: Queries,
        memory: Keys,
        key_pos: Keys,
        windows: Windows,
        first_query: int = 0,
    ) -> Pairs:
        """Weigh.

        Args:
            windows: Which keys each query reads.
            first_query: How many denoising queries come first: `shuffled` deals their weights among
                themselves, since they sit at noised ground truth, which the others must not know.

        Returns:
            The weights, in the parameters' precision under autocast too. A query without any valid
            key gets the weights of an empty content.

        Raises:
            ValueError: If the windows are of other queries or keys.
        """
        if self.kind == "constant":
            dtype = torch.promote_types(query_pos.dtype, torch.float32)
            weights = self.constant.to(dtype).expand(*query_pos.shape[:2], 2)
        else:
            # A weight may be multiplied by 10 and added to a score: no place for half precision.
            with torch.autocast(query_pos.device.type, enabled=False):
                weights = self._learned(query_pos, memory, key_pos, windows=windows)
        if self.kind == "shuffled":
            weights = weights.take_along_dim(self._deal(weights, first_query)[..., None], dim=1)
        return torch.where(self.switched_off, self.neutral.to(weights.dtype), weights)

    def _learned(self, *tokens: Tensor, windows: Windows) -> Tensor:
        dtype = self.output.weight.dtype
        found = self.cross_attn(*(part.to(dtype) for part in tokens), windows)
        content = self.attn_norm(functional.dropout(found, self.dropout, self.training))
        first, relu, last = self.ffn
        hidden = functional.dropout(relu(first(content)), self.ffn_dropout, self.training)
        added = functional.dropout(last(hidden), self.ffn_dropout, self.training)
        content = self.post_norm(self.ffn_norm(content + added))
        return activate(self.output(content), self.activation)

    def _deal(self, weights: Tensor, first_query: int) -> Tensor:
        """Whose weights each query gets, [B, Q] or [1, Q]."""
        samples, queries, _ = weights.shape
        among = self._order(samples, first_query)
        others = self._order(samples, queries - first_query) + first_query
        return torch.cat((among, others), dim=-1).to(weights.device)

    def _order(self, samples: int, queries: int) -> Tensor:
        """A random order, drawn on the CPU, so that it is the same on every device."""
        if self.training:
            return torch.rand(samples, queries).argsort(dim=-1)
        return torch.randperm(queries, generator=torch.Generator().manual_seed(0))[None]


def activate(logits: Float[Tensor, "*shape"], activation: str) -> Float[Tensor, "*shape"]:
    """Weights in [-1, 1], [0, 1] or (-inf, 0], by one of `ACTIVATIONS`; ValueError for another."""
    check_name("activation", activation, ACTIVATIONS)
    weights: Tensor = ACTIVATIONS[activation](logits)
    return weights


def sample_level_loss(
    weights: Pairs, usable: Bool[Tensor, "batch 2"], *, activation: str
) -> Float[Tensor, ""]:
    """Pull weights to the low end of their range where the sensor is absent, else to the high end.

    An ablation; by default nothing but the detection loss trains the weights. MoME's own loss is a
    cross-entropy between each query's three expert scores and a label of the sample (which sensors
    it has). Here the two modalities are two separate yes-or-no questions, and only the mean weight of
    a sample is held to the answer: single queries stay free to differ.

    The mean weight m is read as a share p: (1 + m) / 2 for `tanh`, m for `sigmoid`, exp(m) for
    `logsigmoid`. The loss is -log p where the sensor is usable and -log(1 - p) where it is not,
    averaged over samples and sensors. Both logarithms' arguments are at least 1e-6; from there on
    the gradient is zero, but for `logsigmoid`, whose -log p is simply -m.

    Args:
        usable: True where the sample has the sensor.
        activation: What the weights come from.

    Returns:
        The mean, at least 0.

    Raises:
        ValueError: If the activation is unknown.
    """
    check_name("activation", activation, ACTIVATIONS)
    mean = weights.to(torch.promote_types(weights.dtype, torch.float32)).mean(dim=1)
    if activation == "logsigmoid":
        log_share = mean.clamp(max=0.0)
        log_rest = (-log_share.expm1()).clamp(min=_SHARE_EPS).log()
    else:
        share = (1.0 + mean) / 2.0 if activation == "tanh" else mean
        log_share = share.clamp(_SHARE_EPS, 1.0).log()
        log_rest = (1.0 - share).clamp(_SHARE_EPS, 1.0).log()
    return -torch.where(usable.to(mean.device), log_share, log_rest).mean()
