"""Watched scalars of training: named numbers of weights, bias, scale and attention.

Every function leaves out the denoising queries, which come first. A number that has nothing to be
computed from (no valid slot, no query with a window) is left out of the result, never a NaN.

Letters: B samples, H heads, Q queries (denoising ones included), S window slots.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from aqr_exp.aqr import Pairs
from aqr_exp.aqr.attention.statistics import AttentionStatistics
from aqr_exp.aqr.bias import GlobalBias, LocalBias

MODALITIES = ("lidar", "camera")
# Beyond this more bias hardly moves a score: p (1 - p) of a pair has fallen from 0.25 to 0.045.
STRONG_BIAS = 3.0
# Weights closer than this prefer neither modality.
BALANCE_MARGIN = 0.1


@torch.no_grad()
def weight_scalars(
    weights: Pairs, *, first_query: int, margin: float = BALANCE_MARGIN
) -> dict[str, float]:
    """Mean and spread of the router's weights, and which modality queries prefer.

    Args:
        margin: A query prefers a modality whose weight is higher by more than this.

    Returns:
        `weight_<modality>_mean` and `_std` (over n, not n - 1); `prefers_lidar`, `prefers_camera` and
        `prefers_neither`, shares of the queries that add up to 1.
    """
    matched = weights[:, first_query:].float().flatten(0, 1)
    if not len(matched):
        return {}
    scalars = {}
    for name, column in zip(MODALITIES, matched.unbind(dim=-1), strict=True):
        scalars[f"weight_{name}_mean"] = float(column.mean())
        scalars[f"weight_{name}_std"] = float(column.std(correction=0))
    lead = matched[:, 0] - matched[:, 1]
    return scalars | {
        "prefers_lidar": _share(lead > margin),
        "prefers_camera": _share(lead < -margin),
        "prefers_neither": _share(lead.abs() <= margin),
    }


@torch.no_grad()
def bias_scalars(
    bias: LocalBias | GlobalBias, *, lidar_slots: int, first_query: int
) -> dict[str, float]:
    """The bias of each modality, and how much of it is beyond the responsive region of softmax.

    Args:
        lidar_slots: How many slots, the first ones, are BEV cells; of a local bias.

    Returns:
        `bias_<modality>_mean`, `_std` (over n, not n - 1), `_min` and `_max`, and
        `bias_share_above_3`, the share of |bias| > 3 in both modalities together; of a local bias
        over valid slots, of a global one over queries.
    """
    value = bias.value[:, first_query:].float()
    valid, split = torch.ones_like(value, dtype=torch.bool), 1
    if isinstance(bias, LocalBias):
        valid, split = bias.valid[:, first_query:], lidar_slots
    scalars = {}
    for name, part in zip(MODALITIES, (slice(None, split), slice(split, None)), strict=True):
        column = value[..., part][valid[..., part]]
        if len(column):
            scalars[f"bias_{name}_mean"] = float(column.mean())
            scalars[f"bias_{name}_std"] = float(column.std(correction=0))
            scalars[f"bias_{name}_min"] = float(column.min())
            scalars[f"bias_{name}_max"] = float(column.max())
    if valid.any():
        scalars["bias_share_above_3"] = _share(value[valid].abs() > STRONG_BIAS)
    return scalars


def scale_scalars(
    labels: Sequence[str],
    values: Float[Tensor, " scales"],
    *,
    maximum: float,
    gradient: Float[Tensor, " scales"] | None = None,
) -> dict[str, float]:
    """The scales, how close they are to their upper bound, and their gradient.

    Args:
        labels: A name for each scale, as `BiasScale.labels`.
        gradient: Of the parameter behind each scale, where there is one.

    Returns:
        For each scale its label, `<label>_of_max` (scale / maximum; left out of a maximum that is
        not positive) and `<label>_gradient`.

    Raises:
        ValueError: If there is not one label for each scale.
    """
    if len(labels) != len(values):
        raise ValueError(f"{len(labels)} names for {len(values)} scales")
    scalars = {}
    for place, (label, value) in enumerate(zip(labels, values.detach().tolist(), strict=True)):
        scalars[label] = value
        if maximum > 0.0:
            scalars[f"{label}_of_max"] = value / maximum
        if gradient is not None:
            scalars[f"{label}_gradient"] = float(gradient[place])
    return scalars


@torch.no_grad()
def attention_scalars(statistics: AttentionStatistics, *, first_query: int) -> dict[str, float]:
    """The effect of the bias on attention, averaged over samples, heads and queries.

    Returns:
        `mass_in_window_unbiased`, `mass_in_window`, `attention_change`, over all queries, and
        `window_entropy`, over those that have a window.
    """
    part = slice(first_query, None)
    if not statistics.change[..., part].numel():
        return {}
    scalars = {
        "mass_in_window_unbiased": float(statistics.mass_before[..., part].mean()),
        "mass_in_window": float(statistics.mass_after[..., part].mean()),
        "attention_change": float(statistics.change[..., part].mean()),
    }
    kept = statistics.has_window[:, part]
    if kept.any():
        entropy = statistics.entropy[..., part].transpose(1, 2)[kept]
        scalars["window_entropy"] = float(entropy.mean())
    return scalars


def _share(chosen: Tensor) -> float:
    return float(chosen.float().mean())
