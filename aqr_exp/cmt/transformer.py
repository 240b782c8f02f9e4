"""The decoder: object queries read BEV and camera tokens.

Letters: B samples, Q queries, K keys (BEV cells row-major, then camera tokens by view, row,
column), C width, L layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from aqr_exp.aqr import Keys, Queries
from aqr_exp.aqr.bias import GlobalBias, LocalBias
from aqr_exp.cmt.attention import MultiHeadAttention, ResidualAttention, ScoreBias, ScoreScale

BiasForLayer = Callable[[int, Tensor | None], LocalBias | GlobalBias | None]
"""From a layer's number, and the normed output of the layer before it (None for the first), to the bias
of its cross-attention; None is without."""


class FeedForward(nn.Module):
    """Linear, ReLU, Linear with a residual connection."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True)), nn.Linear(hidden, width)
        )
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, query: Float[Tensor, "*shape width"]) -> Float[Tensor, "*shape width"]:
        """Apply the block."""
        return query + self.layers(query)


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward block, each followed by a layer norm.

    Args:
        dropout: Of attention outputs.
        share_dropout: Of attention probabilities in the self-attention.
        projection_bias: Give the projections of the cross-attention biases; those of the
            self-attention always have them.
    """

    def __init__(
        self, width: int, heads: int, ffn_channels: int, dropout: float, *,
        share_dropout: float, projection_bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        among = ResidualAttention(width, heads, dropout, bias=True, share_dropout=share_dropout)
        across = ResidualAttention(width, heads, dropout, bias=projection_bias)
        self.attentions = nn.ModuleList([among, across])
        self.ffns = nn.ModuleList([FeedForward(width, ffn_channels)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(
        self,
        query: Queries,
        query_pos: Queries,
        tokens: tuple[Keys, Keys],
        self_blocked: Bool[Tensor, "queries queries"] | None,
        bias: ScoreBias | None,
        score_scale: ScoreScale | None,
    ) -> Queries:
        """Update the queries.

        Args:
            tokens: Content plus encoding, and content.
            self_blocked: True where a query must NOT attend to another query.
            bias, score_scale: Of the scores of the cross-attention, never of the self-attention.
        """
        query = self.norms[0](self.attentions[0](query, query_pos, blocked=self_blocked))
        across = self.attentions[1](query, query_pos, tokens, bias=bias, score_scale=score_scale)
        query = self.norms[1](across)
        return self.norms[2](self.ffns[0](query))


@MODELS.register_module()
class CmtTransformer(nn.Module):
    """The transformer of CMT: decoder layers over the tokens of both sensors; one norm for all outputs.

    Args:
        layer: Arguments of every `DecoderLayer`.
    """

    def __init__(self, *, layers: int, width: int, **layer: Any) -> None:
        super().__init__()
        stack = [DecoderLayer(width, **layer) for _ in range(layers)]
        # The names of the published weights.
        self.decoder: Any = nn.ModuleDict(
            {"layers": nn.ModuleList(stack), "post_norm": nn.LayerNorm(width)}
        )

    @property
    def cross_attentions(self) -> list[MultiHeadAttention]:
        """The cross-attention of every layer."""
        return [layer.attentions[1].attn for layer in self.decoder["layers"]]

    def attend_by(self, backend: str) -> None:
        """Give every cross-attention a `backend` (`aqr_exp.aqr.attention.api.attend`)."""
        for attention in self.cross_attentions:
            attention.backend = backend

    def forward(
        self,
        memory: Keys,
        key_pos: Keys,
        query_pos: Queries,
        self_blocked: Bool[Tensor, "queries queries"] | None = None,
        bias: BiasForLayer | None = None,
        score_scale: ScoreScale | None = None,
    ) -> Float[Tensor, "layers batch queries width"]:
        """Decode the queries, which start without content, to the normed output of every layer, finite.

        Args:
            key_pos: Token encoding, added to keys and not to values.
            self_blocked: True where a query must NOT attend to another query.
            bias: Called for the bias of each layer's cross-attention scores.
            score_scale: What the cross-attention scores of each query are multiplied by.
        """
        tokens = memory + key_pos, memory
        query = torch.zeros_like(query_pos)
        outputs: list[Tensor] = []
        for index, layer in enumerate(self.decoder["layers"]):
            term = None if bias is None else bias(index, outputs[-1] if outputs else None)
            query = layer(query, query_pos, tokens, self_blocked, term, score_scale)
            outputs.append(self.decoder["post_norm"](query))
        return torch.nan_to_num(torch.stack(outputs))
