"""Floating-point operations of a forward pass: those of its matrix products and convolutions.

torch's counter sees every such operation that torch executes. What it does not see is added from shapes:

- the fused attention of CPUs, and FlexAttention, which is counted as the matrices it stands for:
  2 B H Q K (c_k + c_v);
- our compiled loops over windows, the router's attention and the correction of a biased one:
  4 B Q S C each, all slots counted, whether a border cuts them off or not; H times that where every
  head of the router's attention reads whole tokens (`aqr.absorbed_windows`).

A multiplication and an addition are two operations. Element-wise operations, norms, softmax and sorting
are not counted; nor are sparse convolutions, whose products follow the points.

Letters: B samples, Q queries, K keys, S window slots, H heads, C = H c width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from aqr_exp.aqr import kernel_choice
from aqr_exp.aqr.attention_backends import choose
from aqr_exp.aqr.bias import LocalBias
from aqr_exp.aqr.gathered_attention import GatheredAttention
from aqr_exp.cmt.attention import MultiHeadAttention

_FUSED_ON_CPU = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
SPARSE = "sparse convolutions"


@dataclass(frozen=True, kw_only=True)
class Flops:
    """Operations of a forward pass.

    Attributes:
        total: All that are counted.
        by_formula: Those of them that our compiled loops make.
        not_counted: Parts of the detector that are left out, in words.
    """

    total: int
    by_formula: int
    not_counted: tuple[str, ...] = ()


def count_flops(model: nn.Module, forward: Callable[[], Any]) -> Flops:
    """Count the operations of one forward pass.

    Args:
        model: What is run; it is left as it was.
        forward: Runs it once.
    """
    added: list[int] = []
    mapping = {} if _FUSED_ON_CPU is None else {_FUSED_ON_CPU: _fused_attention_flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, GatheredAttention):
                hook = module.register_forward_pre_hook(_gathered(added))
                stack.callback(hook.remove)
            elif isinstance(module, MultiHeadAttention):
                hook = module.register_forward_pre_hook(_corrected(added))
                stack.callback(hook.remove)
                stack.enter_context(_as_matrix(module))
        with torch.no_grad(), counter:
            forward()
    by_formula = sum(added)
    sparse = any(_is_sparse(module) for module in model.modules())
    return Flops(
        total=int(counter.get_total_flops()) + by_formula,
        by_formula=by_formula,
        not_counted=(SPARSE,) if sparse else (),
    )


def window_flops(batch: int, queries: int, slots: int, width: int) -> int:
    """Operations of scores and of weighted sums over window slots: 4 B Q S C."""
    return 4 * batch * queries * slots * width


def _window_flops_of(query: Tensor, index: Tensor) -> int:
    """Of queries [B, Q, C] and slots [B, Q, S]."""
    batch, queries, width = query.shape
    return window_flops(batch, queries, index.shape[-1], width)


def _fused_attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any
) -> int:
    """2 B H Q K (c_k + c_v) of shapes [B, H, Q or K, c]."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


def _gathered(added: list[int]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Adds what the router's attention does in the windows, which no backend of it shows to torch."""

    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        query, windows = inputs[0], inputs[3]
        assert isinstance(module, GatheredAttention)  # noqa: S101  # nobody else gets this hook
        wider = module.heads if module.absorbs(*inputs) else 1
        added.append(wider * _window_flops_of(query, windows.index))

    return add


def _corrected(added: list[int]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Adds what the compiled correction does; torch's own is seen by the counter."""

    def add(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        query, key = inputs[0], inputs[1]
        blocked, bias = (*inputs[3:], None, None)[:2]
        assert isinstance(module, MultiHeadAttention)  # noqa: S101  # nobody else gets this hook
        if not isinstance(bias, LocalBias) or not kernel_choice.serves(query):
            return
        queries, keys = _split(query, module.heads), _split(key, module.heads)
        if choose(module.backend, queries, keys, bias, blocked) == "windowed":
            added.append(_window_flops_of(query, bias.index))

    return add


def _split(tensor: Tensor, heads: int) -> Tensor:
    """[B, n, C] as [B, H, n, c]."""
    return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)


@contextmanager
def _as_matrix(module: MultiHeadAttention) -> Iterator[None]:
    """On CUDA, attend with the matrix: what FlexAttention compiles, the counter does not see."""
    backend = module.backend
    if module.in_proj_weight.device.type == "cuda":
        module.backend = "dense"
    try:
        yield
    finally:
        module.backend = backend


def _is_sparse(module: nn.Module) -> bool:
    return any(base.__name__ == "SparseConvolution" for base in type(module).__mro__)
