"""Catalogue of objects: the ten classes and the clutter that resembles them.

Sizes follow the real classes. Trucks, buses, trailers and construction vehicles overlap in size, as do
bicycles and motorcycles, and every class has a piece of street furniture of its shape: a LiDAR alone
finds them all and confuses them, a camera distinguishes them.
"""

from dataclasses import dataclass

Span = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of object.

    Attributes:
        name: Detection class, or the name of a piece of clutter.
        categories: nuScenes categories and their weights; empty for clutter, which is not annotated.
        length_m: Smallest and largest extent along the heading.
        width_m: Smallest and largest extent across.
        height_m: Smallest and largest height.
        count: Fewest and most in a scene.
        speed_mps: Slowest and fastest when it moves; (0, 0) for what never moves.
        reach_m: Farthest placement ahead of and behind the ego's path.
    """

    name: str
    categories: tuple[tuple[str, float], ...]
    length_m: Span
    width_m: Span
    height_m: Span
    count: tuple[int, int]
    speed_mps: Span
    reach_m: float


KINDS: tuple[Kind, ...] = (
    Kind(
        name="bus",
        categories=(("vehicle.bus.rigid", 0.8), ("vehicle.bus.bendy", 0.2)),
        length_m=(8.5, 12.0),
        width_m=(2.6, 2.95),
        height_m=(2.9, 3.6),
        count=(2, 3),
        speed_mps=(3.0, 10.0),
        reach_m=38.0,
    ),
    Kind(
        name="trailer",
        categories=(("vehicle.trailer", 1.0),),
        length_m=(8.0, 12.0),
        width_m=(2.5, 2.9),
        height_m=(3.0, 3.9),
        count=(2, 3),
        speed_mps=(3.0, 10.0),
        reach_m=38.0,
    ),
    Kind(
        name="truck",
        categories=(("vehicle.truck", 1.0),),
        length_m=(6.5, 10.5),
        width_m=(2.3, 2.8),
        height_m=(2.6, 3.5),
        count=(2, 4),
        speed_mps=(3.0, 12.0),
        reach_m=38.0,
    ),
    Kind(
        name="construction_vehicle",
        categories=(("vehicle.construction", 1.0),),
        length_m=(5.5, 8.5),
        width_m=(2.4, 2.9),
        height_m=(2.7, 3.5),
        count=(2, 3),
        speed_mps=(1.0, 4.0),
        reach_m=38.0,
    ),
    Kind(
        name="car",
        categories=(("vehicle.car", 1.0),),
        length_m=(3.9, 5.1),
        width_m=(1.7, 2.05),
        height_m=(1.45, 1.95),
        count=(5, 8),
        speed_mps=(3.0, 14.0),
        reach_m=42.0,
    ),
    Kind(
        name="motorcycle",
        categories=(("vehicle.motorcycle", 1.0),),
        length_m=(1.8, 2.3),
        width_m=(0.65, 0.9),
        height_m=(1.3, 1.6),
        count=(2, 4),
        speed_mps=(3.0, 11.0),
        reach_m=28.0,
    ),
    Kind(
        name="bicycle",
        categories=(("vehicle.bicycle", 1.0),),
        length_m=(1.6, 1.9),
        width_m=(0.55, 0.75),
        height_m=(1.2, 1.6),
        count=(2, 4),
        speed_mps=(2.0, 6.0),
        reach_m=28.0,
    ),
    Kind(
        name="pedestrian",
        categories=(
            ("human.pedestrian.adult", 0.75),
            ("human.pedestrian.child", 0.1),
            ("human.pedestrian.construction_worker", 0.15),
        ),
        length_m=(0.55, 0.85),
        width_m=(0.55, 0.8),
        height_m=(1.5, 1.95),
        count=(4, 7),
        speed_mps=(0.7, 1.8),
        reach_m=28.0,
    ),
    Kind(
        name="barrier",
        categories=(("movable_object.barrier", 1.0),),
        length_m=(0.45, 0.7),
        width_m=(1.8, 2.6),
        height_m=(0.9, 1.15),
        count=(4, 7),
        speed_mps=(0.0, 0.0),
        reach_m=24.0,
    ),
    Kind(
        name="traffic_cone",
        categories=(("movable_object.trafficcone", 1.0),),
        length_m=(0.35, 0.5),
        width_m=(0.35, 0.5),
        height_m=(0.7, 1.15),
        count=(4, 7),
        speed_mps=(0.0, 0.0),
        reach_m=24.0,
    ),
)
"""The ten detection classes, the large ones first: they are placed first."""

CLUTTER: tuple[Kind, ...] = (
    Kind(
        name="container",
        categories=(),
        length_m=(6.0, 9.0),
        width_m=(2.4, 2.7),
        height_m=(2.5, 3.2),
        count=(1, 2),
        speed_mps=(0.0, 0.0),
        reach_m=38.0,
    ),
    Kind(
        name="kiosk",
        categories=(),
        length_m=(3.5, 5.0),
        width_m=(1.7, 2.1),
        height_m=(1.5, 2.0),
        count=(1, 2),
        speed_mps=(0.0, 0.0),
        reach_m=38.0,
    ),
    Kind(
        name="planter",
        categories=(),
        length_m=(0.5, 0.7),
        width_m=(1.7, 2.4),
        height_m=(0.8, 1.2),
        count=(3, 5),
        speed_mps=(0.0, 0.0),
        reach_m=30.0,
    ),
    Kind(
        name="bin",
        categories=(),
        length_m=(0.4, 0.55),
        width_m=(0.4, 0.55),
        height_m=(0.8, 1.2),
        count=(3, 5),
        speed_mps=(0.0, 0.0),
        reach_m=30.0,
    ),
    Kind(
        name="post",
        categories=(),
        length_m=(0.45, 0.65),
        width_m=(0.45, 0.65),
        height_m=(1.5, 2.0),
        count=(3, 5),
        speed_mps=(0.0, 0.0),
        reach_m=30.0,
    ),
    Kind(
        name="rack",
        categories=(),
        length_m=(1.7, 2.2),
        width_m=(0.6, 0.8),
        height_m=(1.1, 1.4),
        count=(1, 3),
        speed_mps=(0.0, 0.0),
        reach_m=30.0,
    ),
)
"""Street furniture, drawn in greys and greens, never annotated."""

BACKGROUND: tuple[Kind, ...] = (
    Kind(
        name="building",
        categories=(),
        length_m=(12.0, 26.0),
        width_m=(8.0, 14.0),
        height_m=(5.0, 16.0),
        count=(4, 7),
        speed_mps=(0.0, 0.0),
        reach_m=70.0,
    ),
    Kind(
        name="tree",
        categories=(),
        length_m=(1.8, 3.0),
        width_m=(1.8, 3.0),
        height_m=(4.5, 7.5),
        count=(6, 10),
        speed_mps=(0.0, 0.0),
        reach_m=60.0,
    ),
)
"""Objects that close the view at both sides of the road."""
