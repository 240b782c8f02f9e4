"""From key indices back to cells and to the ground or image patches they stand for, on numpy.

Letters: n keys, V views.
"""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray


@runtime_checkable
class TokenGrid(Protocol):
    """What is asked of `aqr_exp.aqr.layout.TokenLayout`, without importing torch."""

    @property
    def bev_rows(self) -> int: ...  # noqa: D102 - described where it is defined
    @property
    def bev_columns(self) -> int: ...  # noqa: D102
    @property
    def bev_origin_m(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def bev_pitch_m(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def views(self) -> int: ...  # noqa: D102
    @property
    def camera_rows(self) -> int: ...  # noqa: D102
    @property
    def camera_columns(self) -> int: ...  # noqa: D102
    @property
    def image_size_px(self) -> tuple[float, float]: ...  # noqa: D102
    @property
    def bev_keys(self) -> int: ...  # noqa: D102
    @property
    def keys(self) -> int: ...  # noqa: D102
    @property
    def camera_pitch_px(self) -> tuple[float, float]: ...  # noqa: D102


def bev_cells(layout: TokenGrid, keys: Int[NDArray[Any], " n"]) -> Int[NDArray[Any], "n 2"]:
    """(row, column) of BEV keys.

    Args:
        layout: The feature maps.
        keys: Indices of BEV tokens.

    Returns:
        The cells.
    """
    return np.stack((keys // layout.bev_columns, keys % layout.bev_columns), axis=-1)


def camera_cells(layout: TokenGrid, keys: Int[NDArray[Any], " n"]) -> Int[NDArray[Any], "n 3"]:
    """(view, row, column) of camera keys.

    Args:
        layout: The feature maps.
        keys: Indices of camera tokens, among all keys.

    Returns:
        The tokens' places.
    """
    row, column = np.divmod(keys - layout.bev_keys, layout.camera_columns)
    return np.stack((row // layout.camera_rows, row % layout.camera_rows, column), axis=-1)


def split_by_sensor(
    layout: TokenGrid, keys: Int[NDArray[Any], " n"]
) -> tuple[Int[NDArray[Any], " bev"], Int[NDArray[Any], " camera"]]:
    """Places in `keys` of the BEV tokens and of the camera tokens.

    Raises:
        ValueError: A key is none of the layout's; names it.
    """
    unknown = keys[(keys < 0) | (keys >= layout.keys)]
    if unknown.size:
        raise ValueError(f"key {unknown[0]} is none of the {layout.keys} keys")
    lidar = keys < layout.bev_keys
    return np.flatnonzero(lidar), np.flatnonzero(~lidar)


def bev_corners_m(layout: TokenGrid, cells: Int[NDArray[Any], "n 2"]) -> Float[NDArray[Any], "n 2"]:
    """(x, y) of the corner with the lowest x and y of BEV cells, metres in the LiDAR frame."""
    pitch = np.array(layout.bev_pitch_m)
    return np.asarray(np.array(layout.bev_origin_m) + cells[:, ::-1] * pitch)


def camera_corners_px(
    layout: TokenGrid, cells: Int[NDArray[Any], "n 3"]
) -> Float[NDArray[Any], "n 2"]:
    """(u, v) of the upper left corner of camera tokens' patches, pixels of the network's input."""
    height_px, width_px = layout.camera_pitch_px
    return np.asarray(cells[:, :0:-1] * np.array([width_px, height_px]))


def value_map(
    rows: int, columns: int, cells: Int[NDArray[Any], "n 2"], values: Float[NDArray[Any], " n"]
) -> Float[NDArray[Any], "{rows} {columns}"]:
    """A map that holds values at cells and NaN elsewhere."""
    filled = np.full((rows, columns), np.nan)
    filled[cells[:, 0], cells[:, 1]] = values
    return filled
