from functools import partial

import numpy as np
import pytest

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.data.geometry import overlap as overlap_of
from aqr_exp.synth.actors import Motion, Size, footprints
from aqr_exp.synth.road import Road
from aqr_exp.synth.sets import SETS
from aqr_exp.synth.traffic import EGO_SIZE, World, attribute_of, build_world

ROADS = (
    Road(x=0.0, y=0.0, heading=0.3, curvature=0.0),
    Road(x=50.0, y=9.0, heading=2.0, curvature=1 / 120),
)

overlap = partial(overlap_of, touching=True)


@pytest.fixture(scope="module", params=range(4))
def world(request: pytest.FixtureRequest) -> World:
    seed: int = request.param
    return build_world(ROADS[seed % 2], 8, np.random.default_rng(seed))


def test_footprint_and_overlap_by_hand() -> None:
    size = Size(length=4.0, width=2.0, height=1.0)
    corners = footprints(np.array([10.0, 5.0, np.pi / 2]), size)
    assert np.allclose(corners, [[9, 7], [9, 3], [11, 3], [11, 7]])
    beside = footprints(np.array([12.1, 5.0, np.pi / 2]), size)
    assert not overlap(corners, beside)
    # The diagonal one reaches over although the axis-aligned bounds of the far one would too.
    turned = footprints(np.array([12.1, 5.0, np.pi / 4]), size)
    assert overlap(corners, turned)
    assert not overlap(corners, footprints(np.array([13.0, 9.0, np.pi / 4]), size))


def test_nothing_ever_touches(world: World) -> None:
    times = np.arange(-0.3, 3.5, 0.05)
    boxes = [
        footprints(actor.motion.poses(world.road, times), actor.size) for actor in world.actors
    ]
    ego = world.ego.poses(world.road, times)
    ego[:, :2] += 1.4 * np.stack([np.cos(ego[:, 2]), np.sin(ego[:, 2])], axis=-1)
    boxes.append(footprints(ego, EGO_SIZE))
    stacked = np.stack(boxes)
    hits = overlap(stacked[:, None], stacked[None])
    assert hits.diagonal().all()
    hits[np.arange(len(boxes)), np.arange(len(boxes))] = False
    assert not hits.any()


def test_every_class_is_there_more_than_once(world: World) -> None:
    names = [actor.kind.name for actor in world.actors if actor.category]
    assert all(names.count(name) >= 2 for name in CLASS_NAMES)


def test_what_moves_faces_where_it_goes(world: World) -> None:
    times = np.array([1.0, 1.01])
    moving = 0
    for actor in world.actors:
        poses = actor.motion.poses(world.road, times)
        step = poses[1, :2] - poses[0, :2]
        speed = np.linalg.norm(step) / 0.01
        if speed < 0.2:
            continue
        moving += 1
        ahead = np.array([np.cos(poses[0, 2]), np.sin(poses[0, 2])])
        assert step @ ahead / np.linalg.norm(step) > 0.99
    assert moving >= 5


def test_attributes_say_what_happens(world: World) -> None:
    for actor in world.actors:
        speed = np.hypot(actor.motion.speed_s, actor.motion.speed_d)
        if actor.attribute.endswith(".moving"):
            assert speed > 0.2
        if actor.attribute in {"vehicle.parked", "vehicle.stopped", "pedestrian.standing"}:
            assert speed == 0.0
        if actor.attribute.startswith("cycle."):
            assert (actor.attribute == "cycle.with_rider") == (speed > 0)
        assert bool(actor.attribute) == (
            bool(actor.category) and actor.kind.name not in {"barrier", "traffic_cone"}
        )


def test_attribute_of_a_standing_bus_and_a_parked_car() -> None:
    kinds = {kind.name: kind for kind in SETS["synth"].kinds}
    still = Motion(s=0.0, d=8.5)
    assert attribute_of(kinds["bus"], still, on_road=False, rider=False) == "vehicle.stopped"
    assert attribute_of(kinds["car"], still, on_road=False, rider=False) == "vehicle.parked"
    assert attribute_of(kinds["car"], still, on_road=True, rider=False) == "vehicle.stopped"
