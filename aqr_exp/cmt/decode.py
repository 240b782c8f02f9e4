"""From the last layer's outputs to boxes.

Letters: B samples, Q queries, C classes, N kept boxes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aqr_exp.cmt.box_code import decode


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
        logits: Class logits.
        codes: Box codes.
        max_boxes: Pairs kept before the range filter.
        center_range_m: Allowed centres, (x, y, z, x, y, z), borders included.

    Returns:
        At most `max_boxes` boxes.
    """
    classes = logits.shape[-1]
    ranked, order = torch.sort(logits.float().sigmoid().flatten(), descending=True, stable=True)
    scores, pairs = ranked[:max_boxes], order[:max_boxes]
    boxes = decode(codes.float()[torch.div(pairs, classes, rounding_mode="floor")])
    low, high = boxes.new_tensor(center_range_m).view(2, 3)
    inside = ((boxes[:, :3] >= low) & (boxes[:, :3] <= high)).all(dim=1)
    return Detections(boxes=boxes[inside], scores=scores[inside], labels=(pairs % classes)[inside])
