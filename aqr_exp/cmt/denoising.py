"""Query denoising (Li et al., arXiv 2203.01305): noised ground truth as extra queries in training.

Slots come in groups. Each group holds every box of its sample once, in order, then padding up to
the batch's largest count. Padded slots sit at reference (0, 0, 0).

Letters: B samples, Q learnable queries, R groups, S slots of a group, P = R S slots, N = noised
boxes of the whole batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aqr_exp.cmt.encodings import normalise_points


@dataclass(frozen=True, kw_only=True)
class DenoisingSettings:
    """Settings of the noise on the ground truth (see `DenoisingConfig`).

    Attributes:
        split: A draw from [-1, 1]^3 with a norm beyond this is labelled background.
        point_cloud_range: (x, y, z, x, y, z) in metres.
        classes: Number of classes; also the label of background.
    """

    groups: int
    noise_scale: float
    noise_trans_m: float
    split: float
    point_cloud_range: tuple[float, ...]
    classes: int


@dataclass(frozen=True, kw_only=True)
class DenoisingQueries:
    """The extra queries of a batch.

    Attributes:
        reference: [B, P, 3] reference points in [0, 1]; padding at zero.
        blocked: [P + Q, P + Q], True where a query (row) must NOT attend to another.
        sample: [N] sample of each noised box.
        slot: [N] slot of each noised box.
        labels: [N] class after noising; background where the noise was too large.
        boxes: [N, 9] the boxes before noising, gravity-centred, metres.
    """

    reference: Float[Tensor, "batch slots 3"]
    blocked: Bool[Tensor, "all all"]
    sample: Int[Tensor, " n"]
    slot: Int[Tensor, " n"]
    labels: Int[Tensor, " n"]
    boxes: Float[Tensor, "n 9"]

    @property
    def slots(self) -> int:
        """P, slots a sample."""
        return self.reference.shape[1]


def denoising_mask(
    groups: int, group_slots: int, queries: int, device: torch.device | None = None
) -> Bool[Tensor, "all all"]:
    """The attention mask of a batch with denoising queries.

    Learnable queries must not see denoising ones; a group must not see another group. Denoising
    queries may see the learnable ones. Denoising slots come first; True blocks.
    """
    group = torch.arange(groups, device=device).repeat_interleave(group_slots)
    slots = groups * group_slots
    blocked = torch.zeros(slots + queries, slots + queries, dtype=torch.bool, device=device)
    blocked[:slots, :slots] = group[:, None] != group[None, :]
    blocked[slots:, :slots] = True
    return blocked


def noised_centres(
    boxes: Float[Tensor, "n 9"], draws: Float[Tensor, "n 3"], settings: DenoisingSettings
) -> Float[Tensor, "n 3"]:
    """Shift centres by `draws` (in [-1, 1]) times half the size, then normalise into [0, 1]."""
    reach = boxes[:, 3:6] / 2.0 + settings.noise_trans_m
    shifted = boxes[:, :3] + draws * reach * settings.noise_scale
    return normalise_points(shifted, settings.point_cloud_range).clamp(0.0, 1.0)


def make_denoising_queries(
    boxes: Sequence[Float[Tensor, "_ 9"]],
    labels: Sequence[Int[Tensor, " _"]],
    queries: int,
    settings: DenoisingSettings,
    step: Sequence[int] | None = None,
    noise: tuple[int, Sequence[int]] | None = None,
) -> DenoisingQueries | None:
    """Noise a batch's ground truth.

    Args:
        boxes: Ground truth of each sample, gravity-centred, metres.
        queries: Q, number of learnable queries; groups are fewer where boxes are many.
        step: Boxes of each sample of the step, where these samples are a part of it: all its parts have
            the same slots.
        noise: The seed of the step's noise and the places of these samples in the step, where several
            processes have samples of it: each box then has the noise that one process would have drawn.

    Returns:
        The extra queries, or None where no sample of the step has a box. Noise is drawn from torch's CPU
        generator on every device.
    """
    counts = [len(sample) for sample in labels]
    step = counts if step is None else step
    group_slots = max(step)
    if group_slots == 0:
        return None
    groups = max(1, min(settings.groups, queries // group_slots))
    device = boxes[0].device
    count = torch.tensor(counts, device=device)
    sample = torch.repeat_interleave(torch.arange(len(counts), device=device), count)
    first = torch.cumsum(count, 0) - count
    place = torch.arange(len(sample), device=device) - first[sample]
    offset = torch.arange(groups, device=device).repeat_interleave(len(sample)) * group_slots

    sample, slot = sample.repeat(groups), place.repeat(groups) + offset
    copies = torch.cat(list(boxes)).repeat(groups, 1)
    classes = torch.cat(list(labels)).repeat(groups)
    draws = torch.rand(len(copies), 3) if noise is None else _of_step(*noise, counts, step, groups)
    draws = (draws * 2.0 - 1.0).to(device)
    reference = copies.new_zeros(len(counts), groups * group_slots, 3)
    reference[sample, slot] = noised_centres(copies, draws, settings)
    if settings.noise_scale > 0:
        classes = classes.masked_fill(draws.norm(dim=1) > settings.split, settings.classes)
    return DenoisingQueries(
        reference=reference,
        blocked=denoising_mask(groups, group_slots, queries, device),
        sample=sample,
        slot=slot,
        labels=classes,
        boxes=copies,
    )


def _of_step(
    seed: int, places: Sequence[int], counts: Sequence[int], step: Sequence[int], groups: int
) -> Float[Tensor, "n 3"]:
    """The rows of some samples among the draws of a step, which has `step` boxes; see `noise`."""
    every = torch.rand(groups, sum(step), 3, generator=torch.Generator().manual_seed(seed))
    firsts = [sum(step[:place]) for place in places]
    own = [first + box for first, n in zip(firsts, counts, strict=True) for box in range(n)]
    return every[:, own].flatten(0, 1)
