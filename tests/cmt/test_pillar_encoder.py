import torch

from aqr_exp.cmt.lidar_branch import PillarEncoder

RANGE = (-4.0, -4.0, -2.0, 4.0, 4.0, 2.0)


def make(channels=4):
    encoder = PillarEncoder(
        out_channels=channels, voxel_size=(1.0, 2.0, 4.0), point_cloud_range=RANGE
    )
    torch.nn.init.normal_(encoder.norm.weight)
    torch.nn.init.normal_(encoder.norm.bias)
    return encoder


def pillars():
    features = torch.zeros(2, 3, 5)
    features[0, 0] = torch.tensor([0.2, 1.0, 0.5, 51.0, 0.1])
    features[0, 1] = torch.tensor([0.8, 0.4, -0.5, 102.0, 0.2])
    features[1, 0] = torch.tensor([-3.5, -3.0, 1.0, 255.0, 0.0])
    return features, torch.tensor([2, 1]), torch.tensor([[0, 0, 2, 4], [1, 0, 0, 0]])


def test_decoration_by_hand():
    encoder = make(11)
    torch.nn.init.eye_(encoder.linear.weight)
    encoder.eval()
    torch.nn.init.ones_(encoder.norm.weight)
    torch.nn.init.zeros_(encoder.norm.bias)
    features, counts, cells = pillars()
    got = encoder(features, counts, cells)
    # Mean of the first pillar (.5, .7, 0), centre of cell (4, 2, 0): (.5, 1, 0).
    first = [0.2 / 4, 1.0 / 4, 0.5 / 2, 0.2, 0.1, -0.3, 0.15, 0.125, -0.3, 0.0, 0.125]
    second = [0.8 / 4, 0.4 / 4, -0.5 / 2, 0.4, 0.2, 0.3, -0.15, -0.125, 0.3, -0.3, -0.125]
    scale = 1 / (1 + 1e-3) ** 0.5
    wanted = torch.tensor([first, second]).max(dim=0).values.relu() * scale
    torch.testing.assert_close(got[0], wanted, atol=1e-6, rtol=0)


def test_more_padding_changes_nothing():
    encoder = make().eval()
    features, counts, cells = pillars()
    wider = torch.cat((features, torch.zeros(2, 4, 5)), dim=1)
    assert torch.equal(encoder(features, counts, cells), encoder(wider, counts, cells))


def test_statistics_are_of_real_points_only():
    encoder = make()
    features, counts, cells = pillars()
    encoder.train()(features, counts, cells)
    torch.testing.assert_close(encoder.norm.num_batches_tracked, torch.tensor(1))
    one = encoder(features[1:], counts[1:], cells[1:])
    assert torch.isfinite(one).all()  # a single point has no variance
    assert encoder.norm.num_batches_tracked == 1
