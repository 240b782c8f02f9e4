"""Catalogue of objects: the ten classes and the clutter that resembles them.

Sizes follow the real classes. Trucks, buses, trailers and construction vehicles overlap in size, as do
bicycles and motorcycles, and every class has a piece of street furniture of its shape: a LiDAR alone
finds them all and confuses them, a camera distinguishes them.
"""

from dataclasses import dataclass

Span = tuple[float, float]


@dataclass(frozen=True)
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
    """

    name: str
    length_m: Span
    width_m: Span
    height_m: Span
    count: tuple[int, int]
    reach_m: float
    speed_mps: Span = (0.0, 0.0)
    like: str = ""

    @property
    def look(self) -> str:
        """The kind whose shape and places it has."""
        return self.like or self.name


KINDS: tuple[Kind, ...] = (
    Kind("bus", (8.5, 12.0), (2.6, 2.95), (2.9, 3.6), (2, 3), 38.0, (3.0, 10.0)),
    Kind("trailer", (8.0, 12.0), (2.5, 2.9), (3.0, 3.9), (2, 3), 38.0, (3.0, 10.0)),
    Kind("truck", (6.5, 10.5), (2.3, 2.8), (2.6, 3.5), (2, 4), 38.0, (3.0, 12.0)),
    Kind("construction_vehicle", (5.5, 8.5), (2.4, 2.9), (2.7, 3.5), (2, 3), 38.0, (1.0, 4.0)),
    Kind("car", (3.9, 5.1), (1.7, 2.05), (1.45, 1.95), (5, 8), 42.0, (3.0, 14.0)),
    Kind("motorcycle", (1.8, 2.3), (0.65, 0.9), (1.3, 1.6), (2, 4), 28.0, (3.0, 11.0)),
    Kind("bicycle", (1.6, 1.9), (0.55, 0.75), (1.2, 1.6), (2, 4), 28.0, (2.0, 6.0)),
    Kind("pedestrian", (0.55, 0.85), (0.55, 0.8), (1.5, 1.95), (4, 7), 28.0, (0.7, 1.8)),
    Kind("barrier", (0.45, 0.7), (1.8, 2.6), (0.9, 1.15), (4, 7), 24.0),
    Kind("traffic_cone", (0.35, 0.5), (0.35, 0.5), (0.7, 1.15), (4, 7), 24.0),
)
"""The ten detection classes, the large ones first: they are placed first."""

CLUTTER: tuple[Kind, ...] = (
    Kind("container", (6.0, 9.0), (2.4, 2.7), (2.5, 3.2), (1, 2), 38.0),
    Kind("kiosk", (3.5, 5.0), (1.7, 2.1), (1.5, 2.0), (1, 2), 38.0),
    Kind("planter", (0.5, 0.7), (1.7, 2.4), (0.8, 1.2), (3, 5), 30.0),
    Kind("bin", (0.4, 0.55), (0.4, 0.55), (0.8, 1.2), (3, 5), 30.0),
    Kind("post", (0.45, 0.65), (0.45, 0.65), (1.5, 2.0), (3, 5), 30.0),
    Kind("rack", (1.7, 2.2), (0.6, 0.8), (1.1, 1.4), (1, 3), 30.0),
)
"""Street furniture, drawn in greys and greens, never annotated."""

BACKGROUND: tuple[Kind, ...] = (
    Kind("building", (12.0, 26.0), (8.0, 14.0), (5.0, 16.0), (4, 7), 70.0),
    Kind("tree", (1.8, 3.0), (1.8, 3.0), (4.5, 7.5), (6, 10), 60.0),
)
"""Objects that close the view at both sides of the road."""

CATEGORY_WEIGHTS: dict[str, dict[str, float]] = {
    "bus": {"vehicle.bus.rigid": 0.8, "vehicle.bus.bendy": 0.2},
    "trailer": {"vehicle.trailer": 1.0},
    "truck": {"vehicle.truck": 1.0},
    "construction_vehicle": {"vehicle.construction": 1.0},
    "car": {"vehicle.car": 1.0},
    "motorcycle": {"vehicle.motorcycle": 1.0},
    "bicycle": {"vehicle.bicycle": 1.0},
    "pedestrian": {
        "human.pedestrian.adult": 0.75,
        "human.pedestrian.child": 0.1,
        "human.pedestrian.construction_worker": 0.15,
    },
    "barrier": {"movable_object.barrier": 1.0},
    "traffic_cone": {"movable_object.trafficcone": 1.0},
}
"""nuScenes categories of each detection class, drawn by weight; clutter is not annotated."""
