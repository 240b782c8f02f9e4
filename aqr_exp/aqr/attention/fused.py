"""torch's fused attention without a mask, with the scores' log-sum-exp that its public function hides.

What differs between the kernels, the form of the log-sum-exp and what the backward pass must be given,
stays here. Those for CUDA have run on no GPU yet: their layouts are those of torch's own shape functions,
and are tested on a CPU by kernels of these layouts.

Letters: B samples, H heads, Q queries, K keys, c width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from aqr_exp.aqr import HeadKeys, HeadQueries, QueryNumbers


@dataclass(frozen=True)
class FusedKernel:
    """A kernel without a mask; log-sum-exps are [B, H, Q], in single precision or better.

    Attributes:
        name: Of the operator.
        options: Its arguments after query, key and value.
        arguments: Those of its backward pass after the gradient, from (query, key, value, output), the
            log-sum-exp and what else the forward pass gave.
    """

    name: str
    options: tuple[Any, ...]
    arguments: Callable[[tuple[Tensor, ...], Tensor, list[Any]], tuple[Any, ...]]

    def forward(
        self, query: HeadQueries, key: HeadKeys, value: HeadKeys
    ) -> tuple[HeadQueries, QueryNumbers, list[Any]]:
        """Attended values, log-sum-exp of the scaled scores, and what `backward` wants."""
        output, log_sum, *rest = _operator(self.name)(query, key, value, *self.options)
        # Some kernels pad the queries, or add an axis.
        return (
            output,
            log_sum.view(*log_sum.shape[:3])[..., : query.shape[2]],
            [log_sum.shape, *rest],
        )

    def backward(
        self,
        grad: HeadQueries,
        tensors: tuple[Tensor, ...],
        log_sum: QueryNumbers,
        state: list[Any],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value.

        Args:
            tensors: Query, key, value and the attended values, the latter as they should have been.
            log_sum: Likewise: what a row's scores are normalised by, infinite for one that adds nothing.
        """
        shape, *rest = state
        padded = functional.pad(log_sum, (0, shape[2] - log_sum.shape[2]), value=torch.inf)
        found = _operator(f"{self.name}_backward")(
            grad, *self.arguments(tensors, padded.view(shape), rest)
        )
        return found[0], found[1], found[2]


def _operator(name: str) -> Any:
    return getattr(torch.ops.aten, f"_scaled_dot_product_{name}", None)


CPU = FusedKernel(
    "flash_attention_for_cpu", (0.0, False), lambda qkvo, log_sum, _: (*qkvo, log_sum, 0.0, False)
)
FLASH = FusedKernel(
    "flash_attention",
    (0.0, False, False),
    lambda qkvo, log_sum, rest: (*qkvo, log_sum, *rest[:4], 0.0, False, *rest[4:6]),
)
EFFICIENT = FusedKernel(
    "efficient_attention",
    (None, True, 0.0, False),
    lambda qkvo, log_sum, rest: (
        *qkvo[:3], None, qkvo[3], log_sum, *rest, 0.0, [True, True, True, False], False
    ),
)  # fmt: skip
CUDNN = FusedKernel(
    "cudnn_attention",
    (None, True, 0.0, False, False),
    lambda qkvo, log_sum, rest: (*qkvo, log_sum, *rest[4:6], None, *rest[:4], 0.0, False),
)
_ALIGNED_BYTES = 16  # that the CUDA kernels read at a time


def kernel_for(device: str, dtype: torch.dtype, width: int) -> FusedKernel | str:
    """The kernel for heads of a width on a type of device, or the reason why there is none."""
    half = dtype in {torch.float16, torch.bfloat16}
    kernel = {"cpu": CPU, "cuda": FLASH if half else EFFICIENT}.get(device)
    if kernel is None:
        return f"tensors on {device}"
    if _operator(kernel.name) is None:
        where = "CPUs" if device == "cpu" else "CUDA"
        return f"torch {torch.__version__} has no fused kernel for {where}"
    if device == "cuda" and (dtype == torch.float64 or width * dtype.itemsize % _ALIGNED_BYTES):
        return f"heads of {width} numbers in {dtype}".replace("torch.", "")
    return kernel
