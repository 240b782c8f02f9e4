"""A training step over several processes (ranks): what they tell each other, and batch norms over all.

Each rank has a share of a step's samples. Losses are divided by what the whole step holds, so gradients are
summed over the ranks and not averaged. In a training of one process everything here does nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


def ranks() -> int:
    """The number of processes of this training."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return distributed.get_rank() if ranks() > 1 else 0


def agreed(*flags: bool) -> list[bool]:
    """The flags as rank 0 has them: clocks and signals may tell the ranks different things."""
    if ranks() > 1:
        told = torch.tensor(flags, dtype=torch.uint8)
        distributed.broadcast(told, 0)
        return [bool(flag) for flag in told]
    return list(flags)


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, without gradients."""
    if ranks() > 1:
        values = values.detach().clone()
        distributed.all_reduce(values)
    return values


def summed_losses(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses of a step by name, each the sum of the ranks' shares of it."""
    if ranks() == 1:
        return dict(losses)
    stacked = torch.stack([value.detach().float() for value in losses.values()])
    return dict(zip(losses, summed(stacked), strict=True))


def step_count(count: Tensor) -> Tensor:
    """A count over the step, of at least one, as what a loss is divided by that a rank's share weighs."""
    return count.clamp(min=1) if ranks() == 1 else summed(count.float()).clamp(min=1) / ranks()


@dataclass(frozen=True, kw_only=True)
class StepSamples:
    """The samples of a whole step, of which this rank has some.

    Attributes:
        boxes: Of each sample, in the order of the step.
        places: Of this rank's samples among them.
        seed: Of what is drawn for the step and not for a rank.
    """

    boxes: tuple[int, ...]
    places: tuple[int, ...]
    seed: int


def step_samples(boxes: Sequence[int]) -> StepSamples | None:
    """The samples of the whole step, where this process has a share; None where it has all.

    Args:
        boxes: Of each sample of this rank; all ranks have as many samples.
    """
    if ranks() == 1:
        return None
    own = torch.tensor([torch.initial_seed(), *boxes])
    every = [torch.empty_like(own) for _ in range(ranks())]
    distributed.all_gather(every, own)
    # Rank r has every sample of the step whose place is r beyond a multiple of the ranks.
    return StepSamples(
        boxes=tuple(torch.stack(every)[:, 1:].T.flatten().tolist()),
        places=tuple(range(rank(), ranks() * len(boxes), ranks())),
        seed=int(every[0][0]),
    )


_BUCKET_NUMBERS = 2**24


def sum_gradients(model: nn.Module) -> None:
    """Sum the gradients of a step over the ranks, in the order of the parameters.

    torch's own wrapper sums them while they arrive, in buckets that it arranges anew after the first
    step of a process: a sum over three ranks or more would then depend on when a run was resumed. It also
    refuses parameters that are frozen later, or that some ranks do not use.
    """
    if ranks() == 1:
        return
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    used = summed(torch.tensor([parameter.grad is not None for parameter in trained]).int())
    bucket: list[nn.Parameter] = []
    for parameter in (one for one, count in zip(trained, used.tolist(), strict=True) if count):
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter)
        if sum(each.numel() for each in bucket) >= _BUCKET_NUMBERS:
            _sum_together(bucket)
            bucket = []
    if bucket:
        _sum_together(bucket)


def _sum_together(parameters: Sequence[nn.Parameter]) -> None:
    gradients = [each.grad for each in parameters if each.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, total in zip(
        gradients, flat.split([each.numel() for each in gradients]), strict=True
    ):
        gradient.copy_(total.view(gradient.shape))


def same_buffers(model: nn.Module) -> None:
    """Give all ranks the buffers of rank 0, which its checkpoints hold."""
    if ranks() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


class _Sum(torch.autograd.Function):
    """The sum over the ranks, whose gradient is that of every rank's use of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        del ctx
        return summed(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return summed(gradients[0].contiguous())


def _sum(values: Tensor) -> Tensor:
    found: Tensor = _Sum.apply(values)
    return found


class SyncedBatchNorm(_BatchNorm):
    """A batch norm of any dimensions with the statistics of all ranks, on CPUs too.

    Attributes:
        idle: This rank has nothing for it now: what it is given does not count.
    """

    idle = False

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - the base class's name
        """Any number of dimensions."""

    def forward(self, input: Float[Tensor, "batch channels *place"]) -> Tensor:  # noqa: A002
        """Normalise; in evaluation by the running statistics, as any batch norm."""
        if not self.training or ranks() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        wide = input if input.dtype == torch.float64 else input.float()
        weight = 0.0 if self.idle else 1.0
        # In double precision, as torch's own on a CPU: sums over maps lose digits otherwise.
        sums = weight * wide.sum(axes, dtype=torch.float64)
        here = sums.new_tensor([weight * wide.numel() / wide.shape[1]])
        sums = _sum(torch.cat((sums, here)))
        count = sums[-1].detach()
        total = count.clamp(min=1)
        mean = sums[:-1] / total
        apart = wide - mean.to(wide).view(shape)
        variance = _sum(weight * apart.square().sum(axes, dtype=torch.float64)) / total
        self._average(mean.detach(), variance.detach(), count)
        found = apart * (variance + self.eps).rsqrt().to(wide).view(shape)
        if self.affine:
            found = found * self.weight.view(shape) + self.bias.view(shape)
        return found.to(input.dtype)

    @torch.no_grad()
    def _average(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        share = (0.1 if self.momentum is None else self.momentum) * (count > 0)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean), share.to(self.running_mean))
        self.running_var.lerp_(unbiased.to(self.running_var), share.to(self.running_var))
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += count > 0


_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def sync_norms(model: Any) -> None:
    """Let the batch norms of a model take the statistics of all ranks; names and values stay."""
    for module in model.modules():
        if type(module) in _NORMS:
            module.__class__ = SyncedBatchNorm
