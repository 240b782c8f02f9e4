import math

import pytest
import torch

from aqr_exp.cmt.denoising import (
    DenoisingSettings,
    denoising_mask,
    make_denoising_queries,
    noised_centres,
)

RANGE = (-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)


def settings(**changes):
    defaults = {
        "groups": 10, "noise_scale": 1.0, "noise_trans_m": 0.0, "split": 0.75,
        "point_cloud_range": RANGE, "classes": 10,
    }  # fmt: skip
    return DenoisingSettings(**(defaults | changes))


def boxes(count):
    rows = torch.zeros(count, 9)
    rows[:, 0] = torch.arange(count) * 4.0
    rows[:, 3:6] = torch.tensor([4.0, 2.0, 1.0])
    return rows


def test_mask_of_two_groups_of_two_by_hand():
    got = denoising_mask(groups=2, group_slots=2, queries=3)
    wanted = [
        # group 0  group 1  learnable
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
    ]
    assert got.int().tolist() == wanted


def test_noise_moves_by_half_sizes_and_stays_in_the_range():
    rows = boxes(2)
    draws = torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.0, 1.0]])
    got = noised_centres(rows, draws, settings())
    wanted = torch.tensor([[2.0, -1.0, 0.0], [5.0, 0.0, 0.5]])
    low, high = torch.tensor(RANGE).view(2, 3)
    torch.testing.assert_close(got * (high - low) + low, wanted, atol=1e-5, rtol=0)
    for shift, edge in ((100.0, 1.0), (-100.0, 0.0)):
        far = noised_centres(
            torch.cat((rows[:, :3] + shift, rows[:, 3:]), dim=1), draws, settings()
        )
        assert far.tolist() == [[edge] * 3] * 2


def test_slots_hold_every_box_once_a_group():
    labels = [torch.tensor([3, 4, 5]), torch.tensor([6])]
    made = make_denoising_queries([boxes(3), boxes(1)], labels, 8, settings(noise_scale=0.0))
    assert made.slots == 6  # 8 // 3 = 2 groups of 3 slots
    assert made.reference.shape == (2, 6, 3)
    assert made.blocked.shape == (14, 14)
    assert made.sample.tolist() == [0, 0, 0, 1] * 2
    assert made.slot.tolist() == [0, 1, 2, 0, 3, 4, 5, 3]
    assert made.labels.tolist() == [3, 4, 5, 6] * 2
    # Without noise the references are the centres; the second sample's other slots are padding.
    x = made.reference[0, :, 0] * 108 - 54
    torch.testing.assert_close(x, torch.tensor([0.0, 4, 8] * 2), atol=1e-4, rtol=0)
    assert (made.reference[1, [1, 2, 4, 5]] == 0).all()
    assert (made.reference[1, [0, 3]] != 0).any(dim=1).all()


def test_large_noise_is_background_and_small_keeps_its_class():
    labels = torch.arange(500) % 10
    made = make_denoising_queries([boxes(500)], [labels], 500, settings())
    assert made.slots == 500
    moved = made.reference[0] * torch.tensor([108.0, 108, 8]) + torch.tensor([-54.0, -54, -5])
    inside = boxes(500)[:, 0] < 50  # beyond the range the reference is clamped
    draws = ((moved - boxes(500)[:, :3]) / torch.tensor([2.0, 1.0, 0.5]))[inside]
    background = made.labels[inside] == 10
    assert background.any()
    assert not background.all()
    assert (draws[background].norm(dim=1) > 0.749).all()
    assert (draws[~background].norm(dim=1) < 0.751).all()
    assert torch.equal(made.labels[inside][~background], labels[inside][~background])


def test_noise_comes_from_torch_s_seed():
    def references(seed):
        torch.manual_seed(seed)
        return make_denoising_queries([boxes(3)], [torch.zeros(3).long()], 9, settings()).reference

    assert torch.equal(references(1), references(1))
    assert not torch.equal(references(1), references(2))


@pytest.mark.parametrize(("count", "groups"), [(1, 10), (3, 6), (20, 1), (50, 1)])
def test_there_is_always_a_group_and_never_too_many(count, groups):
    made = make_denoising_queries([boxes(count)], [torch.zeros(count).long()], 20, settings())
    assert made.slots == groups * count


def test_no_ground_truth_gives_no_queries():
    nothing = torch.zeros(0, dtype=torch.long)
    assert make_denoising_queries([boxes(0)] * 2, [nothing] * 2, 9, settings()) is None


def test_boxes_are_kept_unnoised_with_their_unknown_velocities():
    rows = boxes(2)
    rows[1, 8] = math.nan
    made = make_denoising_queries([rows], [torch.zeros(2).long()], 4, settings())
    assert torch.equal(made.boxes[:2].nan_to_num(-1), rows.nan_to_num(-1))


def test_noise_reaches_as_far_on_either_side_of_every_axis():
    torch.manual_seed(0)
    rows = boxes(400)
    rows[:, 0] = 0.0
    made = make_denoising_queries([rows], [torch.zeros(400).long()], 400, settings())
    low, high = torch.tensor(RANGE).view(2, 3)
    draws = (made.reference[0] * (high - low) + low) / torch.tensor([2.0, 1.0, 0.5])
    assert (draws.abs() <= 1.0 + 1e-4).all()
    # Uniform in [-1, 1]: of 400 draws the mean has a standard deviation of 0.03.
    assert (draws.amin(dim=0) < -0.95).all()
    assert (draws.amax(dim=0) > 0.95).all()
    assert (draws.mean(dim=0).abs() < 0.15).all()
