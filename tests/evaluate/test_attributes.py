import pytest

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import CLASS_NAMES


@pytest.mark.parametrize(
    ("name", "speed", "attribute"),
    [
        ("car", 0.2, "vehicle.parked"),
        ("car", 0.21, "vehicle.moving"),
        ("bus", 0.0, "vehicle.stopped"),
        ("pedestrian", 0.0, "pedestrian.standing"),
        ("pedestrian", 1.3, "pedestrian.moving"),
        ("bicycle", 3.0, "cycle.with_rider"),
        ("motorcycle", 0.1, "cycle.without_rider"),
        ("barrier", 9.0, ""),
        ("traffic_cone", 9.0, ""),
    ],
)
def test_the_speed_rule(name, speed, attribute):
    assert NUSCENES.classes[CLASS_NAMES.index(name)].attribute(speed) == attribute


def test_every_attribute_is_one_the_benchmark_knows():
    from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES

    given = {each.attribute(speed) for each in NUSCENES.classes for speed in (0.0, 5.0)}
    assert given - {""} <= set(ATTRIBUTE_NAMES)
    assert len(given) == 8
