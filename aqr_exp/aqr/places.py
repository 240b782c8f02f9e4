"""Where queries are: in the BEV map, and in the feature map of every camera.

Letters: B samples, V views, Q queries.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aqr_exp.aqr.layout import TokenLayout


@dataclass(frozen=True, eq=False)
class QueryPlaces:
    """Continuous cells of queries: cell r covers [r, r + 1), so `floor` names the cell.

    Attributes:
        bev: [B, Q, 2] (row, column) in BEV cells, float32; zero where the query is off the map.
        bev_inside: [B, Q] True where the query is on the BEV map.
        camera: [B, V, Q, 2] (row, column) in camera tokens, float32; zero where unseen.
        seen: [B, V, Q] True where the query is in front of the camera and inside its image.
    """

    bev: Float[Tensor, "batch queries 2"]
    bev_inside: Bool[Tensor, "batch queries"]
    camera: Float[Tensor, "batch views queries 2"]
    seen: Bool[Tensor, "batch views queries"]


def locate_queries(
    points_m: Float[Tensor, "batch queries 3"],
    lidar2img: Float[Tensor, "batch views 4 4"],
    layout: TokenLayout,
) -> QueryPlaces:
    """Find the cells of points. No gradient flows through the result.

    The far borders belong to nobody: a point at the last row's end, or at u = width, is outside.
    So is a point that is not finite.

    Args:
        points_m: Metres in the LiDAR frame (the augmented scene's, while training).
        lidar2img: From there to pixels of the network's input, all augmentation included.
        layout: The feature maps.

    Returns:
        The places.

    Raises:
        ValueError: If `lidar2img` has not as many views as `layout`.
    """
    if lidar2img.shape[1] != layout.views:
        raise ValueError(f"lidar2img has {lidar2img.shape[1]} views, the layout {layout.views}")
    # Doubles, because autocast would turn a product of floats into halves, whose pixels are 1 apart.
    points, matrices = points_m.detach().double(), lidar2img.detach().double()
    bev, bev_inside = _inside(
        (points[..., [1, 0]] - points.new_tensor(layout.bev_origin_m[::-1]))
        / points.new_tensor(layout.bev_pitch_m[::-1]),
        layout.bev_rows,
        layout.bev_columns,
    )
    turn, shift = matrices[..., :3, :3], matrices[..., None, :3, 3]
    projected = points[:, None] @ turn.transpose(-1, -2) + shift
    depth = projected[..., 2]
    camera, seen = _inside(
        projected[..., [1, 0]] / depth[..., None] / points.new_tensor(layout.camera_pitch_px),
        layout.camera_rows,
        layout.camera_columns,
        depth > 0,
    )
    return QueryPlaces(bev=bev, bev_inside=bev_inside, camera=camera, seen=seen)


def _inside(
    cells: Float[Tensor, "*places 2"],
    rows: int,
    columns: int,
    allowed: Bool[Tensor, "*places"] | None = None,
) -> tuple[Float[Tensor, "*places 2"], Bool[Tensor, "*places"]]:
    """Which places are on a map (and allowed), and the places in float32, zero elsewhere."""
    # Rounded before the test: a double just under the last border may round up onto it.
    cells = cells.float()
    row, column = cells.unbind(-1)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if allowed is not None:
        inside &= allowed
    return torch.where(inside[..., None], cells, torch.zeros_like(cells)), inside
