"""Multi-head attention, on torch's fused kernel; the cross-attention's scores may carry a bias.

Letters: B samples, Q queries, K keys, H heads, C width, c = C / H width of a head.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from aqr_exp.aqr import Keys, Queries
from aqr_exp.aqr.attention.api import attend
from aqr_exp.aqr.attention.statistics import AttentionStatistics, attend_watched
from aqr_exp.aqr.bias import GlobalBias, LocalBias

ScoreBias = LocalBias | GlobalBias
ScoreScale = Float[Tensor, "batch queries"]
Observer = Callable[[AttentionStatistics], None]
"""Takes the statistics of an attention with a bias."""


class MultiHeadAttention(nn.Module):
    """Projections packed as one [3C, C] matrix (query, key, value), attention, output projection.

    Args:
        bias: Of all projections, zero at first.
        dropout: Of attention probabilities in training; only where no scores have a bias.

    Attributes:
        observer: Called in every forward pass that has a bias; None, as built, calls nothing.
        backend: Of attention with a bias in windows (`aqr_exp.aqr.attention.api.attend`).
        core_dtype: Of projected queries, keys and values; None, as built, leaves them as they are.
    """

    def __init__(self, width: int, heads: int, *, bias: bool, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.width = width
        self.heads = heads
        self.dropout = dropout
        self.observer: Observer | None = None
        self.backend = "auto"
        self.core_dtype: torch.dtype | None = None
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width)) if bias else None
        self.out_proj = nn.Linear(width, width, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def project(self, tensor: Float[Tensor, "batch n width"], part: int) -> Tensor:
        """Project to part 0, queries, 1, keys, or 2, values, split by heads: [B, H, n, c]."""
        rows = slice(part * self.width, (part + 1) * self.width)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        projected = functional.linear(tensor, self.in_proj_weight[rows], bias)
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        query: Queries,
        key: Keys,
        value: Keys,
        blocked: Bool[Tensor, "queries keys"] | None = None,
        bias: ScoreBias | None = None,
        score_scale: ScoreScale | None = None,
    ) -> Queries:
        """Attend.

        Args:
            blocked: True where a query must NOT attend to a key.
            bias: Added to the scores before the softmax, the same for all heads.
            score_scale: What each query's scores are multiplied by, before the bias.
        """
        parts = self.project(query, 0), self.project(key, 1), self.project(value, 2)
        whole = parts[0].dtype
        if score_scale is not None:  # in the query, so that every kernel takes it
            parts = ((parts[0] * score_scale[:, None, :, None]).to(whole), *parts[1:])
        if self.core_dtype is not None:
            parts = tuple(part.to(self.core_dtype) for part in parts)  # type: ignore[assignment]
        if self.observer is None or bias is None:
            dropout = self.dropout if self.training else 0.0
            mixed = attend(*parts, bias, blocked, backend=self.backend, dropout=dropout)
        else:
            mixed, seen = attend_watched(*parts, bias, blocked, backend=self.backend)
            self.observer(seen)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2).to(whole))


class ResidualAttention(nn.Module):
    """Attention with a residual connection and output dropout.

    Args:
        dropout: Of the output.
        bias: Of the projections.
        share_dropout: Of attention probabilities.
    """

    def __init__(
        self, width: int, heads: int, dropout: float, *, bias: bool, share_dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.attn = MultiHeadAttention(width, heads, bias=bias, dropout=share_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Queries,
        query_pos: Queries,
        tokens: tuple[Keys, Keys] | None = None,
        blocked: Bool[Tensor, "queries keys"] | None = None,
        bias: ScoreBias | None = None,
        score_scale: ScoreScale | None = None,
    ) -> Queries:
        """Attend; as `MultiHeadAttention`, but queries and keys get their encoding here.

        Args:
            tokens: Content plus encoding of the tokens, and their content; None for the queries themselves.
        """
        placed = query + query_pos
        key, value = (placed, query) if tokens is None else tokens
        attended = self.attn(placed, key, value, blocked, bias=bias, score_scale=score_scale)
        return query + self.dropout(attended)
