"""The tables that are the same in every nuScenes data set: categories, attributes, visibility."""

from typing import Any

from aqr_exp.data.synth.tokens import token

CATEGORIES: dict[str, str] = {
    "animal": "All animals.",
    "human.pedestrian.adult": "A grown person on foot.",
    "human.pedestrian.child": "A child on foot.",
    "human.pedestrian.construction_worker": "A person at work on a construction site.",
    "human.pedestrian.personal_mobility": "A person on a small device such as a scooter.",
    "human.pedestrian.police_officer": "A police officer.",
    "human.pedestrian.stroller": "A pushed stroller.",
    "human.pedestrian.wheelchair": "A wheelchair.",
    "movable_object.barrier": "A temporary barrier.",
    "movable_object.debris": "Something left on the road.",
    "movable_object.pushable_pullable": "Something that people push or pull.",
    "movable_object.trafficcone": "A traffic cone.",
    "static_object.bicycle_rack": "A rack for bicycles.",
    "vehicle.bicycle": "A bicycle, with or without rider.",
    "vehicle.bus.bendy": "An articulated bus.",
    "vehicle.bus.rigid": "A rigid bus.",
    "vehicle.car": "A car for a few persons.",
    "vehicle.construction": "A vehicle that works on construction sites.",
    "vehicle.emergency.ambulance": "An ambulance.",
    "vehicle.emergency.police": "A police vehicle.",
    "vehicle.motorcycle": "A motorcycle, with or without rider.",
    "vehicle.trailer": "A trailer of any kind.",
    "vehicle.truck": "A vehicle for goods.",
}
"""All 23 nuScenes categories; the synthetic scenes use those of the ten detection classes."""

ATTRIBUTES: dict[str, str] = {
    "vehicle.moving": "The vehicle moves.",
    "vehicle.stopped": "The vehicle stands, but is about to move on.",
    "vehicle.parked": "The vehicle stands for longer.",
    "cycle.with_rider": "Somebody rides it.",
    "cycle.without_rider": "Nobody rides it.",
    "pedestrian.sitting_lying_down": "The person sits or lies.",
    "pedestrian.standing": "The person stands.",
    "pedestrian.moving": "The person walks.",
}

VISIBILITIES: tuple[tuple[str, float, str], ...] = (
    ("v0-40", 0.4, "0 to 40 % of the object is seen in the six images"),
    ("v40-60", 0.6, "40 to 60 % of the object is seen in the six images"),
    ("v60-80", 0.8, "60 to 80 % of the object is seen in the six images"),
    ("v80-100", 1.01, "80 to 100 % of the object is seen in the six images"),
)
"""Level, upper bound of the visible share, meaning."""


def category_token(name: str) -> str:
    """Token of a category.

    Raises:
        ValueError: nuScenes has no such category.
    """
    if name not in CATEGORIES:
        raise ValueError(f"category {name!r} is none of nuScenes': {', '.join(CATEGORIES)}")
    return token("category", name)


def attribute_token(name: str) -> str:
    """Token of an attribute.

    Raises:
        ValueError: nuScenes has no such attribute.
    """
    if name not in ATTRIBUTES:
        raise ValueError(f"attribute {name!r} is none of nuScenes': {', '.join(ATTRIBUTES)}")
    return token("attribute", name)


def visibility_token(share: float) -> str:
    """Token of a visibility level: nuScenes numbers them "1" to "4".

    Args:
        share: Visible share of the object, 0 to 1.
    """
    return str(1 + sum(share >= upper for _, upper, _ in VISIBILITIES[:-1]))


def vocabulary_tables() -> dict[str, list[dict[str, Any]]]:
    """Rows of `category`, `attribute` and `visibility`."""
    return {
        "category": [
            {"token": category_token(name), "name": name, "description": words, "index": index}
            for index, (name, words) in enumerate(CATEGORIES.items(), start=1)
        ],
        "attribute": [
            {"token": attribute_token(name), "name": name, "description": words}
            for name, words in ATTRIBUTES.items()
        ],
        "visibility": [
            {"token": str(number), "level": level, "description": words}
            for number, (level, _, words) in enumerate(VISIBILITIES, start=1)
        ],
    }
