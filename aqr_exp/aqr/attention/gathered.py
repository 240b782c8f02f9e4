"""Attention from each query to the keys of its own windows, without a [queries x keys] mask.

Compiled kernels read the windows' keys where they are, where they can (`kernel_choice`): the tokens
themselves (`absorbed_windows`) where windows are small beside the map, projected keys and values
(`compiled`) where they are not. Otherwise projected keys are gathered, for some queries at a
time (`gathered_rows`).

Letters: B samples, Q queries, K keys, S window slots, H heads, C width, c = C / H width of a head;
N = B Q queries of all samples.
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from aqr_exp.aqr.attention import absorbed, compiled, gathered_rows, kernel_choice
from aqr_exp.aqr.windows import Windows


class GatheredAttention(nn.Module):
    """Multi-head attention of queries to the keys of their windows.

    What is projected, queries or keys, depends on shapes alone, and changes rounding alone. Keys have no
    bias: it would shift all scores of a query alike, which softmax does not see.

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
        memory: Float[Tensor, "batch keys width"],
        key_pos: Float[Tensor, "batch keys width"],
        windows: Windows,
    ) -> Float[Tensor, "batch queries width"]:
        """Attend.

        Args:
            query: Content plus encoding.
            memory: Token content, what values are made of.
            key_pos: Token encoding; keys are made of both.
            windows: Which keys each query may attend to.

        Returns:
            The attended values; zero, without any gradient, for a query whose windows are empty.

        Raises:
            ValueError: If the arguments do not fit each other, or (where that can be told without
                waiting for a device) the windows name a key that there is not.
        """
        _check(query, memory, key_pos, windows)
        absorbs = self.absorbs(query, memory, key_pos, windows)
        attend = self._absorbed if absorbs else self._projected
        attended = attend(self.query(query), memory, key_pos, windows)
        some = windows.valid.any(dim=-1, keepdim=True)
        # Here and not in the shares: the output projection's bias must not reach these queries either.
        output: Tensor = self.out(attended)
        return output.masked_fill(~some, 0.0)

    def absorbs(
        self,
        query: Float[Tensor, "batch queries width"],
        memory: Float[Tensor, "batch keys width"],
        key_pos: Float[Tensor, "batch keys width"],
        windows: Windows,
    ) -> bool:
        """Whether `forward` reads tokens as they are, because to project all of them costs more.

        Args:
            query: As `forward` takes it.
            memory: Likewise.
            key_pos: Likewise.
            windows: Likewise.
        """
        return kernel_choice.serves(query, memory, key_pos) and absorbed.cheaper(
            query.shape[1], memory.shape[1], windows.index.shape[2], query.shape[2], self.heads
        )

    def _projected(
        self, query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows
    ) -> Tensor:
        projected = query, self.key(memory + key_pos), self.value(memory)
        way = compiled if kernel_choice.serves(*projected) else gathered_rows
        attended: Tensor = _InWindows.apply(  # type: ignore[no-untyped-call]
            way, *projected, windows.index.long(), windows.valid, self.heads
        )
        return attended

    def _absorbed(self, query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows) -> Tensor:
        """As `_projected`, but what it leaves to queries without a window."""
        heads, width = self.heads, query.shape[2]
        split = query.view(-1, heads, width // heads).transpose(0, 1)  # [H, N, c]
        tokens = absorbed.mix(
            split @ self.key.weight.view(heads, -1, width), memory, key_pos,
            windows.index.long(), windows.valid,
        )  # fmt: skip
        mixed = tokens @ self.value.weight.view(heads, -1, width).transpose(1, 2)  # [H, N, c]
        # Shares sum to one, so the values' bias is added once.
        attended: Tensor = mixed.transpose(0, 1).reshape(query.shape) + self.value.bias
        return attended


def _check(query: Tensor, memory: Tensor, key_pos: Tensor, windows: Windows) -> None:
    if windows.index.shape[:2] != query.shape[:2] or windows.keys != memory.shape[1]:
        raise ValueError(
            f"windows of {tuple(windows.index.shape[:2])} queries and {windows.keys} keys do "
            f"not fit {tuple(query.shape[:2])} queries and {memory.shape[1]} keys"
        )
    if windows.index.device.type == "cpu" and windows.index.numel():
        low, high = (int(end) for end in windows.index.aminmax())
        if low < 0 or high >= windows.keys:
            raise ValueError(
                f"windows name keys {low} to {high}, but there are keys 0 to {windows.keys - 1}"
            )
    if memory.shape != key_pos.shape or memory.shape[::2] != query.shape[::2]:
        raise ValueError(
            f"tokens of {tuple(memory.shape)} and encodings of {tuple(key_pos.shape)} do not fit "
            f"queries of {tuple(query.shape)}"
        )


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
