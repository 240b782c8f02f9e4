"""The decoder: object queries read BEV and camera tokens.

Letters: B samples, Q queries, K keys (BEV cells row-major, then camera tokens by view, row,
column), C width, L layers.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from mmdet3d.registry import MODELS
from torch import Tensor, nn

from aqr_exp.cmt.attention import CrossAttention, ScoreBias, SelfAttention

BiasForLayer = Callable[[int, Tensor | None], ScoreBias]
"""From a layer's number, and the normed output of the layer before it (None for the first), to the bias
of its cross-attention."""


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
    """Self-attention, cross-attention and feed-forward block, each followed by a layer norm."""

    def __init__(self, width: int, heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            [SelfAttention(width, heads, dropout), CrossAttention(width, heads, dropout)]
        )
        self.ffns = nn.ModuleList([FeedForward(width, ffn_channels)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(
        self,
        query: Float[Tensor, "batch queries width"],
        query_pos: Float[Tensor, "batch queries width"],
        key: Float[Tensor, "batch keys width"],
        value: Float[Tensor, "batch keys width"],
        self_blocked: Bool[Tensor, "queries queries"] | None = None,
        bias: ScoreBias | None = None,
    ) -> Float[Tensor, "batch queries width"]:
        """Update the queries.

        Args:
            self_blocked: True where a query must NOT attend to another query.
            bias: Added to the scores of the cross-attention, never of the self-attention.
        """
        query = self.norms[0](self.attentions[0](query, query_pos, self_blocked))
        query = self.norms[1](self.attentions[1](query, query_pos, key, value, bias=bias))
        return self.norms[2](self.ffns[0](query))


class Decoder(nn.Module):
    """A stack of decoder layers whose outputs share one final norm."""

    def __init__(
        self, layers: int, width: int, heads: int, ffn_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [DecoderLayer(width, heads, ffn_channels, dropout) for _ in range(layers)]
        )
        self.post_norm = nn.LayerNorm(width)

    def forward(
        self,
        query: Float[Tensor, "batch queries width"],
        query_pos: Float[Tensor, "batch queries width"],
        key: Float[Tensor, "batch keys width"],
        value: Float[Tensor, "batch keys width"],
        self_blocked: Bool[Tensor, "queries queries"] | None = None,
        bias: BiasForLayer | None = None,
    ) -> Float[Tensor, "layers batch queries width"]:
        """The normed output of every layer; `bias` is called for each, the rest as in a layer."""
        outputs: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            term = None if bias is None else bias(index, outputs[-1] if outputs else None)
            query = layer(query, query_pos, key, value, self_blocked, term)
            outputs.append(self.post_norm(query))
        return torch.stack(outputs)


@MODELS.register_module()
class CmtTransformer(nn.Module):
    """The transformer of CMT: a decoder over the concatenated tokens of both sensors."""

    def __init__(
        self, *, layers: int, width: int, heads: int, ffn_channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.decoder = Decoder(layers, width, heads, ffn_channels, dropout)

    @property
    def cross_attentions(self) -> Sequence[CrossAttention]:
        """The cross-attention of every layer."""
        return [module for module in self.modules() if isinstance(module, CrossAttention)]

    def attend_by(self, backend: str) -> None:
        """Give every cross-attention a `backend` (`aqr_exp.aqr.attention.api.attend`)."""
        for layer in self.cross_attentions:
            layer.attn.backend = backend

    def forward(
        self,
        memory: Float[Tensor, "batch keys width"],
        key_pos: Float[Tensor, "batch keys width"],
        query_pos: Float[Tensor, "batch queries width"],
        self_blocked: Bool[Tensor, "queries queries"] | None = None,
        bias: BiasForLayer | None = None,
    ) -> Float[Tensor, "layers batch queries width"]:
        """Decode the queries, which start without content, to the normed output of every layer, finite.

        Args:
            key_pos: Token encoding, added to keys and not to values.
            self_blocked: True where a query must NOT attend to another query.
            bias: Called for the bias of each layer's cross-attention scores.
        """
        decoded = self.decoder(
            torch.zeros_like(query_pos), query_pos, memory + key_pos, memory, self_blocked, bias
        )
        return torch.nan_to_num(decoded)
