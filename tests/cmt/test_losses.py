import math

import pytest
import torch
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss

from aqr_exp.cmt.box_code import encode
from aqr_exp.cmt.denoising import DenoisingQueries
from aqr_exp.cmt.losses import (
    LossWeights,
    box_l1_loss,
    denoising_losses,
    focal_loss,
    matched_losses,
)

CODE_WEIGHTS = (2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
WEIGHTS = LossWeights(
    class_cost=2.0, box_cost=0.25, class_loss=2.0, box_loss=0.25, code_weights=CODE_WEIGHTS,
    denoising=0.5, split=0.75,
)  # fmt: skip
BOX = torch.tensor([[1.0, 2.0, 0.0, 4.0, 2.0, 1.0, 0.3, 1.0, -1.0]])


def test_focal_loss_by_hand():
    p = torch.tensor([0.8, 0.3])
    logits = (p / (1 - p)).log().view(1, 1, 2)
    wanted = 0.25 * 0.2**2 * -math.log(0.8) + 0.75 * 0.3**2 * -math.log(0.7)
    assert focal_loss(logits, torch.tensor([[0]])).item() == pytest.approx(wanted, rel=1e-5)
    background = 0.75 * 0.8**2 * -math.log(0.2) + 0.75 * 0.3**2 * -math.log(0.7)
    assert focal_loss(logits, torch.tensor([[2]])).item() == pytest.approx(background, rel=1e-5)


def test_focal_loss_is_mmdet_s():
    logits = torch.randn(3, 20, 10) * 4
    labels = torch.randint(11, (3, 20))
    wanted = [
        py_sigmoid_focal_loss(
            x, torch.nn.functional.one_hot(y, 11)[:, :10], gamma=2.0, alpha=0.25, reduction="sum"
        )
        for x, y in zip(logits, labels, strict=True)
    ]
    torch.testing.assert_close(focal_loss(logits, labels), torch.stack(wanted))


def test_l1_loss_weighs_entries_and_leaves_out_unknown_ones():
    codes = torch.zeros(1, 1, 10)
    targets = torch.tensor([[[1.0, 1, 1, 1, 1, 1, 1, 1, math.nan, 5]]])
    assert box_l1_loss(codes, targets, CODE_WEIGHTS).item() == pytest.approx(10.0 + 0.2 * 5)


def test_unknown_velocity_gives_no_gradient_there_and_the_usual_one_elsewhere():
    targets = torch.ones(1, 1, 10)
    known = torch.zeros(1, 1, 10, requires_grad=True)
    box_l1_loss(known, targets, CODE_WEIGHTS).sum().backward()
    unknown = torch.zeros(1, 1, 10, requires_grad=True)
    targets[..., 8:] = math.nan
    box_l1_loss(unknown, targets, CODE_WEIGHTS).sum().backward()
    assert torch.equal(unknown.grad[..., :8], known.grad[..., :8])
    assert (unknown.grad[..., 8:] == 0).all()


def _matched(codes, logits, boxes, labels):
    return matched_losses(logits, codes, labels, boxes, WEIGHTS)


def test_matched_losses_by_hand():
    codes = torch.zeros(2, 1, 3, 10)
    codes[:, 0, 1] = encode(BOX)[0]
    codes[0, 0, 1, 0] += 0.5  # the first layer is half a metre off
    logits = torch.zeros(2, 1, 3, 10)
    got = _matched(codes, logits, [BOX], [torch.tensor([4])])
    assert set(got) == {"loss_cls", "loss_bbox", "d0.loss_cls", "d0.loss_bbox"}
    assert got["loss_bbox"].item() == pytest.approx(0.0, abs=1e-6)
    assert got["d0.loss_bbox"].item() == pytest.approx(0.25 * 2.0 * 0.5, rel=1e-5)
    # 30 scores of one half, one of them the right class; divisor 1 + 0.1 * 2.
    wanted = 2.0 * (0.25 + 29 * 0.75) * 0.25 * math.log(2) / 1.2
    assert got["loss_cls"].item() == pytest.approx(wanted, rel=1e-5)


def test_normalisers_count_over_the_batch():
    codes = torch.zeros(1, 2, 3, 10)
    logits = torch.zeros(1, 2, 3, 10)
    got = _matched(
        codes, logits, [BOX.expand(2, -1), BOX[:0]], [torch.tensor([4, 4]), torch.zeros(0).long()]
    )
    distance = (encode(BOX)[0].abs() * torch.tensor(CODE_WEIGHTS)).sum().item()
    assert got["loss_bbox"].item() == pytest.approx(0.25 * distance, rel=1e-5)
    wanted = 2.0 * (2 * 0.25 + 58 * 0.75) * 0.25 * math.log(2) / (2 + 0.1 * 4)
    assert got["loss_cls"].item() == pytest.approx(wanted, rel=1e-5)


def test_no_ground_truth_at_all():
    codes = torch.zeros(1, 1, 3, 10, requires_grad=True)
    logits = torch.zeros(1, 1, 3, 10, requires_grad=True)
    got = _matched(codes, logits, [BOX[:0]], [torch.zeros(0).long()])
    assert got["loss_bbox"].item() == 0.0
    assert got["loss_cls"].item() == pytest.approx(2.0 * 30 * 0.75 * 0.25 * math.log(2), rel=1e-5)
    sum(got.values()).backward()
    assert torch.isfinite(logits.grad).all()


def test_denoising_losses_by_hand():
    denoising = DenoisingQueries(
        reference=torch.zeros(2, 2, 3),
        blocked=torch.zeros(2, 2, dtype=torch.bool),
        sample=torch.tensor([0, 0, 1]),
        slot=torch.tensor([0, 1, 0]),
        labels=torch.tensor([4, 10, 2]),
        boxes=BOX.expand(3, -1),
    )
    codes = encode(BOX)[0].expand(1, 2, 2, 10).clone()
    codes[0, 0, 1, 0] += 3.0  # counts although its class is background
    codes[0, 1, 1] = 1e6  # padding
    logits = torch.zeros(1, 2, 2, 10)
    logits[0, 1, 1] = 1e6
    got = denoising_losses(logits, codes, denoising, WEIGHTS)
    assert set(got) == {"dn_loss_cls", "dn_loss_bbox"}
    assert got["dn_loss_bbox"].item() == pytest.approx(0.5 * 0.25 * 2 * 3.0 / 3, rel=1e-4)
    divisor = max(3 * math.pi / 6 * 0.75**3, 1.0)
    wanted = 0.5 * 2.0 * (2 * 0.25 + 28 * 0.75) * 0.25 * math.log(2) / divisor
    assert got["dn_loss_cls"].item() == pytest.approx(wanted, rel=1e-5)


def test_the_denoising_class_loss_is_shared_among_the_noise_within_the_split():
    count = 40
    denoising = DenoisingQueries(
        reference=torch.zeros(1, count, 3),
        blocked=torch.zeros(count, count, dtype=torch.bool),
        sample=torch.zeros(count, dtype=torch.long),
        slot=torch.arange(count),
        labels=torch.full((count,), 4),
        boxes=BOX.expand(count, -1),
    )
    codes = encode(BOX)[0].expand(1, 1, count, 10)
    got = denoising_losses(torch.zeros(1, 1, count, 10), codes, denoising, WEIGHTS)
    # Per box one class is there and nine are not, at one half each; 22 % of the boxes share it.
    wanted = 0.5 * 2.0 * (0.25 + 9 * 0.75) * 0.25 * math.log(2) / (math.pi / 6 * 0.421875)
    assert got["dn_loss_cls"].item() == pytest.approx(wanted, rel=1e-5)
