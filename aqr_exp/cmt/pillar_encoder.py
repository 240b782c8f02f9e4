"""From the points of pillars to pillar features, at the cost of the points that are there.

PointPillars (Lang et al., arXiv 1812.05784) with one layer. mmdet3d's `PillarFeatureNet` computes
every padded slot; most slots of most pillars are empty, and on a CPU that is the slowest part of a
small model.

Letters: M pillars of all samples, T slots of a pillar, N points kept, C output channels.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from mmdet3d.registry import MODELS
from torch import Tensor, nn

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
        out_channels: C.
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

        Returns:
            Non-negative features of each pillar.
        """
        slots = torch.arange(features.shape[1], device=features.device)
        pillar = torch.repeat_interleave(
            torch.arange(len(num_points), device=features.device), num_points
        )
        points = features[slots < num_points[:, None]]  # N, 5; pillar by pillar
        decorated = self._decorate(features, num_points, coors, points, pillar)
        encoded = self.linear(decorated)
        if self.training and len(points) == 1:
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
