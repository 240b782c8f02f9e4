"""Auxiliary supervision of the feature maps themselves, for models that train for minutes.

The published detector learns its features only through what the decoder's attention passes back. Two
1 x 1 convolutions teach them directly: one must find object centres in the BEV map, one must say which
class each camera token looks at. They are used in training alone, and not at all where the weight is 0.

Letters: B samples, V views, C width, K classes, G ground-truth boxes, H and W rows and columns of a
feature map.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aqr_exp.aqr import BevMap, CameraMaps
from aqr_exp.cmt import encodings
from aqr_exp.cmt.ranks import step_count

_PRIOR_LOGIT = -3.0
_SIGMA_CELLS = 0.6
_OFFSET_RADIUS_M = 4.0
_OFFSET_WEIGHT = 0.5
_EPSILON = 1e-4
_NEAREST_M = 0.5


def centre_focal_loss(
    logits: Float[Tensor, "*shape"], heat: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """Focal loss on centre heat maps (CornerNet, Law and Deng, ECCV 2018, eq. 1; alpha 2, beta 4).

    Args:
        heat: Targets in [0, 1]; exactly 1 at a centre.

    Returns:
        The sum over the number of centres, at least 1; of the mean rank in a training of several.
    """
    probability = logits.sigmoid().clamp(_EPSILON, 1.0 - _EPSILON)
    centre = heat == 1.0
    hit = (1.0 - probability).square() * probability.log()
    miss = (1.0 - heat).pow(4) * probability.square() * (1.0 - probability).log()
    return -torch.where(centre, hit, miss).sum() / step_count(centre.sum())


def bev_targets(
    centres_m: Float[Tensor, "boxes 2"],
    labels: Int[Tensor, " boxes"],
    cells_m: Float[Tensor, "rows columns 2"],
    classes: int,
) -> tuple[Float[Tensor, "classes rows columns"], Float[Tensor, "2 rows columns"], Tensor]:
    """Heat and offsets that one sample's BEV map should show.

    Args:
        centres_m: Box centres (x, y).
        cells_m: Centres of the map's cells (x, y).

    Returns:
        Heat: a gaussian of 0.6 cells around each centre, 1 in the cell nearest to it. Offsets (x, y),
        metres, from each cell to the nearest box centre. Mask [H, W]: whether one is within 4 m.
    """
    rows, columns, _ = cells_m.shape
    heat = cells_m.new_zeros(classes, rows, columns)
    offsets = cells_m.new_zeros(2, rows, columns)
    if not len(centres_m):
        return heat, offsets, cells_m.new_zeros(rows, columns, dtype=torch.bool)
    apart = centres_m[:, None, None] - cells_m  # G, H, W, 2
    squared = apart.square().sum(dim=-1)
    pitch = (cells_m[0, 1, 0] - cells_m[0, 0, 0]).abs()
    bumps = (-squared / (2.0 * (_SIGMA_CELLS * pitch) ** 2)).exp()
    nearest_cell = squared.flatten(1).argmin(dim=1)
    bumps.flatten(1)[torch.arange(len(bumps)), nearest_cell] = 1.0
    heat.scatter_reduce_(0, labels[:, None, None].expand(-1, rows, columns), bumps, reduce="amax")
    distance, box = squared.min(dim=0)
    offsets = apart.gather(0, box[None, :, :, None].expand(1, -1, -1, 2))[0].permute(2, 0, 1)
    return heat, offsets, distance < _OFFSET_RADIUS_M**2


def box_corners(boxes: Float[Tensor, "boxes 9"]) -> Float[Tensor, "boxes 8 3"]:
    """Corners of boxes (x, y, z, l, w, h, yaw, ...), gravity centre, in their frame, metres."""
    signs = torch.cartesian_prod(*[boxes.new_tensor([-0.5, 0.5])] * 3)
    local = signs * boxes[:, None, 3:6]
    sine, cosine = boxes[:, None, 6].sin(), boxes[:, None, 6].cos()
    x = local[..., 0] * cosine - local[..., 1] * sine
    y = local[..., 0] * sine + local[..., 1] * cosine
    return torch.stack((x, y, local[..., 2]), dim=-1) + boxes[:, None, :3]


def camera_targets(
    boxes: Float[Tensor, "boxes 9"],
    labels: Int[Tensor, " boxes"],
    lidar2img: Float[Tensor, "views 4 4"],
    image_size_px: tuple[float, float],
    map_size: tuple[int, int],
    classes: int,
) -> Float[Tensor, "views classes rows columns"]:
    """Heat that one sample's camera maps should show: 1 for the class of the box a token looks at.

    Every token on an object says what it is, not only the one at its centre: a query looks about its
    reference point, which is seldom right at a centre.

    Args:
        boxes: Boxes in the LiDAR frame, gravity centre.
        lidar2img: Projections, after augmentation.
        image_size_px: Padded (height, width).
        map_size: (H, W).

    Returns:
        1 where the centre of a token lies in a box's rectangle around its corners, or where the box's own
        centre lies in the token; of several boxes the nearest is seen.
    """
    rows, columns = map_size
    heat = boxes.new_zeros(len(lidar2img), classes, rows, columns)
    if not len(boxes):
        return heat
    scale = boxes.new_tensor([columns / image_size_px[1], rows / image_size_px[0]])
    points = torch.cat((box_corners(boxes), boxes[:, None, :3]), dim=1)
    pixels = points @ lidar2img[:, None, :3, :3].transpose(-1, -2) + lidar2img[:, None, None, :3, 3]
    depth = pixels[..., 2]
    place = pixels[..., :2] / depth.clamp(min=_NEAREST_M)[..., None] * scale  # V, G, 9, (u, v)
    low, high = place[:, :, :8].amin(dim=2), place[:, :, :8].amax(dim=2)
    centre = place[:, :, 8].floor()
    grid = torch.stack(
        torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), dim=-1
    ).to(boxes)
    middle = grid + 0.5
    inside = (middle >= low[:, :, None, None]) & (middle <= high[:, :, None, None])
    covered = inside.all(dim=-1) | (grid == centre[:, :, None, None]).all(dim=-1)
    covered &= (depth[..., 8] > _NEAREST_M)[..., None, None]
    distance = torch.where(covered, depth[:, :, 8, None, None], torch.inf)
    nearest, box = distance.min(dim=1)
    view, row, column = nearest.isfinite().nonzero(as_tuple=True)
    heat[view, labels[box[view, row, column]], row, column] = 1.0
    return heat


class DenseSupervision(nn.Module):
    """Finds object centres in the BEV map and the classes that camera tokens look at.

    Args:
        point_cloud_range: (x, y, z, x, y, z) in metres.
    """

    def __init__(
        self, width: int, classes: int, point_cloud_range: Sequence[float], weight: float
    ) -> None:
        super().__init__()
        self.classes = classes
        self.point_cloud_range = tuple(point_cloud_range)
        self.weight = weight
        self.bev = nn.Conv2d(width, classes + 2, 1)
        self.camera = nn.Conv2d(width, classes, 1)
        for layer in (self.bev, self.camera):
            assert layer.bias is not None  # noqa: S101 - Conv2d has one by default
            nn.init.constant_(layer.bias[:classes], _PRIOR_LOGIT)

    def forward(
        self,
        bev: BevMap,
        camera: CameraMaps,
        boxes: Sequence[Float[Tensor, "_ 9"]],
        labels: Sequence[Int[Tensor, " _"]],
        metas: Sequence[Mapping[str, Any]],
    ) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            boxes: Ground truth of each sample, gravity-centred.
            metas: With `lidar2img` and `pad_shape` of each sample.

        Returns:
            `loss_dense_bev`, `loss_dense_offset` and `loss_dense_camera`.
        """
        low, high = self.point_cloud_range[:2], self.point_cloud_range[3:5]
        cells = encodings.bev_cell_centres(bev.shape[2], bev.shape[3], bev.device)
        cells = cells * (cells.new_tensor(high) - cells.new_tensor(low)) + cells.new_tensor(low)
        cells = cells.view(bev.shape[2], bev.shape[3], 2)
        image_size_px = encodings.padded_image_size(metas)
        lidar2img, _ = encodings.projection_matrices(metas, bev.device)
        size = (int(camera.shape[2]), int(camera.shape[3]))
        above, views = [], []
        for box, label, projections in zip(boxes, labels, lidar2img, strict=True):
            above.append(bev_targets(box[:, :2], label, cells, self.classes))
            views.append(camera_targets(box, label, projections, image_size_px, size, self.classes))
        heat, offset, near = (torch.stack(part) for part in zip(*above, strict=True))
        found = self.bev(bev)
        mask = near[:, None].to(bev.dtype)
        apart = (found[:, self.classes :] - offset).abs() * mask
        offset_loss = _OFFSET_WEIGHT * (apart.sum() / step_count(mask.sum()))
        return {
            "loss_dense_bev": self.weight * centre_focal_loss(found[:, : self.classes], heat),
            "loss_dense_offset": self.weight * offset_loss,
            "loss_dense_camera": self.weight
            * centre_focal_loss(self.camera(camera), torch.cat(views)),
        }
