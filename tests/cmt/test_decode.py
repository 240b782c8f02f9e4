import math

import pytest
import torch

from aqr_exp.cmt.box_code import decode_sample

RANGE = (-61.2, -61.2, -10.0, 61.2, 61.2, 10.0)


def codes(*centres):
    rows = torch.zeros(len(centres), 10)
    rows[:, 0] = torch.tensor(centres)
    rows[:, 7] = 1.0
    return rows


def test_best_pairs_first_over_queries_and_classes():
    logits = torch.full((3, 10), -9.0)
    logits[2, 7], logits[0, 3], logits[2, 1], logits[1, 0] = 3.0, 2.0, 1.0, 0.0
    found = decode_sample(logits, codes(1.0, 2.0, 3.0), 3, RANGE)
    assert found.labels.tolist() == [7, 3, 1]
    assert found.boxes[:, 0].tolist() == [3.0, 1.0, 3.0]
    assert found.scores.tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (3, 2, 1)])
    assert found.scores.dtype == torch.float32


def test_range_is_filtered_after_the_best_are_chosen():
    logits = torch.full((3, 10), -9.0)
    logits[:, 0] = torch.tensor([3.0, 2.0, 1.0])
    found = decode_sample(logits, codes(61.3, -61.2, 0.0), 2, RANGE)
    # The first lies outside; its place is not given to the third; the border counts as inside.
    assert found.boxes[:, 0].tolist() == pytest.approx([-61.2])


def test_ties_keep_the_order_of_queries_and_classes():
    found = decode_sample(torch.zeros(40, 10), codes(*range(40)), 25, RANGE)
    assert found.labels.tolist() == [*range(10), *range(10), *range(5)]
    assert found.boxes[:, 0].tolist() == [0.0] * 10 + [1.0] * 10 + [2.0] * 5


def test_fewer_pairs_than_asked_for():
    assert len(decode_sample(torch.zeros(2, 10), codes(0.0, 1.0), 500, RANGE).scores) == 20


def test_half_precision_logits_give_single_precision_scores():
    logits = torch.tensor([[1.0, 1.0005] + [-9.0] * 8])
    found = decode_sample(logits.half(), codes(0.0).half(), 2, RANGE)
    assert found.scores.dtype == found.boxes.dtype == torch.float32
