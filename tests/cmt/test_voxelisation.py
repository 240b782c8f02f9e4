import math
from importlib import import_module

import pytest
import torch
from mmcv.ops import Voxelization

from aqr_exp.cmt.lidar_branch import Voxelisation
from aqr_exp.mmcv_operators import StandIn


def make(max_points=3, max_voxels=100, grid=(8, 8, 2), train=7):
    return Voxelisation(
        voxel_size_m=(1.0, 1.0, 2.0), point_cloud_range_m=(-4.0, -4.0, -2.0, 4.0, 4.0, 2.0),
        grid_size=grid, max_points=max_points, max_voxels_train=train, max_voxels_test=max_voxels,
    ).eval()  # fmt: skip


def test_by_hand():
    points = torch.tensor(
        [
            [0.5, 0.5, 0.5, 1.0, 0.0],
            [-3.5, 0.5, -1.0, 2.0, 0.0],
            [0.6, 0.7, 0.1, 3.0, 0.0],
            [9.0, 0.0, 0.0, 4.0, 0.0],  # outside
        ]
    )
    got = make()([points, points[1:2]])
    assert got.coordinates.tolist() == [[0, 1, 4, 4], [0, 0, 4, 0], [1, 0, 4, 0]]
    assert got.points.tolist() == [2, 1, 1]
    assert got.features.shape == (3, 3, 5)
    assert torch.equal(got.features[0, :2], points[[0, 2]])
    assert (got.features[0, 2] == 0).all()
    assert torch.equal(got.features[2, 0], points[1])


def by_definition(points, max_points, max_voxels):
    """One point after the other: its voxel, a new one while there is room, and the point while it has."""
    voxels = {}
    for point in points.double():
        cell = [
            math.floor(x - low) for x, low in zip(point[:2].tolist(), (-4.0, -4.0), strict=True)
        ]
        cell.append(math.floor((point[2].item() + 2.0) / 2.0))
        if not all(0 <= at < size for at, size in zip(cell, (8, 8, 2), strict=True)):
            continue
        place = tuple(reversed(cell))
        if place not in voxels and len(voxels) == max_voxels:
            continue
        kept = voxels.setdefault(place, [])
        if len(kept) < max_points:
            kept.append(point)
    nothing = torch.zeros(5, dtype=torch.float64)
    padded = [
        torch.stack([*kept, *[nothing] * max_points][:max_points]) for kept in voxels.values()
    ]
    return torch.stack(padded).float(), [*voxels], [len(kept) for kept in voxels.values()]


def cloud(seed):
    """Points in and around the range, some of them on its borders."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(400, 5, generator=generator) * 10 - 5
    points[:5, :3] = torch.tensor([-4.0, -4.0, -2.0])
    points[5, 0] = 4.0
    return points


@pytest.mark.parametrize("max_voxels", [100, 20])
@pytest.mark.parametrize("seed", range(3))
def test_keeps_the_first_points_of_the_first_voxels(max_voxels, seed):
    points = cloud(seed)
    features, coordinates, counts = by_definition(points, 3, max_voxels)
    got = make(max_voxels=max_voxels)([points])
    assert got.coordinates[:, 1:].tolist() == [[*place] for place in coordinates]
    assert got.points.tolist() == counts
    assert torch.equal(got.features, features)
    assert max(counts) == 3
    assert (len(counts) == 20) == (max_voxels == 20)


@pytest.mark.skipif(
    isinstance(import_module("mmcv._ext"), StandIn), reason="mmcv's operators are not compiled here"
)
@pytest.mark.parametrize("max_voxels", [100, 20])
@pytest.mark.parametrize("seed", range(3))
def test_keeps_what_mmcv_keeps(max_voxels, seed):
    points = cloud(seed)
    stock = Voxelization(
        voxel_size=[1.0, 1.0, 2.0], point_cloud_range=[-4.0, -4.0, -2.0, 4.0, 4.0, 2.0],
        max_num_points=3, max_voxels=max_voxels, deterministic=True,
    )  # fmt: skip
    features, coordinates, counts = stock(points)
    got = make(max_voxels=max_voxels)([points])
    assert torch.equal(got.coordinates[:, 1:], coordinates.long())
    assert torch.equal(got.points, counts.long())
    assert torch.equal(got.features, features)


def test_quota_counts_per_sample_and_mode():
    points = torch.zeros(8, 5)
    points[:, 0] = torch.arange(8.0) - 3.5
    voxels = make(train=2, max_voxels=5)
    assert voxels([points, points]).coordinates[:, 0].tolist() == [0] * 5 + [1] * 5
    assert voxels.train()([points, points]).coordinates[:, 0].tolist() == [0, 0, 1, 1]


def test_empty_clouds_and_a_batch_of_them():
    nothing = torch.zeros(0, 5)
    got = make()([nothing, nothing])
    assert got.features.shape == (0, 3, 5)
    assert got.coordinates.shape == (0, 4)
    mixed = make()([nothing, torch.zeros(1, 5), nothing])
    assert mixed.coordinates.tolist() == [[1, 1, 4, 4]]


def test_all_points_at_the_origin():
    got = make()([torch.zeros(50, 5)])
    assert got.points.tolist() == [3]


def test_points_beyond_a_grid_smaller_than_the_range_are_dropped():
    points = torch.tensor([[3.5, 0.0, 0.0, 0, 0], [1.5, 0.0, 0.0, 0, 0]])
    got = make(grid=(6, 8, 2))([points])
    assert got.coordinates.tolist() == [[0, 1, 4, 5]]
