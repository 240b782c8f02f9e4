import pytest
import torch

from aqr_exp.cmt.image_branch import ImageNeck


def test_coarse_map_is_added_to_the_fine_one():
    neck = ImageNeck(in_channels=[1, 1], out_channels=1)
    fine, coarse = (conv.conv for conv in neck.lateral_convs)
    smooth = neck.fpn_convs[0].conv
    with torch.no_grad():
        fine.weight.fill_(2.0)
        fine.bias.fill_(1.0)
        coarse.weight.fill_(3.0)
        coarse.bias.fill_(0.0)
        smooth.weight.zero_()
        smooth.weight[..., 1, 1] = 1.0
        smooth.weight[..., 1, 2] = 10.0  # the neighbour on the right
        smooth.bias.fill_(0.5)
    maps = [torch.arange(8.0).view(1, 1, 2, 4), torch.tensor([[[[100.0, 200.0]]]])]
    got = neck(maps)
    merged = [[1 + 300, 3 + 300, 5 + 600, 7 + 600], [9 + 300, 11 + 300, 13 + 600, 15 + 600]]
    wanted = [
        [row[i] + 10 * (row[i + 1] if i < 3 else 0) + 0.5 for i in range(4)] for row in merged
    ]
    torch.testing.assert_close(got[0, 0], torch.tensor(wanted))


def test_only_the_finest_level_has_an_output():
    neck = ImageNeck(in_channels=[4, 8], out_channels=6)
    assert len(neck.fpn_convs) == 1
    with pytest.raises(ValueError, match="expected 2 maps, got 1"):
        neck([torch.zeros(1, 4, 2, 2)])


def test_a_norm_bounds_what_comes_out():
    neck = ImageNeck(in_channels=[4, 8], out_channels=6, norm=True)
    got = neck([100.0 + 50.0 * torch.randn(3, 4, 8, 8), torch.randn(3, 8, 4, 4)])
    torch.testing.assert_close(got.mean(dim=(0, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(got.std(dim=(0, 2, 3)), torch.ones(6), atol=0.01, rtol=0)
    plain = ImageNeck(in_channels=[4, 8], out_channels=6).state_dict()
    assert set(plain) == {name for name in neck.state_dict() if ".bn." not in name} | {
        "fpn_convs.0.conv.bias"
    }
