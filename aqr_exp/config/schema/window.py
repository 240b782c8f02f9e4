"""The windows around a query: which keys of the BEV and of the views belong to its place."""

from dataclasses import dataclass
from enum import Enum


class WindowUnit(str, Enum):
    """What window sizes are given in."""

    CELLS = "cells"
    METRIC = "metric"


class ViewPolicy(str, Enum):
    """Which views get a window when several see a query: the first, or each."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class WindowConfig:
    """A square window in the BEV and one in the camera maps.

    Attributes:
        bev: Side in the BEV: whole cells, or metres when the unit is metric.
        camera: Side in a view: whole tokens, or pixels of the network's input when metric.
        unit: What the sides are given in; metric ones are rounded to whole cells.
        view_policy: Which of the views that see a query get a window.
    """

    bev: float
    camera: float
    unit: WindowUnit
    view_policy: ViewPolicy
