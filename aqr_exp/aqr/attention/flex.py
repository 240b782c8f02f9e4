"""Attention with a bias in windows on CUDA: torch's FlexAttention, which asks for it score by score.

The bias of a score is computed from the places of its query's windows and of its key, so there is no
matrix of queries and keys. FlexAttention could send a gradient back to the bias too, but would do so by
an atomic addition for each score, in any order. Only the windows' scores have such a gradient:
`correction.bias_gradient` computes it from the log-sum-exp, in the same bits every time.

Queries come in numbers that change from step to step (denoising ones with the ground truth). They are
padded to whole blocks and their number is left open when the kernel is compiled, which happens once.

Letters: B samples, H heads, Q queries, K keys, S window slots, W windows a query, c width of a head.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from aqr_exp.aqr import HeadKeys, HeadQueries
from aqr_exp.aqr.attention.compiled import WindowedQKV
from aqr_exp.aqr.attention.correction import bias_gradient
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.layout import TokenLayout

_MODULE = "torch.nn.attention.flex_attention"
# Queries in a block of the kernel, at most.
_BLOCK = 128
_LEAST_WIDTH = 16


def unsupported_reason(query: Tensor, bias: LocalBias) -> str | None:
    """The reason why FlexAttention cannot be used; None where it can."""
    width = query.shape[-1]
    if query.device.type != "cuda":
        return f"tensors on {query.device.type}, where FlexAttention has no backward pass"
    if query.dtype == torch.float64:
        return "tensors of torch.float64"
    if width < _LEAST_WIDTH or width & (width - 1):
        return f"heads {width} wide, not a power of two from {_LEAST_WIDTH} on"
    if bias.grid is None:
        return "windows without places"
    return None if _flex_attention() else f"torch {torch.__version__} has no FlexAttention"


def attend_flex(
    query: HeadQueries,
    key: HeadKeys,
    value: HeadKeys,
    bias: LocalBias,
    *,
    compiler: str | None = "inductor",
) -> HeadQueries:
    """Attend with a bias in the windows, where `unsupported_reason` is None.

    Gradients reach queries, keys, values and the bias.

    Args:
        compiler: A backend of torch.compile; None lets torch interpret the kernel, with whole matrices.

    Raises:
        ValueError: The bias has no grid.
    """
    if bias.grid is None:
        raise ValueError("a bias without a grid does not say where its windows lie")
    queries = query.shape[2]
    extra = -queries % _BLOCK
    slot_bias = bias.value.masked_fill(~bias.valid, 0.0).float()
    padded = functional.pad(query, (0, 0, 0, extra))
    padded_bias = functional.pad(slot_bias.detach(), (0, 0, 0, extra))
    # Tensors of their own: compiled kernels take no views of what they capture.
    corner = [
        functional.pad(part, (0, 0, 0, extra), value=-1).contiguous()
        for part in bias.grid.corner.to(query.device, torch.int32).unbind(-1)
    ]
    if compiler is not None:
        for tensor, axis in ((padded, 2), (padded_bias, 1), *((part, 1) for part in corner)):
            torch._dynamo.maybe_mark_dynamic(tensor, axis)  # noqa: SLF001 - torch documents it
    places = _key_places(bias.grid.layout, query.device)
    sizes = bias.grid.bev_size, bias.grid.camera_size
    output, more = _attention(compiler)(padded, key, value, padded_bias, corner, places, sizes)
    log_sum = getattr(more, "lse", more)
    attended: Tensor = _WithBiasGradient.apply(  # type: ignore[no-untyped-call]
        output[:, :, :queries], slot_bias, log_sum[:, :, :queries].detach(),
        query.detach(), key.detach(), value.detach(), bias.index.long(), bias.valid,
    )  # fmt: skip
    return attended


def _biased_score(
    score: Tensor,
    b: Tensor,
    q: Tensor,
    k: Tensor,
    bias: Tensor,
    corner: Sequence[Tensor],
    place: Sequence[Tensor],
    sizes: tuple[int, int],
) -> Tensor:
    """The score of one query and key: the slot that the key is for the query, if any, adds its bias.

    Args:
        score: The score without the bias.
        bias: [B, Q, S].
        corner: Map, row and column of the windows' first cells, [B, Q, W] each.
        place: Map, row and column of the keys, [K] each.
        sizes: Sides of the BEV window and of the camera windows.
    """
    first_slot, size = 0, sizes[0]
    for w in range(corner[0].shape[2]):
        row = place[1][k] - corner[1][b, q, w]
        column = place[2][k] - corner[2][b, q, w]
        inside = (place[0][k] == corner[0][b, q, w]) & (row >= 0) & (row < size)
        inside = inside & (column >= 0) & (column < size)
        slot = torch.where(inside, first_slot + row * size + column, 0)
        score = score + torch.where(inside, bias[b, q, slot], 0.0)
        first_slot, size = first_slot + size * size, sizes[1]
    return score


class _WithBiasGradient(torch.autograd.Function):
    """Passes the output on, and its gradient; the bias, which the output knows, gets its own."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, bias: Tensor, log_sum: Tensor, *others: Tensor) -> Tensor:
        ctx.save_for_backward(output, log_sum, *others, bias)
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        output, log_sum, *tensors = ctx.saved_tensors
        windowed, grad_bias = WindowedQKV(*tensors), None
        if ctx.needs_input_grad[1]:
            with torch.autocast(windowed.query.device.type, enabled=False):
                grad_bias = bias_gradient(grad_output, windowed, output, log_sum)
        return grad_output, grad_bias, *[None] * 6


@cache
def _key_places(layout: TokenLayout, device: torch.device) -> tuple[Tensor, ...]:
    """Map, row and column of every key, as `WindowGrid.corner` numbers them."""
    bev, camera = (
        torch.cartesian_prod(torch.arange(*maps), *map(torch.arange, size))
        for maps, size in (((0, 1), layout.bev_size), ((1, layout.views + 1), layout.camera_size))
    )
    places = torch.cat((bev, camera)).int().to(device)
    return tuple(part.contiguous() for part in places.unbind(-1))


@cache
def _attention(compiler: str | None) -> Callable[..., Any]:
    """FlexAttention with the bias: from queries, keys, values and what `_biased_score` looks up.

    It gives attended values and, itself or as `lse`, the log-sum-exp of the scores.
    """
    attend = _flex_attention()
    assert attend is not None  # noqa: S101 - see `unsupported_reason`
    # From torch 2.9 on the log-sum-exp is requested in another way.
    request = getattr(importlib.import_module(_MODULE), "AuxRequest", None)
    requested = {"return_lse": True} if request is None else {"return_aux": request(lse=True)}

    # Tests wrap all functions of the package in type checks, which cannot be compiled.
    biased_score = inspect.unwrap(_biased_score)
    biased: Callable[..., Any] = lambda query, key, value, *tables: attend(  # noqa: E731 - as above
        query, key, value, **requested,
        score_mod=lambda score, b, _h, q, k: biased_score(score, b, q, k, *tables),
    )  # fmt: skip
    if compiler is None:
        return biased
    made: Callable[..., Any] = torch.compile(biased, backend=compiler, fullgraph=True)
    return made


@cache
def _flex_attention() -> Callable[..., Any] | None:
    """None before torch 2.5."""
    try:
        function: Callable[..., Any] = importlib.import_module(_MODULE).flex_attention
    except (ImportError, AttributeError):
        return None
    return function
