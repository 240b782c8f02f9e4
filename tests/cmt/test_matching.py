import math

import pytest
import torch

from aqr_exp.cmt.losses import LossWeights, focal_class_cost, match, matching_cost

WEIGHTS = LossWeights(
    class_cost=2.0, box_cost=0.25, class_loss=2.0, box_loss=0.25, denoising=1.0, split=0.75,
    code_weights=(2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2),
)  # fmt: skip


def logit(p):
    return math.log(p / (1 - p))


def test_class_cost_by_hand():
    # p = .8: present .25 * .2^2 * -ln .8, absent .75 * .8^2 * -ln .2
    cost = focal_class_cost(torch.tensor([[logit(0.8), logit(0.1)]]), torch.tensor([0, 1]))
    first = 0.25 * 0.04 * -math.log(0.8) - 0.75 * 0.64 * -math.log(0.2)
    second = 0.25 * 0.81 * -math.log(0.1) - 0.75 * 0.01 * -math.log(0.9)
    assert cost[0].tolist() == pytest.approx([first, second], abs=1e-6)


def test_cost_adds_both_parts_and_never_reads_velocities():
    logits = torch.zeros(1, 1, 2)
    codes = torch.tensor([[[1.0, 2, 3, 4, 5, 6, 0, 1, 70, 80]]])
    targets = torch.tensor([[0.0, 0, 0, 0, 0, 0, 0, 1, math.nan, math.nan]])
    cost = matching_cost(logits, codes, torch.tensor([1]), targets, WEIGHTS)
    class_cost = 2.0 * (0.25 * 0.25 - 0.75 * 0.25) * math.log(2)
    box_cost = 0.25 * (2 * 1 + 2 * 2 + 3 + 4 + 5 + 6)
    assert cost.item() == pytest.approx(class_cost + box_cost, rel=1e-5)


def test_pairs_are_the_cheapest_together_not_one_by_one():
    # Box 0 is nearest to query 1, but box 1 needs query 1 more.
    codes = torch.zeros(1, 3, 10)
    codes[0, :, 0] = torch.tensor([0.0, 3.0, 50.0])
    targets = torch.zeros(2, 10)
    targets[:, 0] = torch.tensor([2.0, 4.0])
    rows, columns = match(torch.zeros(1, 3, 10), codes, torch.tensor([0, 0]), targets, WEIGHTS)
    assert dict(zip(rows[0].tolist(), columns[0].tolist(), strict=True)) == {0: 0, 1: 1}


def test_layers_are_matched_on_their_own():
    codes = torch.zeros(2, 2, 10)
    codes[0, :, 0] = torch.tensor([0.0, 10.0])
    codes[1, :, 0] = torch.tensor([10.0, 0.0])
    targets = torch.zeros(1, 10)
    rows, columns = match(torch.zeros(2, 2, 10), codes, torch.tensor([4]), targets, WEIGHTS)
    assert rows.tolist() == [[0], [1]]
    assert columns.tolist() == [[0], [0]]


def test_no_ground_truth_matches_nothing():
    none = torch.zeros(0, dtype=torch.long)
    rows, columns = match(
        torch.zeros(2, 3, 10), torch.zeros(2, 3, 10), none, torch.zeros(0, 10), WEIGHTS
    )
    assert rows.shape == columns.shape == (2, 0)


def test_more_boxes_than_queries_leaves_boxes_over():
    rows, columns = match(
        torch.zeros(1, 2, 10), torch.zeros(1, 2, 10), torch.zeros(5).long(), torch.zeros(5, 10),
        WEIGHTS,
    )  # fmt: skip
    assert rows.shape == columns.shape == (1, 2)


def test_diverged_predictions_do_not_stop_the_solver():
    codes = torch.full((1, 3, 10), math.nan)
    rows, _ = match(
        torch.zeros(1, 3, 10), codes, torch.zeros(2).long(), torch.zeros(2, 10), WEIGHTS
    )
    assert rows.shape == (1, 2)


@pytest.mark.parametrize("entry", range(8))
def test_weights_count_alike_for_predictions_and_targets(entry):
    codes, targets = torch.zeros(1, 1, 10), torch.zeros(1, 10)
    codes[..., entry], targets[:, entry] = 7.0, 5.0
    labels, logits = torch.tensor([1]), torch.zeros(1, 1, 2)
    cost = matching_cost(logits, codes, labels, targets, WEIGHTS)
    equal = matching_cost(logits, targets[None], labels, targets, WEIGHTS)
    # Two apart, however far from zero both are.
    wanted = 0.25 * 2.0 * WEIGHTS.code_weights[entry]
    assert (cost - equal).item() == pytest.approx(wanted, rel=1e-5)
    nothing_to_pay = matching_cost(
        logits, torch.zeros(1, 1, 10), labels, torch.zeros(1, 10), WEIGHTS
    )
    assert equal.item() == pytest.approx(nothing_to_pay.item(), rel=1e-5)
