"""torch's fused attention without a mask, with the scores' log-sum-exp that its public function hides.

Each kernel has one forward and one backward; what differs between them, the form of the log-sum-exp and
what the backward pass must be given again, stays here. Those for CUDA have run on no GPU yet: their
layouts are those of torch's own shape functions, and are tested on a CPU by kernels of these layouts.

Letters: B samples, H heads, Q queries, K keys, c width of a head.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from aqr_exp.aqr import HeadKeys, HeadQueries, QueryNumbers

State = tuple[Any, ...]
"""What a kernel's backward pass wants of its forward pass; plain values and small tensors."""


@runtime_checkable
class FusedKernel(Protocol):
    """A kernel without a mask. Log-sum-exps are [B, H, Q], in single precision or better."""

    def forward(
        self, query: HeadQueries, key: HeadKeys, value: HeadKeys
    ) -> tuple[HeadQueries, QueryNumbers, State]:
        """Attended values, log-sum-exp of the scaled scores, and what `backward` wants."""

    def backward(
        self, grad: HeadQueries, tensors: tuple[Tensor, ...], log_sum: QueryNumbers, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of query, key and value.

        Args:
            tensors: Query, key, value and the attended values, the latter as they should have been.
            log_sum: Likewise: what a row's scores are normalised by, infinite for one that adds nothing.
        """


def _operators(name: str) -> tuple[Any, Any]:
    """A kernel of torch and its backward; None for each that this version has not."""
    names = (f"_scaled_dot_product_{name}", f"_scaled_dot_product_{name}_backward")
    return tuple(getattr(torch.ops.aten, one, None) for one in names)  # type: ignore[return-value]


class ForCpu:
    """The CPU's: nothing else to keep."""

    name = "flash_attention_for_cpu"

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, State]:
        """As the protocol has it."""
        output, log_sum = _operators(self.name)[0](query, key, value, 0.0, False)
        return output, log_sum, ()

    def backward(
        self, grad: Tensor, tensors: tuple[Tensor, ...], log_sum: Tensor, _state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the protocol has it."""
        found: tuple[Tensor, Tensor, Tensor] = _operators(self.name)[1](
            grad, *tensors, log_sum, 0.0, False
        )
        return found


class Flash:
    """CUDA's in half precision: random states and lengths come and go."""

    name = "flash_attention"

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, State]:
        """As the protocol has it."""
        output, log_sum, *rest = _operators(self.name)[0](query, key, value, 0.0, False, False)
        return output, log_sum, tuple(rest[:6])

    def backward(
        self, grad: Tensor, tensors: tuple[Tensor, ...], log_sum: Tensor, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the protocol has it."""
        found: tuple[Tensor, Tensor, Tensor] = _operators(self.name)[1](
            grad, *tensors, log_sum, *state[:4], 0.0, False, *state[4:]
        )
        return found


class Efficient:
    """CUDA's in single precision: its log-sum-exp is padded to a multiple of 32 queries."""

    name = "efficient_attention"

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, State]:
        """As the protocol has it."""
        output, padded, *rest = _operators(self.name)[0](query, key, value, None, True, 0.0, False)
        log_sum = padded[..., : query.shape[2]]
        return output, log_sum, (padded.shape[-1], *rest)

    def backward(
        self, grad: Tensor, tensors: tuple[Tensor, ...], log_sum: Tensor, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the protocol has it."""
        length, *rest = state
        # Infinite: rows that are none would get no share of anything.
        padding = log_sum.new_full((*log_sum.shape[:2], length - log_sum.shape[2]), torch.inf)
        padded = torch.cat([log_sum, padding], dim=-1)
        query, key, value, output = tensors
        *found, _ = _operators(self.name)[1](
            grad,
            query,
            key,
            value,
            None,
            output,
            padded,
            *rest,
            0.0,
            [True, True, True, False],
            False,
        )
        return found[0], found[1], found[2]


class Cudnn:
    """cuDNN's: its log-sum-exp has one more axis."""

    name = "cudnn_attention"

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, State]:
        """As the protocol has it."""
        operator = _operators(self.name)[0]
        output, log_sum, *rest = operator(query, key, value, None, True, 0.0, False, False)
        return output, log_sum.squeeze(-1), tuple(rest[:6])

    def backward(
        self, grad: Tensor, tensors: tuple[Tensor, ...], log_sum: Tensor, state: State
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As the protocol has it."""
        lengths, seeds = state[:4], state[4:]
        found: tuple[Tensor, Tensor, Tensor] = _operators(self.name)[1](
            grad, *tensors, log_sum[..., None], *seeds, None, *lengths, 0.0, False
        )
        return found


_HALF = {torch.float16, torch.bfloat16}
# Numbers of a head that lie side by side: the CUDA kernels read 16 bytes at a time.
_ALIGNED_BYTES = 16


def kernel_for(device: str, dtype: torch.dtype, width: int) -> Callable[[], FusedKernel] | str:
    """The kind of kernel for heads of a width on a type of device, or the reason why there is none."""
    kind: Any = {"cpu": ForCpu, "cuda": Flash if dtype in _HALF else Efficient}.get(device)
    if kind is None:
        return f"tensors on {device}"
    if None in _operators(kind.name):
        where = "CPUs" if device == "cpu" else "CUDA"
        return f"torch {torch.__version__} has no fused kernel for {where}"
    if device == "cuda" and (dtype == torch.float64 or width * dtype.itemsize % _ALIGNED_BYTES):
        return f"heads of {width} numbers in {dtype}".replace("torch.", "")
    return kind  # type: ignore[no-any-return]
