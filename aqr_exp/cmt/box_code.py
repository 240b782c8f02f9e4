"""The box code: what the head regresses, and how it maps to LiDAR boxes.

A code is (x, y, log l, log w, z, log h, sin yaw, cos yaw, vx, vy) with the *gravity* centre in metres;
l is the extent along x at yaw 0 and w the one along y: mmdet3d >= 1.0, in which the published
weights were trained too. `LiDARInstance3DBoxes` keeps (x, y, z, l, w, h, yaw, vx, vy) with the
*bottom* centre.

Letters: N boxes, and any leading shape.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

MATCHED_ENTRIES = 8
"""Entries that the matching cost compares: all but the velocity."""


def encode(boxes: Float[Tensor, "*shape 9"]) -> Float[Tensor, "*shape 10"]:
    """Encode boxes; entries that are NaN stay NaN.

    Args:
        boxes: (x, y, z, l, w, h, yaw, vx, vy), gravity centre; metres, radians, metres per second.
    """
    x, y, z, length, width, height, yaw, vx, vy = boxes.unbind(-1)
    return torch.stack(
        (x, y, length.log(), width.log(), z, height.log(), yaw.sin(), yaw.cos(), vx, vy), dim=-1
    )


def decode(code: Float[Tensor, "*shape 10"]) -> Float[Tensor, "*shape 9"]:
    """The inverse of `encode`; yaw lies in (-pi, pi]."""
    x, y, log_length, log_width, z, log_height, sine, cosine, vx, vy = code.unbind(-1)
    yaw = torch.atan2(sine, cosine)
    return torch.stack(
        (x, y, z, log_length.exp(), log_width.exp(), log_height.exp(), yaw, vx, vy), dim=-1
    )


def join_branches(branches: Mapping[str, Any], prefix: str = "") -> Float[Tensor, "*shape 10"]:
    """Concatenate the head's box branches to codes.

    The published head reads its branches in this order against codes in the order above, so that
    the branch named `height`, which moves the reference's z, regresses log l, and the second
    entry of `dim` regresses z. The names stay: published weights depend on the pairing.

    Args:
        branches: center (2), height (1), dim (3), rot (2), vel (2).
        prefix: Put before the branch names, for the denoising queries.
    """
    names = ("center", "height", "dim", "rot", "vel")
    return torch.cat([branches[prefix + name] for name in names], dim=-1)


def from_lidar_boxes(boxes: Any) -> Float[Tensor, "n 9"]:
    """Gravity-centred (x, y, z, l, w, h, yaw, vx, vy) of a `LiDARInstance3DBoxes`, a new tensor.

    Raises:
        ValueError: If the boxes have no velocity.
    """
    tensor = boxes.tensor
    if tensor.shape[-1] != 9:
        raise ValueError(f"boxes need 9 numbers, velocity included; got {tensor.shape[-1]}")
    return torch.cat((boxes.gravity_center, tensor[:, 3:]), dim=-1)


def to_lidar_boxes(boxes: Float[Tensor, "n 9"], box_type: Any) -> Any:
    """Boxes of `box_type` (`LiDARInstance3DBoxes`) from gravity-centred ones."""
    return box_type(boxes, box_dim=boxes.shape[-1], origin=(0.5, 0.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Boxes of one sample, best first.

    Attributes:
        boxes: [N, 9] (x, y, z, l, w, h, yaw, vx, vy), gravity centre, metres, LiDAR frame.
        scores: [N] in [0, 1], float32.
        labels: [N] classes.
    """

    boxes: Float[Tensor, "n 9"]
    scores: Float[Tensor, " n"]
    labels: Int[Tensor, " n"]


def decode_sample(
    logits: Float[Tensor, "queries classes"],
    codes: Float[Tensor, "queries 10"],
    max_boxes: int,
    center_range_m: tuple[float, ...],
) -> Detections:
    """Keep the best (query, class) pairs, then those whose centre lies inside the range.

    A query can give several boxes, of different classes. Equal scores keep the order of
    (query, class), so that results do not depend on the sort.

    Args:
        max_boxes: Pairs kept before the range filter.
        center_range_m: Allowed centres, (x, y, z, x, y, z), borders included.
    """
    classes = logits.shape[-1]
    ranked, order = torch.sort(logits.float().sigmoid().flatten(), descending=True, stable=True)
    scores, pairs = ranked[:max_boxes], order[:max_boxes]
    boxes = decode(codes.float()[torch.div(pairs, classes, rounding_mode="floor")])
    low, high = boxes.new_tensor(center_range_m).view(2, 3)
    inside = ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(dim=1)
    return Detections(boxes=boxes[inside], scores=scores[inside], labels=(pairs % classes)[inside])
