"""Losses of the head, and the one-to-one matching (Hungarian) of queries with ground truth.

Letters: L layers, Q queries, C classes, G ground-truth boxes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from aqr_exp.cmt.box_code import MATCHED_ENTRIES, encode
from aqr_exp.cmt.denoising import DenoisingQueries

_ALPHA = 0.25
_LOG_EPS = 1e-12


_BACKGROUND_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the matching cost and of the detection loss (see `HeadConfig`).

    Attributes:
        denoising: Weight of both losses for denoising queries.
        split: Noise beyond this norm is labelled background; sets the denoising normaliser.
    """

    class_cost: float
    box_cost: float
    class_loss: float
    box_loss: float
    code_weights: Sequence[float]
    denoising: float
    split: float


def focal_class_cost(
    logits: Float[Tensor, "*shape classes"], labels: Int[Tensor, " boxes"]
) -> Float[Tensor, "*shape boxes"]:
    """loss(class present) - loss(class absent) of the focal loss (gamma 2, alpha 0.25), per box."""
    score = logits[..., labels].sigmoid()
    absent = -(1.0 - score + _LOG_EPS).log() * (1.0 - _ALPHA) * score.square()
    present = -(score + _LOG_EPS).log() * _ALPHA * (1.0 - score).square()
    return present - absent


def matching_cost(
    logits: Float[Tensor, "layers queries classes"],
    codes: Float[Tensor, "layers queries 10"],
    labels: Int[Tensor, " boxes"],
    targets: Float[Tensor, "boxes 10"],
    weights: LossWeights,
) -> Float[Tensor, "layers queries boxes"]:
    """Cost of every pairing, for all layers at once; velocities are not compared."""
    scale = codes.new_tensor(weights.code_weights[:MATCHED_ENTRIES])
    predicted = codes[..., :MATCHED_ENTRIES] * scale
    wanted = (targets[..., :MATCHED_ENTRIES] * scale).expand(len(codes), -1, -1)
    box_cost = torch.cdist(predicted, wanted, p=1.0)
    return weights.class_cost * focal_class_cost(logits, labels) + weights.box_cost * box_cost


@torch.no_grad()
def match(
    logits: Float[Tensor, "layers queries classes"],
    codes: Float[Tensor, "layers queries 10"],
    labels: Int[Tensor, " boxes"],
    targets: Float[Tensor, "boxes 10"],
    weights: LossWeights,
) -> tuple[Int[Tensor, "layers pairs"], Int[Tensor, "layers pairs"]]:
    """Match one sample's queries and ground truth, for every layer.

    Returns:
        Indices of queries and of the boxes they are matched to: min(Q, G) pairs a layer.
    """
    from scipy.optimize import linear_sum_assignment

    if len(labels) == 0:
        nothing = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        return nothing, nothing
    cost = matching_cost(logits, codes, labels, targets, weights)
    # A diverged run must end in a NaN loss that says so, not in the solver's complaint.
    finite = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=-1e6).cpu().numpy()
    pairs = [linear_sum_assignment(layer) for layer in finite]
    queries = torch.stack([torch.as_tensor(rows) for rows, _ in pairs])
    boxes = torch.stack([torch.as_tensor(columns) for _, columns in pairs])
    return queries.to(logits.device), boxes.to(logits.device)


def focal_loss(
    logits: Float[Tensor, "layers n classes"], labels: Int[Tensor, "layers n"]
) -> Float[Tensor, " layers"]:
    """Sigmoid focal loss (gamma 2, alpha 0.25), summed over predictions and classes; C is background."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    wanted = labels[..., None] == classes
    signed = torch.where(wanted, -logits, logits)  # log(1 - p_true) = -softplus(signed)
    weight = torch.where(wanted, _ALPHA, 1.0 - _ALPHA) * signed.sigmoid().square()
    return (weight * functional.softplus(signed)).sum(dim=(1, 2))


def box_l1_loss(
    codes: Float[Tensor, "layers n 10"],
    targets: Float[Tensor, "layers n 10"],
    code_weights: Sequence[float],
) -> Float[Tensor, " layers"]:
    """Weighted L1 distance, summed; entries whose target is not finite do not count.

    Only velocities can be unknown in nuScenes; a box without one still teaches its place, size
    and heading.
    """
    known = torch.isfinite(targets)
    distance = (codes - torch.where(known, targets, 0.0)).abs() * known
    return (distance * codes.new_tensor(code_weights)).sum(dim=(1, 2))


def _by_layer(
    class_loss: Float[Tensor, " layers"], box_loss: Float[Tensor, " layers"], prefix: str
) -> dict[str, Tensor]:
    """Name the losses: the last layer's plainly, those before as d0., d1., ..."""
    places = [*(f"d{layer}." for layer in range(len(class_loss) - 1)), ""]
    return {
        f"{place}{prefix}{name}": loss
        for place, *both in zip(places, class_loss, box_loss, strict=True)
        for name, loss in zip(("loss_cls", "loss_bbox"), both, strict=True)
    }


def matched_losses(
    logits: Float[Tensor, "layers batch queries classes"],
    codes: Float[Tensor, "layers batch queries 10"],
    labels: Sequence[Int[Tensor, " _"]],
    boxes: Sequence[Float[Tensor, "_ 9"]],
    weights: LossWeights,
    counts: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Losses of the learnable queries against the boxes they are matched to.

    Args:
        boxes: Ground truth of each sample, gravity-centred.
        counts: Boxes of each sample of the step, where these samples are a part of it.

    Returns:
        `loss_cls` and `loss_bbox` of the last layer, and `d<i>.` ones of those before. The class
        loss is divided by matched + 0.1 x unmatched queries, the box loss by matched queries
        (both at least 1), over the step.
    """
    layers, batch, queries, classes = logits.shape
    counts = [len(sample) for sample in labels] if counts is None else counts
    target_labels = labels[0].new_full((layers, batch, queries), classes)
    layer_index = torch.arange(layers, device=logits.device)[:, None]
    predicted, wanted = [], []
    for sample in range(batch):
        targets = encode(boxes[sample])
        rows, columns = match(logits[:, sample], codes[:, sample], labels[sample], targets, weights)
        target_labels[layer_index, sample, rows] = labels[sample][columns]
        predicted.append(codes[layer_index, sample, rows])
        wanted.append(targets[columns])
    matched = sum(min(queries, count) for count in counts)
    unmatched = len(counts) * queries - matched
    class_divisor = max(matched + _BACKGROUND_SHARE * unmatched, 1.0)
    class_loss = focal_loss(logits.flatten(1, 2), target_labels.flatten(1, 2)) / class_divisor
    box_loss = box_l1_loss(torch.cat(predicted, 1), torch.cat(wanted, 1), weights.code_weights)
    return _by_layer(
        weights.class_loss * class_loss, weights.box_loss * box_loss / max(matched, 1), ""
    )


def denoising_losses(
    logits: Float[Tensor, "layers batch slots classes"],
    codes: Float[Tensor, "layers batch slots 10"],
    denoising: DenoisingQueries,
    weights: LossWeights,
    counts: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Losses of the denoising queries against the boxes they were made from.

    Args:
        logits: Class logits of all slots, padding included.
        counts: Boxes of each sample of the step, where these samples are a part of it.

    Returns:
        `dn_loss_cls` and `dn_loss_bbox`, and `d<i>.` ones. The class loss is divided by the number
        of noised boxes of the step times pi / 6 split^3 (the share of the noise cube within `split`,
        up to its normalisation), the box loss by the number of noised boxes; boxes are regressed even
        where the noise made their class background.
    """
    at = (slice(None), denoising.sample, denoising.slot)
    noised = len(denoising.slot)
    if counts is not None:
        noised = denoising.slots // max(counts) * sum(counts)
    layers = len(logits)
    class_divisor = max(noised * math.pi / 6.0 * weights.split**3, 1.0)
    labels = denoising.labels.expand(layers, -1)
    targets = encode(denoising.boxes).expand(layers, -1, -1)
    class_loss = weights.class_loss * focal_loss(logits[at], labels) / class_divisor
    box_loss = box_l1_loss(codes[at], targets, weights.code_weights)
    box_loss = weights.box_loss * box_loss / max(noised, 1)
    return _by_layer(weights.denoising * class_loss, weights.denoising * box_loss, "dn_")
