"""Each query's windows: the keys near it in the BEV map and in the cameras that see it.

Letters: B samples, V views, Q queries, S window slots (BEV slots first), R camera windows a query,
W = 1 + R windows a query, w window size.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from aqr_exp.aqr import SlotIndex, SlotMask
from aqr_exp.aqr.layout import QueryCells, TokenLayout

VIEW_POLICIES = ("first", "all")


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowGrid:
    """Windows by their places, as `gather_windows` takes them: where a key lies can be computed."""

    places: QueryCells
    layout: TokenLayout
    bev_size: int
    camera_size: int
    view_policy: str

    def __post_init__(self) -> None:
        maps = (
            ("BEV", self.bev_size, self.layout.bev_size),
            ("camera", self.camera_size, self.layout.camera_size),
        )
        for name, size, (rows, columns) in maps:
            if size < 1:
                raise ValueError(f"the {name} window must be at least 1 cell wide, not {size}")
            if size > max(rows, columns):
                raise ValueError(
                    f"the {name} window of {size} cells is larger than its map "
                    f"of {rows} x {columns} cells: at most {max(rows, columns)}"
                )
        if self.view_policy not in VIEW_POLICIES:
            raise ValueError(
                f"unknown view policy {self.view_policy!r}: one of {', '.join(VIEW_POLICIES)}"
            )
        views = self.places.seen.shape[1]
        if views != self.layout.views:
            raise ValueError(f"the places are of {views} views, the layout of {self.layout.views}")

    @cached_property
    def corner(self) -> Int[Tensor, "batch queries windows 3"]:
        """(map, row, column) of each window's first cell, BEV window first.

        The map is 0 for the BEV, 1 + v for view v, and -1 where the query has not that window. Rows
        and columns may lie beyond the border of the map.
        """
        cells, view, has_window = _camera_windows(self.places, self.view_policy)
        bev_map = torch.where(self.places.bev_inside, 0, -1)[..., None]
        return torch.cat(
            (
                _corners(self.places.bev[:, :, None], bev_map, self.bev_size),
                _corners(cells, torch.where(has_window, view + 1, -1), self.camera_size),
            ),
            dim=2,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """The keys in each query's windows. A key occurs at most once among a query's valid slots.

    Attributes:
        index: Key indices in token order; 0 where invalid.
        valid: False for slots beyond a border, or of a window that a query has not.
        offset: [S, 2] (row, column) offset in cells of each slot from the cell of its query.
        lidar_slots: How many slots, the first ones, are BEV cells; the others are camera tokens.
        keys: How many keys there are in all.
        grid: Where the windows lie; None where slots are of no square window.
    """

    index: SlotIndex
    valid: SlotMask
    offset: Int[Tensor, "slots 2"]
    lidar_slots: int
    keys: int
    grid: WindowGrid | None = None


def window_offsets(size: int, device: torch.device | None = None) -> Int[Tensor, " size"]:
    """Offsets of a window's cells along one axis.

    They are -(w // 2) .. w // 2 for an odd size w; -w / 2 + 1 .. w / 2 for an even one, which
    reaches one cell further ahead than back.

    Raises:
        ValueError: If the size is below 1.
    """
    if size < 1:
        raise ValueError(f"a window must be at least 1 cell wide, not {size}")
    first = -((size - 1) // 2)
    return torch.arange(first, first + size, device=device)


def gather_windows(
    places: QueryCells,
    layout: TokenLayout,
    *,
    bev_size: int,
    camera_size: int,
    view_policy: str,
    full_within_m: float = 0.0,
) -> Windows:
    """Find the keys in each query's windows, clipped at the borders of the maps.

    A query off the BEV map has no BEV window; one that no camera sees has no camera window.

    Args:
        bev_size: Cells along each side of the BEV window.
        camera_size: Tokens along each side of a camera window.
        view_policy: "first": a window in the first view that sees the query; "all": one in every
            such view, in slots for as many views as see one query of the batch (at least one).
        full_within_m: Up to this depth a camera window has its whole side; beyond it full_within_m /
            depth of it, as an object's picture has, rounded to whole tokens, halves up, and at least
            one. The other slots are invalid, as beyond a border. 0: every window has its whole side.

    Raises:
        ValueError: If a size is below 1 or larger than the longer side of its map (the shorter
            one clips), the policy is unknown, the places are of another number of views, or windows
            are to shrink with a depth that is not known.
    """
    grid = WindowGrid(
        places=places, layout=layout, bev_size=bev_size, camera_size=camera_size,
        view_policy=view_policy,
    )  # fmt: skip
    row, column, valid = _square_cells(places.bev, places.bev_inside, bev_size, *layout.bev_size)
    bev_index = layout.bev_key(row, column)

    cells, view, has_window = _camera_windows(places, view_policy)
    row, column, camera_valid = _square_cells(cells, has_window, camera_size, *layout.camera_size)
    camera_index = layout.camera_key(view[..., None, None], row, column)
    if full_within_m > 0.0:
        camera_valid = camera_valid & _shrunk(places, view, camera_size, full_within_m)

    bev_offset, camera_offset = (
        _square(size, places.bev.device) for size in (bev_size, camera_size)
    )
    # [B, Q, w, w] and [B, Q, R, w, w] -> [B, Q, S]
    index = torch.cat((bev_index.flatten(2), camera_index.flatten(2)), dim=-1)
    valid = torch.cat((valid.flatten(2), camera_valid.flatten(2)), dim=-1)
    return Windows(
        index=index.masked_fill(~valid, 0),
        valid=valid,
        offset=torch.cat((bev_offset, camera_offset.repeat(view.shape[-1], 1))),
        lidar_slots=bev_size**2,
        keys=layout.keys,
        grid=grid,
    )


def _square(size: int, device: torch.device) -> Int[Tensor, "cells 2"]:
    """(row, column) offsets of a square window, row-major."""
    offsets = window_offsets(size, device)
    return torch.cartesian_prod(offsets, offsets).view(-1, 2)


def _camera_windows(
    places: QueryCells, view_policy: str
) -> tuple[
    Float[Tensor, "batch queries windows 2"],
    Int[Tensor, "batch queries windows"],
    Bool[Tensor, "batch queries windows"],
]:
    """Cell and view of each camera window of each query, and whether the query has that window."""
    seen = places.seen.transpose(1, 2)  # [B, Q, V]
    # The r-th window is in the r-th view that sees the query: a stable sort puts those views first.
    order = seen.to(torch.uint8).argsort(dim=-1, descending=True, stable=True)
    most = int(seen.sum(-1).amax()) if view_policy == "all" and seen.numel() else 1
    view = order[..., : max(most, 1)]
    cells = places.camera.transpose(1, 2)  # [B, Q, V, 2]
    return cells.take_along_dim(view[..., None], dim=2), view, seen.gather(-1, view)


def _shrunk(
    places: QueryCells, view: Int[Tensor, "batch queries windows"], size: int, full_within_m: float
) -> Bool[Tensor, "batch queries windows {size} {size}"]:
    """The cells that are left of each camera window: those of a smaller window around the same cell."""
    if places.depth_m is None:
        raise ValueError(f"full_within_m={full_within_m}: the places have no depths")
    depth_m = places.depth_m.transpose(1, 2).gather(-1, view)
    # Where unseen the depth is zero and the window, which is none, keeps its side.
    side = (size * full_within_m / depth_m + 0.5).floor().clamp(1, size)[..., None]
    offset = window_offsets(size, depth_m.device)
    kept = (offset >= -((side - 1) // 2)) & (offset <= side // 2)
    return kept[..., None] & kept[..., None, :]


def _corners(
    cells: Float[Tensor, "batch queries windows 2"],
    map_number: Int[Tensor, "batch queries windows"],
    size: int,
) -> Int[Tensor, "batch queries windows 3"]:
    """Map, row and column of each window's first cell."""
    first = int(window_offsets(size)[0])
    return torch.cat((map_number[..., None], cells.floor().long() + first), dim=-1)


def _square_cells(
    cells: Float[Tensor, "*windows 2"],
    has_window: Bool[Tensor, "*windows"],
    size: int,
    rows: int,
    columns: int,
) -> tuple[
    Int[Tensor, "*windows size 1"],
    Int[Tensor, "*windows 1 size"],
    Bool[Tensor, "*windows size size"],
]:
    """Rows and columns of the cells of each window, and which of the cells exist.

    What depends on the row or the column alone is found for them alone: that is a window's side and
    not its square.
    """
    cell = cells.floor().long()[..., None]
    row, column = (cell + window_offsets(size, cells.device)).unbind(-2)
    on_rows = (row >= 0) & (row < rows) & has_window[..., None]
    on_columns = (column >= 0) & (column < columns)
    return row[..., None], column[..., None, :], on_rows[..., None] & on_columns[..., None, :]
