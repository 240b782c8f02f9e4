import torch

from aqr_exp.cmt.detector import GridMask, grid_mask


def test_bars_stay_and_squares_between_them_go():
    got = grid_mask(rows=4, columns=5, period=4, row_phase=0, column_phase=1)
    wanted = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 0, 0, 1, 1], [1, 0, 0, 1, 1]]
    assert got.tolist() == wanted


def test_masking_happens_only_in_training_with_the_given_probability():
    images = torch.ones(2, 3, 16, 24)
    always = GridMask(probability=1.0)
    masked = always(images)
    assert set(masked.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(masked[0, 0], masked[1, 2])
    assert torch.equal(always.eval()(images), images)
    assert torch.equal(GridMask(probability=0.0)(images), images)


def test_masks_are_drawn_anew_from_the_seed():
    images = torch.ones(1, 1, 32, 32)

    def draws(seed):
        torch.manual_seed(seed)
        return torch.stack([GridMask(1.0)(images) for _ in range(4)])

    assert torch.equal(draws(0), draws(0))
    assert len(draws(0).flatten(1).unique(dim=0)) > 1
