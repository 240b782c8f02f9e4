"""The tokens that are keys: their order, and their places on the feature maps.

BEV cells come first, row-major (y, x); camera tokens follow by view, row, column. This is the only
place that turns a cell into a key index.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aqr_exp.aqr import Pairs, Points, Projections

# Said twice because the tests' type checker does not take an int for a float.
_Pair = tuple[int | float, int | float]

# A cell or a tensor of cells: the arithmetic is the same.
_Index = TypeVar("_Index", int, Tensor)


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """The two feature maps whose cells are the keys.

    Attributes:
        bev_rows, bev_columns: Rows (y) and columns (x) of the BEV map.
        bev_origin_m: (x, y) of the outer corner of cell (0, 0), metres in the LiDAR frame.
        bev_pitch_m: (x, y) size of a cell in metres: voxel size times stride, which is the true
            size even where the position encoding assumes another (the published r50 grid).
        views: Cameras.
        camera_rows, camera_columns: Rows and columns of one view's feature map.
        image_size_px: (height, width) of the padded network input.
    """

    bev_rows: int
    bev_columns: int
    bev_origin_m: _Pair
    bev_pitch_m: _Pair
    views: int
    camera_rows: int
    camera_columns: int
    image_size_px: _Pair

    def __post_init__(self) -> None:
        for name in ("bev_rows", "bev_columns", "views", "camera_rows", "camera_columns"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("bev_pitch_m", "image_size_px"):
            if not all(0 < size < math.inf for size in getattr(self, name)):
                raise ValueError(f"{name} must be positive and finite, not {getattr(self, name)}")
        if not all(map(math.isfinite, self.bev_origin_m)):
            raise ValueError(f"bev_origin_m must be finite, not {self.bev_origin_m}")

    @property
    def bev_size(self) -> tuple[int, int]:
        """(rows, columns) of the BEV map."""
        return self.bev_rows, self.bev_columns

    @property
    def camera_size(self) -> tuple[int, int]:
        """(rows, columns) of one view's map."""
        return self.camera_rows, self.camera_columns

    @property
    def bev_keys(self) -> int:
        """BEV tokens; also the index of the first camera token."""
        return self.bev_rows * self.bev_columns

    @property
    def keys(self) -> int:
        """All tokens."""
        return self.bev_keys + self.views * self.camera_rows * self.camera_columns

    @property
    def camera_pitch_px(self) -> tuple[float, float]:
        """(height, width) in pixels of the image patch of a camera token."""
        height_px, width_px = self.image_size_px
        return height_px / self.camera_rows, width_px / self.camera_columns

    def bev_key(self, row: _Index, column: _Index) -> _Index:
        """The key index of a BEV cell, or of each of a tensor of cells."""
        return row * self.bev_columns + column

    def camera_key(self, view: _Index, row: _Index, column: _Index) -> _Index:
        """The key index of a camera token, or of each of a tensor of tokens."""
        return self.bev_keys + (view * self.camera_rows + row) * self.camera_columns + column


@dataclass(frozen=True, eq=False)
class QueryCells:
    """Continuous cells of queries: cell r covers [r, r + 1), so `floor` names the cell.

    Attributes:
        bev: [B, Q, 2] (row, column) in BEV cells, float32; zero where the query is off the map.
        bev_inside: [B, Q] True where the query is on the BEV map.
        camera: [B, V, Q, 2] (row, column) in camera tokens, float32; zero where unseen.
        seen: [B, V, Q] True where the query is in front of the camera and inside its image.
        depth_m: [B, V, Q] along each camera's axis, float32; zero where unseen, None where unknown.
    """

    bev: Pairs
    bev_inside: Bool[Tensor, "batch queries"]
    camera: Float[Tensor, "batch views queries 2"]
    seen: Bool[Tensor, "batch views queries"]
    depth_m: Float[Tensor, "batch views queries"] | None = None


def locate_queries(points_m: Points, lidar2img: Projections, layout: TokenLayout) -> QueryCells:
    """Find the cells of points. No gradient flows through the result.

    The far borders belong to no cell: a point at the last row's end, or at u = width, is outside.
    So is a point that is not finite.

    Args:
        points_m: Metres in the LiDAR frame (the augmented scene's, while training).
        lidar2img: From there to pixels of the network's input, all augmentation included.

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
        *layout.bev_size,
    )
    turn, shift = matrices[..., :3, :3], matrices[..., None, :3, 3]
    projected = points[:, None] @ turn.transpose(-1, -2) + shift
    depth = projected[..., 2]
    camera, seen = _inside(
        projected[..., [1, 0]] / depth[..., None] / points.new_tensor(layout.camera_pitch_px),
        *layout.camera_size,
        depth > 0,
    )
    depth_m = depth.float().masked_fill(~seen, 0.0)
    return QueryCells(bev=bev, bev_inside=bev_inside, camera=camera, seen=seen, depth_m=depth_m)


def _inside(
    cells: Float[Tensor, "*places 2"],
    rows: int,
    columns: int,
    allowed: Bool[Tensor, "*places"] | None = None,
) -> tuple[Float[Tensor, "*places 2"], Bool[Tensor, "*places"]]:
    """Mask of places on a map (and allowed), and the places in float32, zero elsewhere."""
    # Rounded before the test: a double just under the last border may round up onto it.
    cells = cells.float()
    row, column = cells.unbind(-1)
    inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    if allowed is not None:
        inside &= allowed
    return torch.where(inside[..., None], cells, torch.zeros_like(cells)), inside
