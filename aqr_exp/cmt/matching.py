"""One-to-one matching of queries and ground truth (Hungarian).

Letters: L layers, Q queries, C classes, G ground-truth boxes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aqr_exp.cmt.box_code import MATCHED_ENTRIES

_ALPHA = 0.25
_LOG_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class MatchingWeights:
    """What a pairing costs.

    Attributes:
        class_cost: Weight of the focal class cost.
        box_cost: Weight of the L1 box cost.
        code_weights: Weights of the box code's entries within the L1 cost.
    """

    class_cost: float
    box_cost: float
    code_weights: tuple[float, ...]


def focal_class_cost(
    logits: Float[Tensor, "*shape classes"], labels: Int[Tensor, " boxes"]
) -> Float[Tensor, "*shape boxes"]:
    """What the focal loss (gamma 2, alpha .25) would change if a query took a box's class.

    Args:
        logits: Class logits.
        labels: Class of each ground-truth box.

    Returns:
        loss(class present) - loss(class absent); lower is better.
    """
    score = logits[..., labels].sigmoid()
    absent = -(1.0 - score + _LOG_EPS).log() * (1.0 - _ALPHA) * score.square()
    present = -(score + _LOG_EPS).log() * _ALPHA * (1.0 - score).square()
    return present - absent


def matching_cost(
    logits: Float[Tensor, "layers queries classes"],
    codes: Float[Tensor, "layers queries 10"],
    labels: Int[Tensor, " boxes"],
    targets: Float[Tensor, "boxes 10"],
    weights: MatchingWeights,
) -> Float[Tensor, "layers queries boxes"]:
    """Cost of every pairing, for all layers at once.

    Args:
        logits: Class logits.
        codes: Predicted box codes.
        labels: Ground-truth classes.
        targets: Ground-truth box codes; velocities are not compared.
        weights: The costs' weights.

    Returns:
        Costs; lower is better.
    """
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
    weights: MatchingWeights,
) -> tuple[Int[Tensor, "layers pairs"], Int[Tensor, "layers pairs"]]:
    """Match one sample's queries and ground truth, for every layer.

    Args:
        logits: Class logits.
        codes: Predicted box codes.
        labels: Ground-truth classes.
        targets: Ground-truth box codes.
        weights: The costs' weights.

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
