"""Attention from each query to the keys of its own windows, without a [queries x keys] mask.

Compiled kernels read the windows' keys where they are, where they can (`kernel_choice`). Otherwise
the keys are gathered, for some queries at a time (`gathered_rows`).

Letters: B samples, Q queries, K keys, S window slots, H heads, C width.
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aqr_exp.aqr import compiled_windows, gathered_rows, kernel_choice
from aqr_exp.aqr.windows import Windows


class GatheredAttention(nn.Module):
    """Multi-head attention of queries to the keys of their windows.

    Keys and values are projected once, not once for each window they are in. Keys have no bias: it
    would shift all scores of a query alike, which softmax does not see.

    Args:
        width: C.
        heads: H; divides C.

    Raises:
        ValueError: If the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"heads={heads}: must be at least 1 and divide width={width}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Float[Tensor, "batch queries width"],
        key: Float[Tensor, "batch keys width"],
        value: Float[Tensor, "batch keys width"],
        windows: Windows,
    ) -> Float[Tensor, "batch queries width"]:
        """Attend.

        Args:
            query: Content plus encoding.
            key: Token content plus encoding.
            value: Token content.
            windows: Which keys each query may attend to.

        Returns:
            The attended values; zero, without any gradient, for a query whose windows are empty.

        Raises:
            ValueError: If the windows are of other queries or keys, or (where that can be told
                without waiting for a device) name a key that there is not.
        """
        if windows.index.shape[:2] != query.shape[:2] or windows.keys != key.shape[1]:
            raise ValueError(
                f"windows of {tuple(windows.index.shape[:2])} queries and {windows.keys} keys do "
                f"not fit {tuple(query.shape[:2])} queries and {key.shape[1]} keys"
            )
        if windows.index.device.type == "cpu" and windows.index.numel():
            low, high = (int(end) for end in windows.index.aminmax())
            if low < 0 or high >= windows.keys:
                raise ValueError(
                    f"windows name keys {low} to {high}, but there are keys 0 to {windows.keys - 1}"
                )
        projected = self.query(query), self.key(key), self.value(value)
        way = compiled_windows if kernel_choice.serves(*projected) else gathered_rows
        attended: Tensor = _InWindows.apply(  # type: ignore[no-untyped-call]
            way, *projected, windows.index.long(), windows.valid, self.heads
        )
        some = windows.valid.any(dim=-1, keepdim=True)
        # Here and not in the shares: the output projection's bias must not reach these queries either.
        output: Tensor = self.out(attended)
        return output.masked_fill(~some, 0.0)


class _InWindows(torch.autograd.Function):
    """One way to attend as a differentiable step; the backward pass attends again."""

    @staticmethod
    def forward(
        ctx: Any,
        way: ModuleType,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        index: Tensor,
        valid: Tensor,
        heads: int,
    ) -> Tensor:
        ctx.way, ctx.heads = way, heads
        output: Tensor = way.attend(query, key, value, index, valid, heads)
        ctx.save_for_backward(query, key, value, index, valid, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.way.attend_gradients(grad_output, *ctx.saved_tensors, ctx.heads)
        return None, *gradients, None, None, None
