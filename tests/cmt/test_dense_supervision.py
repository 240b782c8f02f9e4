import math

import pytest
import torch

from aqr_exp.cmt.dense_supervision import (
    DenseSupervision,
    bev_targets,
    box_corners,
    camera_targets,
    centre_focal_loss,
)


def _cells(rows: int, columns: int, pitch_m: float) -> torch.Tensor:
    x = (torch.arange(columns) + 0.5) * pitch_m
    y = (torch.arange(rows) + 0.5) * pitch_m
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def test_focal_loss_of_a_worked_case():
    # A centre at p = 1/2: -(1/2)^2 log(1/2). Beside it, heat 1/2 and p = 1/2: (1/2)^4 as much again.
    loss = centre_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.5]))
    assert loss.item() == pytest.approx(0.25 * math.log(2) * (1 + 1 / 16))


def test_bev_targets_of_a_worked_case():
    # Cells of 2 m. A box of class 1 at (3.5, 1.25): the cell centred on (3, 1) is its own.
    heat, offsets, near = bev_targets(
        torch.tensor([[3.5, 1.25]]), torch.tensor([1]), _cells(4, 6, 2.0), classes=3
    )
    assert heat.shape == (3, 4, 6)
    assert heat[1, 0, 1] == 1.0
    # One cell to the right, at (5, 1): distance^2 = 1.5^2 + .25^2, sigma = 1.2 m.
    assert heat[1, 0, 2].item() == pytest.approx(math.exp(-(2.25 + 0.0625) / (2 * 1.44)))
    assert heat[[0, 2]].abs().sum() == 0
    torch.testing.assert_close(offsets[:, 0, 1], torch.tensor([0.5, 0.25]))
    torch.testing.assert_close(offsets[:, 3, 5], torch.tensor([3.5 - 11, 1.25 - 7]))
    assert near[0, 1]
    assert not near[3, 5]


def test_the_nearest_box_is_pointed_at_and_classes_do_not_mix():
    boxes = torch.tensor([[1.0, 1.0], [9.0, 1.0]])
    heat, offsets, _ = bev_targets(boxes, torch.tensor([0, 2]), _cells(2, 5, 2.0), classes=3)
    assert heat[0, 0, 0] == 1.0
    assert heat[2, 0, 4] == 1.0
    assert (heat == 1.0).sum() == 2
    torch.testing.assert_close(offsets[0, 0], torch.tensor([0.0, -2.0, -4.0, 2.0, 0.0]))


def test_without_boxes_there_is_nothing_to_find():
    heat, _, near = bev_targets(
        torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), _cells(2, 3, 1.0), classes=4
    )
    assert heat.abs().sum() == 0
    assert not near.any()


# Looking along x: u = 16 - 10 y / x, v = 8 - 10 z / x; a token is 4 px of a 16 x 32 image.
LOOK = torch.tensor([[16.0, -10, 0, 0], [8.0, 0, -10, 0], [1.0, 0, 0, 0], [0, 0, 0, 1.0]])


def _camera_heat(boxes, labels):
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 9)
    return camera_targets(
        boxes, torch.tensor(labels, dtype=torch.long), LOOK[None], (16.0, 32.0), (4, 8), classes=3
    )[0]


def test_corners_of_a_turned_box():
    # Length 4 along y after a quarter turn, width 2 along x, height 2.
    box = torch.tensor([[10.0, 4.0, 1.0, 4.0, 2.0, 2.0, math.pi / 2, 0.0, 0.0]])
    (corners,) = box_corners(box)
    torch.testing.assert_close(corners.amin(dim=0), torch.tensor([9.0, 2.0, 0.0]))
    torch.testing.assert_close(corners.amax(dim=0), torch.tensor([11.0, 6.0, 2.0]))


def test_every_token_on_a_box_has_its_class():
    # Corners at x = 8 and 12, y and z = +-4: the near face spans u = 11 to 21 and v = 3 to 13.
    heat = _camera_heat([[10.0, 0.0, 0.0, 4.0, 8.0, 8.0, 0.0, 0.0, 0.0]], [2])
    # Token centres at 4 i + 2 px: columns 3 (14) and 4 (18); rows 1 (6) and 2 (10).
    assert heat.nonzero().tolist() == [[2, 1, 3], [2, 1, 4], [2, 2, 3], [2, 2, 4]]


def test_a_box_smaller_than_a_token_is_seen_at_its_centre():
    # u = 16 - 4.1 = 11.9, v = 8: no token centre is inside, its own token is (row 2, column 2).
    heat = _camera_heat([[10.0, 4.1, 0.0, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0]], [1])
    assert heat.nonzero().tolist() == [[1, 2, 2]]


def test_the_nearest_box_hides_what_is_behind():
    far = [20.0, 0.0, 0.0, 2.0, 24.0, 8.0, 0.0, 0.0, 0.0]
    near = [10.0, 0.0, 0.0, 2.0, 4.0, 4.0, 0.0, 0.0, 0.0]
    heat = _camera_heat([far, near], [0, 1])
    assert not (heat[0] * heat[1]).any()
    # The near one: y = +-2 at x = 9, u from 13.8 to 18.2: both middle columns.
    assert heat[1].nonzero().tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert heat[0, 1].tolist() == [0, 0, 1, 0, 0, 1, 0, 0]


def test_what_is_behind_or_beside_the_camera_is_not_seen():
    size = [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]
    assert not _camera_heat([[-10.0, 0.0, 0.0, *size], [10.0, 40.0, 0.0, *size]], [1, 0]).any()
    assert _camera_heat([], []).shape == (3, 4, 8)


def test_losses_are_finite_reach_the_maps_and_scale_with_the_weight():
    meta = {"lidar2img": torch.eye(4).repeat(2, 1, 1).numpy(), "pad_shape": [(16, 32, 3)] * 2}
    boxes = [torch.tensor([[3.0, 3, 1, 4, 2, 2, 0, 0, 0]]), torch.zeros(0, 9)]
    labels = [torch.tensor([1]), torch.zeros(0, dtype=torch.long)]
    bev = torch.randn(2, 8, 6, 6, requires_grad=True)
    camera = torch.randn(4, 8, 4, 8, requires_grad=True)
    sums = []
    for weight in (1.0, 3.0):
        torch.manual_seed(0)
        module = DenseSupervision(8, 10, (-9.0, -9.0, -5.0, 9.0, 9.0, 3.0), weight)
        losses = module(bev, camera, boxes, labels, [meta, meta])
        assert sorted(losses) == ["loss_dense_bev", "loss_dense_camera", "loss_dense_offset"]
        sums.append(sum(losses.values()))
    assert sums[1].item() == pytest.approx(3.0 * sums[0].item(), rel=1e-5)
    sums[0].backward()
    assert bev.grad.abs().sum() > 0
    assert camera.grad.abs().sum() > 0
