"""From points to voxels, without a loop over points, and from pillars to features.

Letters: B samples, N points of all samples, M voxels of all samples, T points kept in a voxel, C
point features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from mmdet3d.registry import MODELS
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Voxels:
    """The voxels of a batch.

    Attributes:
        features: [M, T, C] points of each voxel in input order, zero-padded.
        points: [M] number of points kept in each voxel, at least 1.
        coordinates: [M, 4] (sample, z, y, x) indices.
    """

    features: Float[Tensor, "voxels kept channels"]
    points: Int[Tensor, " voxels"]
    coordinates: Int[Tensor, "voxels 4"]


class Voxelisation(nn.Module):
    """Hard voxelisation: the first T points of each of the first voxels that points reach.

    Args:
        voxel_size_m: Voxel size (x, y, z).
        point_cloud_range_m: (x, y, z, x, y, z); its lower corner is the grid's.
        grid_size: Voxels along (x, y, z); points beyond are dropped, also where the published
            grid is smaller than the range.
        max_voxels_train: Voxels kept per sample in training.
        max_voxels_test: Voxels kept per sample at evaluation.
    """

    def __init__(
        self,
        *,
        voxel_size_m: Sequence[float],
        point_cloud_range_m: Sequence[float],
        grid_size: Sequence[int],
        max_points: int,
        max_voxels_train: int,
        max_voxels_test: int,
    ) -> None:
        super().__init__()
        self.voxel_size_m = tuple(voxel_size_m)
        self.point_cloud_range_m = tuple(point_cloud_range_m)
        self.grid_size = tuple(grid_size)
        self.max_points = max_points
        self.max_voxels_train = max_voxels_train
        self.max_voxels_test = max_voxels_test

    @torch.no_grad()
    def forward(self, points: Sequence[Float[Tensor, "_ channels"]]) -> Voxels:
        """Group the points of a batch.

        Args:
            points: [n, C] of each sample, x, y, z first, metres; n may be 0.

        Returns:
            Voxels ordered by sample and first point.
        """
        counts = torch.tensor([len(sample) for sample in points], device=points[0].device)
        every = torch.cat(list(points))
        sample = torch.repeat_interleave(torch.arange(len(points), device=every.device), counts)
        cell, inside = self._cells(every)
        every, sample, cell = every[inside], sample[inside], cell[inside]
        columns, rows, levels = self.grid_size
        key = ((sample * levels + cell[:, 2]) * rows + cell[:, 1]) * columns + cell[:, 0]
        ordered, order = torch.sort(key, stable=True)
        _, size = torch.unique_consecutive(ordered, return_counts=True)
        start = torch.cumsum(size, 0) - size
        # Points of a voxel stay in input order: the sort is stable.
        voxel = torch.repeat_interleave(torch.arange(len(size), device=key.device), size)
        rank = torch.arange(len(key), device=key.device) - start[voxel]

        first = order[start]  # the input position of each voxel's first point
        arrival = torch.argsort(first)
        kept = arrival[self._within_quota(sample[first[arrival]], len(points))]
        place = torch.full_like(size, -1)
        place[kept] = torch.arange(len(kept), device=key.device)

        keep = (rank < self.max_points) & (place[voxel] >= 0)
        features = every.new_zeros(len(kept), self.max_points, every.shape[1])
        features[place[voxel[keep]], rank[keep]] = every[order[keep]]
        anchor = first[kept]
        return Voxels(
            features=features,
            points=size[kept].clamp(max=self.max_points),
            coordinates=torch.cat((sample[anchor, None], cell[anchor].flip(1)), dim=1),
        )

    def _cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Voxel index (x, y, z) of each point, and True where it lies inside the grid."""
        low = points.new_tensor(self.point_cloud_range_m[:3])
        cell = torch.floor((points[:, :3] - low) / points.new_tensor(self.voxel_size_m))
        limit = torch.tensor(self.grid_size, device=points.device)
        inside = ((cell >= 0) & (cell < limit)).all(dim=1)
        return torch.where(inside[:, None], cell, 0.0).long(), inside

    def _within_quota(self, sample: Tensor, batch: int) -> Tensor:
        """True for the first voxels of each sample; voxels come ordered by sample."""
        quota = self.max_voxels_train if self.training else self.max_voxels_test
        count = torch.bincount(sample, minlength=batch)
        first = torch.cumsum(count, 0) - count
        return torch.arange(len(sample), device=sample.device) - first[sample] < quota


POINT_FEATURES = 5
_DECORATED = POINT_FEATURES + 6
_INTENSITY_MAX = 255.0


@MODELS.register_module()
class PillarEncoder(nn.Module):
    """Decorated points through linear, batch norm, the maximum over each pillar, and ReLU.

    A point's 11 numbers are scaled to be of order one: position over the range, intensity over
    255, time in seconds, offset from the mean of its pillar's points and from the pillar's centre
    over the pillar's size.

    Args:
        voxel_size: Pillar size (x, y, z) in metres.
        point_cloud_range: (x, y, z, x, y, z) in metres.
    """

    def __init__(
        self,
        *,
        out_channels: int,
        voxel_size: Sequence[float],
        point_cloud_range: Sequence[float],
    ) -> None:
        super().__init__()
        self.voxel_size = tuple(voxel_size)
        self.point_cloud_range = tuple(point_cloud_range)
        self.linear = nn.Linear(_DECORATED, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=1e-3, momentum=0.01)

    def forward(
        self,
        features: Float[Tensor, "pillars slots 5"],
        num_points: Int[Tensor, " pillars"],
        coors: Int[Tensor, "pillars 4"],
    ) -> Float[Tensor, "pillars channels"]:
        """Encode.

        Args:
            features: (x, y, z, intensity, time) of each pillar's points, zero-padded.
            num_points: Points in each pillar, at least 1.
            coors: (sample, z, y, x) index of each pillar.
        """
        slots = torch.arange(features.shape[1], device=features.device)
        pillar = torch.repeat_interleave(
            torch.arange(len(num_points), device=features.device), num_points
        )
        points = features[slots < num_points[:, None]]  # N, 5; pillar by pillar
        decorated = self._decorate(features, num_points, coors, points, pillar)
        encoded = self.linear(decorated)
        if self.training and len(points) == 1 and isinstance(self.norm, nn.BatchNorm1d):
            # The statistics of one point are no statistics: use the running ones.
            encoded = nn.functional.batch_norm(
                encoded, self.norm.running_mean, self.norm.running_var, self.norm.weight,
                self.norm.bias, eps=self.norm.eps,
            )  # fmt: skip
        else:
            encoded = self.norm(encoded)
        return torch.segment_reduce(encoded, "max", lengths=num_points, axis=0).relu()

    def _decorate(
        self, features: Tensor, num_points: Tensor, coors: Tensor, points: Tensor, pillar: Tensor
    ) -> Float[Tensor, "n 11"]:
        size = points.new_tensor(self.voxel_size)
        low, high = points.new_tensor(self.point_cloud_range).view(2, 3)
        mean = features[..., :3].sum(dim=1) / num_points[:, None]
        centre = (coors[:, 1:].flip(1) + 0.5) * size + low
        xyz = points[:, :3]
        return torch.cat(
            (
                (xyz - low) / (high - low) * 2.0 - 1.0,
                points[:, 3:4] / _INTENSITY_MAX,
                points[:, 4:5],
                (xyz - mean[pillar]) / size,
                (xyz - centre[pillar]) / size,
            ),
            dim=1,
        )
