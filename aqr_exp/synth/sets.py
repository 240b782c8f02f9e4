"""The synthetic data sets of `sets.yaml`: their objects, their cameras, and what describes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml

from aqr_exp.config.convert import convert
from aqr_exp.config.schema.constraints import DefaultBefore, Table
from aqr_exp.config.schema.description import NUSCENES, DataDescription

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of object.

    Attributes:
        name: Detection class, or the name of a piece of clutter.
        length_m: Smallest and largest extent along the heading.
        width_m: Smallest and largest extent across.
        height_m: Smallest and largest height.
        count: Fewest and most in a scene.
        reach_m: Farthest placement ahead of and behind the ego's path.
        speed_mps: Slowest and fastest when it moves; (0, 0) for what never moves.
        like: The kind whose shape and places it has; empty for its own.
        categories: Its categories, drawn by weight; none of what is not annotated.
    """

    name: str
    length_m: Span
    width_m: Span
    height_m: Span
    count: tuple[int, int]
    reach_m: float
    speed_mps: Annotated[Span, DefaultBefore((0.0, 0.0))]
    like: Annotated[str, DefaultBefore("")]
    categories: Annotated[Table[float], DefaultBefore(Table())]

    @property
    def look(self) -> str:
        """The kind whose shape and places it has."""
        return self.like or self.name


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera: heading counter-clockwise from forward, focal length at 1600 pixels."""

    channel: str
    place_m: tuple[float, float, float]
    heading_deg: float
    focal_px: float


@dataclass(frozen=True, kw_only=True)
class SynthSet:
    """One kind of synthetic data.

    Attributes:
        kinds: Objects that are annotated, in the order in which they are placed.
        clutter: Objects that are not.
        background: Objects at both sides of the road.
        attributes: All attributes, with their descriptions.
        words: All categories, with their descriptions.
        cameras: In the order in which they are drawn.
        size_px: Width and height of the stored images.
        description: Of the classes and sensors; nuScenes' is not written.
    """

    kinds: tuple[Kind, ...]
    clutter: tuple[Kind, ...]
    background: tuple[Kind, ...]
    attributes: Table[str]
    words: Table[str]
    cameras: tuple[Camera, ...]
    size_px: tuple[int, int]
    description: DataDescription | None = None

    @property
    def described(self) -> DataDescription:
        """The classes and sensors."""
        return self.description or NUSCENES


_TEXT = Path(__file__).with_name("sets.yaml").read_text(encoding="utf-8")
SETS = {name: convert(SynthSet, values) for name, values in yaml.safe_load(_TEXT).items()}
"""By name, as `--set` takes it."""
