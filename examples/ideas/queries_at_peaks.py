"""Query selection: some queries start where the LiDAR's features are strongest."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from aqr_exp.ideas import BevMap, CameraMaps, Idea, Points, Range, Settings


@dataclass(frozen=True, kw_only=True)
class QueriesAtPeaks(Settings):
    """Settings.

    Attributes:
        share: Share of the queries that are moved, the last ones.
        apart: Side in cells of the square of which only the strongest cell is taken.
    """

    share: Annotated[float, Range(0.0, 1.0)] = 0.25
    apart: Annotated[int, Range(1, 15)] = 3


class QueriesAtPeaksModule(Idea):
    off = {"variant.share": 0.0}

    def reference_points(self, points: Points, bev: BevMap, camera: CameraMaps) -> Tensor:
        moved = round(self.settings.share * points.shape[1])
        if moved == 0:
            return points
        rows, columns = bev.shape[-2:]
        heat = bev.detach().float().norm(dim=1, keepdim=True)
        pad = self.settings.apart // 2
        around = functional.max_pool2d(heat, 2 * pad + 1, stride=1, padding=pad)
        peaks = torch.where(heat == around, heat, -1.0).flatten(1).topk(moved).indices
        x = (peaks % columns + 0.5) / columns
        y = (torch.div(peaks, columns, rounding_mode="floor") + 0.5) / rows
        kept, last = points[:, :-moved], points[:, -moved:]
        return torch.cat((kept, torch.stack((x, y, last[..., 2]), dim=-1)), dim=1)
