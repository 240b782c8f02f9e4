"""Windows around a query: their settings, their sides in cells of a model's maps, and their rules."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aqr_exp.config.schema.constraints import DefaultBefore, Range
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.errors import Fault

WindowUnit = Literal["cells", "metric"]
ViewPolicy = Literal["first", "all"]
"""Views that get a window when several see a query: the first, or each."""


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """A square window in the BEV and one in the camera maps.

    Attributes:
        bev: Side in the BEV: whole cells, or metres when the unit is metric.
        camera: Side in a view: whole tokens, or pixels of the network's input when metric.
        unit: Unit of the sides; metric ones are rounded to whole cells.
        view_policy: Views that get a window among those that see a query.
        full_within_m: Depth up to which a camera window has its side; beyond it the side shrinks as an
            object's picture does. 0: no window shrinks.
    """

    bev: float
    camera: float
    unit: WindowUnit
    view_policy: ViewPolicy
    full_within_m: Annotated[float, Range(0.0, 1000.0), DefaultBefore(0.0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class FeatureMap:
    """One of the maps whose cells are the keys.

    Attributes:
        name: For messages.
        rows: Cells along y, or down an image.
        columns: Cells along x, or across an image.
        pitch: (row, column) size of a cell.
        unit: Unit of the pitch.
    """

    name: str
    rows: int
    columns: int
    pitch: tuple[float, float]
    unit: str


def bev_map(model: ModelConfig) -> FeatureMap:
    """The BEV map; its pitch is the true one, voxel size times stride, in metres."""
    lidar = model.lidar
    return FeatureMap(
        name="BEV map",
        rows=lidar.grid_size[1] // lidar.stride,
        columns=lidar.grid_size[0] // lidar.stride,
        pitch=(lidar.voxel_size_m[1] * lidar.stride, lidar.voxel_size_m[0] * lidar.stride),
        unit="m",
    )


def camera_map(model: ModelConfig) -> FeatureMap:
    """The map of one view; its pitch is in pixels of the network's input."""
    image = model.image
    return FeatureMap(
        name="camera map",
        rows=image.height_px // image.stride,
        columns=image.width_px // image.stride,
        pitch=(float(image.stride), float(image.stride)),
        unit="px",
    )


def window_arguments(window: WindowConfig, model: ModelConfig) -> dict[str, Any]:
    """Arguments of `gather_windows` for a window on a model's maps.

    Args:
        window: One that keeps the rules below.

    Returns:
        Sides in whole cells, metric ones rounded to the nearest number, halves up.
    """
    return {
        "bev_size": _cells(window.bev, window.unit, bev_map(model)),
        "camera_size": _cells(window.camera, window.unit, camera_map(model)),
        "view_policy": window.view_policy,
        "full_within_m": window.full_within_m,
    }


def window_faults(window: WindowConfig, key: str, model: ModelConfig) -> Iterator[Fault]:
    """One fault for each side that does not fit the model's maps."""
    # The camera first: its map is the smaller one.
    for name, side, map_ in (
        ("camera", window.camera, camera_map(model)),
        ("bev", window.bev, bev_map(model)),
    ):
        fault = _side_fault(side, window.unit, map_)
        if fault:
            yield Fault(f"{key}.{name}", f"{side:g}", fault, about=(f"{key}.unit",))


def _side_fault(side: float, unit: WindowUnit, map_: FeatureMap) -> str | None:
    if unit == "cells" and (side < 1 or side != int(side)):
        return "must be a whole number of cells, at least 1"
    if unit == "metric" and min(map_.pitch) > 0:
        if not math.isclose(*map_.pitch):
            sides = " x ".join(f"{pitch:g}" for pitch in map_.pitch)
            return f"the cells of the {map_.name} are not square ({sides} {map_.unit}): use cells"
        # 0.1 x 8 is a hair more than 0.8: that must not refuse a window of 0.8 m.
        if side < map_.pitch[0] * (1 - 1e-9):
            return (
                f"must be at least one cell of the {map_.name}, {map_.pitch[0]:g} {map_.unit} wide"
            )
    cells = _cells(side, unit, map_) if min(map_.pitch) > 0 else 0  # else another rule names it
    # The shorter side of a map clips a window, as its borders do.
    if cells > max(map_.rows, map_.columns):
        given = "" if unit == "cells" else f"{cells} cells are "
        size = f"{map_.rows} x {map_.columns} cells (rows x columns)"
        return f"{given}larger than the model's {map_.name} of {size}"
    return None


def _cells(side: float, unit: WindowUnit, map_: FeatureMap) -> int:
    if unit == "cells":
        return int(side)
    return math.floor(side / map_.pitch[0] + 0.5)
