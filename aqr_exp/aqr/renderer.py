"""From every query's weights to a weight map over the BEV and one over each view.

Letters: B samples, V views, Q queries, N maps, H and W rows and columns of a map.
The last axis of weights is (lidar, camera).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from aqr_exp.aqr import Pairs, check_name
from aqr_exp.aqr.layout import QueryCells, TokenLayout

# The gaussian is cut off here, where it has fallen to 0.011.
_REACH_SIGMAS = 3.0
# Added to a distance in cells, so that a query right at a cell's centre gives that cell nearly all.
_DISTANCE_EPS = 1e-6

_Spread = tuple[Tensor, Tensor]
"""Of each query the cells it acts on, row * W + column, and the share of each: both [N, Q, n]."""


class WeightRenderer(nn.Module):
    """Adds up what all queries put on the cells around them.

    A query at the continuous cell p, in cell o = floor(p), puts on the cell c, whose centre is at
    c + 0.5, its weight times:

    - `gaussian`: exp(-|c - o|^2 / (2 sigma^2)) where no axis of c - o exceeds ceil(3 sigma); 1 on
      its own cell.
    - `bilinear`: the product over both axes of 1 - |p - (c + 0.5)|, on the four cells whose centres
      are nearest. Within half a cell of the border p is moved onto the outermost centres, so that
      nothing falls off the map.
    - `direct`: 1 on its own cell alone.
    - `distance`: a share of the 3 x 3 cells around o that are on the map, in proportion to
      1 / (|p - (c + 0.5)| + 1e-6).

    Distances are in cells. The shares of `bilinear`, `direct` and `distance` add up to 1; those of
    `gaussian` to about 2 pi sigma^2. In the sum over the queries, what is below the threshold (and
    with it all that is negative) becomes 0, and what is above the maximum becomes the maximum; both
    carry no gradient. Cells that no query reaches are 0.

    Args:
        sigma_cells: Width of the gaussian in cells or tokens of the map; the others ignore it.
        threshold: Least value in a map that is kept.
        maximum: Largest value of a map.

    Raises:
        ValueError: If the method is unknown, or a number is out of its range.
    """

    def __init__(
        self, *, method: str, sigma_cells: float, threshold: float = 0.01, maximum: float = 1.5
    ) -> None:
        super().__init__()
        check_name("method", method, METHODS)
        if not 0.0 < sigma_cells < math.inf:
            raise ValueError(f"sigma_cells={sigma_cells}: must be a positive number of cells")
        if not 0.0 <= threshold < maximum < math.inf:
            raise ValueError(
                f"threshold={threshold}, maximum={maximum}: must be finite, the threshold at least 0 "
                "and below the maximum"
            )
        self.method = method
        self.sigma_cells = sigma_cells
        self.threshold = threshold
        self.maximum = maximum

    def forward(
        self, weights: Pairs, places: QueryCells, layout: TokenLayout
    ) -> tuple[
        Float[Tensor, "batch 1 rows columns"], Float[Tensor, "images 1 img_rows img_columns"]
    ]:
        """Render.

        A query off the BEV map puts nothing there; its camera weight goes to every view that sees
        it, and nowhere if none does.

        Returns:
            The BEV map, and the maps of all views, [B V, 1, H, W], view by view within a sample; in
            single precision or better whatever the weights' type.

        Raises:
            ValueError: If the places are of other queries or views.
        """
        if weights.shape[:2] != places.bev.shape[:2] or places.seen.shape[1] != layout.views:
            raise ValueError(
                f"places of {tuple(places.bev.shape[:2])} queries and {places.seen.shape[1]} views "
                f"do not fit {tuple(weights.shape[:2])} queries and {layout.views} views"
            )
        weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
        # Half of the precision would lose the small weights in the sum over many queries.
        with torch.autocast(weights.device.type, enabled=False):
            lidar, camera = weights.unbind(dim=-1)
            on_views = camera[:, None].expand(-1, layout.views, -1), places.camera, places.seen
            camera, cells, seen = (part.flatten(0, 1) for part in on_views)
            return (
                self._map(lidar, places.bev, places.bev_inside, *layout.bev_size),
                self._map(camera, cells, seen, *layout.camera_size),
            )

    def _map(
        self,
        weight: Float[Tensor, "maps queries"],
        place: Float[Tensor, "maps queries 2"],
        on_map: Bool[Tensor, "maps queries"],
        rows: int,
        columns: int,
    ) -> Float[Tensor, "maps 1 {rows} {columns}"]:
        cells, shares = METHODS[self.method](place.to(weight.dtype), rows, columns)
        values = shares * weight.masked_fill(~on_map, 0.0)[..., None]
        total = weight.new_zeros(len(weight), rows * columns)
        total = total.scatter_add(1, cells.flatten(1), values.flatten(1)).view(-1, 1, rows, columns)
        if self.method == "gaussian":
            total = _blur(total, self.sigma_cells)
        return total.masked_fill(total < self.threshold, 0.0).clamp(max=self.maximum)


def _own_cell(place: Float[Tensor, "maps queries 2"], _rows: int, columns: int) -> _Spread:
    """All on the cell that the query is in."""
    row, column = place.floor().long().unbind(-1)
    return (row * columns + column)[..., None], torch.ones_like(place[..., :1])


def _four_nearest(place: Float[Tensor, "maps queries 2"], rows: int, columns: int) -> _Spread:
    """Bilinear shares of the four nearest centres."""
    last = place.new_tensor([rows - 1, columns - 1])
    from_first = (place - 0.5).clamp(min=0.0)
    low = from_first.floor()
    part = from_first - low
    # [N, Q, 2 (row, column), 2 (low, high)]; beyond the last centre both are the last cell.
    cell = torch.stack((low, (low + 1.0).minimum(last)), dim=-1).long()
    share = torch.stack((1.0 - part, part), dim=-1)
    cells = cell[..., 0, :, None] * columns + cell[..., 1, None, :]
    return cells.flatten(-2), (share[..., 0, :, None] * share[..., 1, None, :]).flatten(-2)


def _nine_around(place: Float[Tensor, "maps queries 2"], rows: int, columns: int) -> _Spread:
    """Shares of the cells around the query's own, in inverse proportion to the distance."""
    steps = torch.arange(-1, 2, device=place.device)
    around = torch.cartesian_prod(steps, steps)
    cell: Int[Tensor, "maps queries nine 2"] = place.floor().long()[..., None, :] + around
    distance = (cell.to(place.dtype) + 0.5 - place[..., None, :]).norm(dim=-1)
    row, column = cell.unbind(-1)
    on_map = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
    share = (1.0 / (distance + _DISTANCE_EPS)).masked_fill(~on_map, 0.0)
    cells = (row * columns + column).masked_fill(~on_map, 0)
    return cells, share / share.sum(dim=-1, keepdim=True)


METHODS: dict[str, Callable[[Tensor, int, int], _Spread]] = {
    # Its blur acts on the map, once for all queries.
    "gaussian": _own_cell,
    "bilinear": _four_nearest,
    "direct": _own_cell,
    "distance": _nine_around,
}


def _blur(total: Float[Tensor, "maps 1 rows columns"], sigma_cells: float) -> Tensor:
    """Convolve with a gaussian whose peak is 1, along the rows and then along the columns."""
    down, across = (_band(size, sigma_cells, total) for size in total.shape[2:])
    return down @ total @ across


def _band(size: int, sigma_cells: float, like: Tensor) -> Float[Tensor, "{size} {size}"]:
    """A convolution along one axis as a matrix: what each cell gets from each other."""
    step = torch.arange(size, device=like.device, dtype=like.dtype)
    distance = (step[:, None] - step).abs()
    gaussian = (-distance.square() / (2.0 * sigma_cells**2)).exp()
    return gaussian.masked_fill(distance > math.ceil(_REACH_SIGMAS * sigma_cells), 0.0)
