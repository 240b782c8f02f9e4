import dataclasses

import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.synth.actors import Actor, Block, Motion, Size
from aqr_exp.synth.camera import Picture, build_view, draw, light_at, noise_tile, through_lens
from aqr_exp.synth.lidar import poses_at, relative_poses
from aqr_exp.synth.plan import CLEAR, NIGHT, RAIN, Weather
from aqr_exp.synth.polygons import NEAR_M, clip_polygon, guard_planes, stack_polygons
from aqr_exp.synth.rig import Mount, build_rig
from aqr_exp.synth.road import Road, paint_ground
from aqr_exp.synth.sets import SETS
from aqr_exp.synth.settings import SynthSettings
from aqr_exp.synth.traffic import build_world

WIDTH, HEIGHT = 240, 135
SETTINGS = SynthSettings(image_width=WIDTH, image_height=HEIGHT)
ROAD = Road(x=0.0, y=0.0, heading=0.0, curvature=0.0)
EGO = np.zeros(3)


def box_actor(x: float, y: float, size: Size, colour: tuple[int, int, int]) -> Actor:
    block: Block = size.block((-1, 1), (-1, 1), (0, 1), colour, 0.5)
    return Actor(
        kind=SETS["synth"].kinds[0],
        category="vehicle.car",
        attribute="",
        size=size,
        blocks=(block,),
        motion=Motion(s=x, d=y),
    )


def front() -> Mount:
    return build_rig(SETTINGS, 0)["CAM_FRONT"]


def picture_of(actors: tuple[Actor, ...], mount: Mount, condition: Weather = CLEAR) -> Picture:
    return draw(
        build_view(mount, WIDTH, HEIGHT, condition),
        actors,
        stack_polygons(actors),
        poses_at(actors, ROAD, 0.0),
        paint_ground(200.0, np.random.default_rng(0)),
        ROAD,
        EGO,
        condition,
    )


def project(mount: Mount, point: tuple[float, float, float]) -> np.ndarray:
    camera = np.linalg.inv(mount.sensor2ego) @ [*point, 1.0]
    assert mount.intrinsic is not None
    pixel = mount.intrinsic @ camera[:3]
    return np.asarray(pixel[:2] / pixel[2])


CAR = Size(length=4.0, width=2.0, height=1.6)
WALL = Size(length=0.4, width=8.0, height=4.0)
RED, BLUE = (0, 0, 250), (250, 0, 0)


def test_box_lands_where_the_matrices_put_it() -> None:
    mount = front()
    result = picture_of((box_actor(15.0, 1.0, CAR, RED),), mount)
    rows, columns = np.nonzero(result.owners == 0)
    # The rear face (x = 13) is all that is seen besides slivers of side; corners by the matrices.
    low = project(mount, (13.0, 2.0, 0.0))
    high = project(mount, (13.0, 0.0, 1.6))
    assert columns.min() == pytest.approx(low[0], abs=1.0)
    assert columns.max() + 1 == pytest.approx(high[0], abs=1.5)
    assert rows.max() + 1 == pytest.approx(low[1], abs=1.0)
    u, v = project(mount, (15.0, 1.0, 0.8)).astype(int)
    blue, green, red = result.image[v, u]
    assert red > 120
    assert blue < 60
    assert green < 60
    assert result.drawn[0] == len(rows)


def test_a_wall_hides_what_is_behind_it_and_nothing_else() -> None:
    wall, car = box_actor(10.0, 0.0, WALL, BLUE), box_actor(20.0, 0.0, CAR, RED)
    hidden = picture_of((car, wall), front())
    assert (hidden.owners == 1).sum() > 500
    assert (hidden.owners == 0).sum() == 0
    assert hidden.drawn[0] > 50
    behind = box_actor(30.0, 0.0, WALL, BLUE)
    shown = picture_of((car, behind), front())
    assert (shown.owners == 0).sum() == shown.drawn[0] == hidden.drawn[0]


def _owner_by_ray(mount: Mount, actors: tuple[Actor, ...], poses: np.ndarray, pixel) -> int:
    """Which actor a pixel's ray meets first: every block in three dimensions, one by one."""
    assert mount.intrinsic is not None
    ray = mount.rotation.rotation_matrix @ np.linalg.inv(mount.intrinsic) @ [*pixel, 1.0]
    best, which = np.inf, -1
    for index, actor in enumerate(actors):
        x, y, heading = poses[index]
        cos, sin = np.cos(heading), np.sin(heading)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        origin = turn @ (np.asarray(mount.place_m) - [x, y, 0.0])
        direction = turn @ ray
        for block in actor.blocks:
            one = (np.asarray(block.low) - origin) / direction
            two = (np.asarray(block.high) - origin) / direction
            enter, leave = np.minimum(one, two).max(), np.maximum(one, two).min()
            if 0 < enter <= leave and enter < best:
                best, which = enter, index
    return which


@pytest.mark.parametrize("seed", range(3))
def test_whole_scenes_agree_with_ray_casting(seed: int) -> None:
    road = Road(x=0.0, y=0.0, heading=0.4, curvature=[0.0, 1 / 120, -1 / 150][seed])
    world = build_world(road, 3, np.random.default_rng(seed))
    ego = world.ego.poses(road, np.array([0.5]))[0]
    poses = relative_poses(poses_at(world.actors, road, 0.5), ego)
    polygons = stack_polygons(world.actors)
    ground = paint_ground(0.0, np.random.default_rng(0))
    rng = np.random.default_rng(seed)
    same = total = 0
    for name in CAMERA_NAMES:
        mount = build_rig(SETTINGS, 0)[name]
        view = build_view(mount, WIDTH, HEIGHT, CLEAR)
        result = draw(view, world.actors, polygons, poses, ground, road, ego, CLEAR)
        for _ in range(60):
            u, v = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
            same += (
                _owner_by_ray(mount, world.actors, poses, (u + 0.5, v + 0.5)) == result.owners[v, u]
            )
            total += 1
    # What differs are pixels that an edge runs through.
    assert same / total > 0.97


def test_a_box_across_the_image_plane_is_clipped_not_garbled() -> None:
    # A long bus beside the camera reaches from behind it to far ahead.
    mount = front()
    bus = box_actor(6.0, 3.2, Size(length=12.0, width=2.6, height=3.2), RED)
    result = picture_of((bus,), mount)
    columns = np.nonzero((result.owners == 0).any(axis=0))[0]
    far_end = project(mount, (12.0, 1.9, 1.5))[0]
    assert columns.min() == 0
    assert columns.max() + 1 == pytest.approx(far_end, abs=1.5)
    assert (result.owners[:, -1] == -1).all()


def test_clip_polygon_by_hand() -> None:
    square = np.array([(-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 0.0, 2.0), (-1.0, 0.0, 2.0)])
    kept = clip_polygon(square, np.array([(0.0, 0.0, 1.0, -NEAR_M)]))
    assert len(kept) == 4
    assert kept[:, 2].min() == pytest.approx(NEAR_M)
    assert kept[:, 2].max() == 2.0
    assert clip_polygon(square - [0, 0, 9], np.array([(0.0, 0.0, 1.0, -NEAR_M)])).shape == (0, 3)
    intrinsic = np.array([[200.0, 0.0, 120.0], [0.0, 200.0, 70.0], [0.0, 0.0, 1.0]])
    wide = clip_polygon(square * [900, 1, 1], guard_planes(intrinsic, WIDTH, HEIGHT))
    pixels = wide[:, 0] / wide[:, 2] * 200
    assert np.abs(pixels).max() == pytest.approx(3 * WIDTH)


def test_drawing_does_not_depend_on_the_order_of_actors() -> None:
    actors = (
        box_actor(10.0, 2.0, CAR, RED),
        box_actor(14.0, -1.0, WALL, BLUE),
        box_actor(25.0, 1.0, CAR, RED),
    )
    one, other = picture_of(actors, front()), picture_of(actors[::-1], front())
    assert np.array_equal(one.image, other.image)


def test_night_is_dark_but_for_the_headlights() -> None:
    day, night = picture_of((), front(), CLEAR), picture_of((), front(), NIGHT)
    assert night.image.mean() < 0.3 * day.image.mean()
    ahead, beside = light_at(np.array([[10.0, 0.0], [0.0, 10.0]]), NIGHT)
    assert ahead > 3 * beside
    assert beside == NIGHT.ambient
    assert (light_at(np.zeros((2, 2)), CLEAR) == 1.0).all()


def test_rain_blurs_and_noise_is_repeatable() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[:, WIDTH // 2 :] = 200

    def sharpest(condition: Weather) -> float:
        silent = dataclasses.replace(condition, image_noise=0.0, drops=0)
        rng = np.random.default_rng(0)
        seen = through_lens(image, noise_tile(HEIGHT, WIDTH, silent, rng), silent, rng)
        return float(np.abs(np.diff(seen[..., 0].astype(float), axis=1)).max())

    assert sharpest(CLEAR) == 200
    assert sharpest(RAIN) < 150
    noise = noise_tile(HEIGHT, WIDTH, NIGHT, np.random.default_rng(1))
    assert noise.std() == pytest.approx(NIGHT.image_noise, rel=0.05)
    assert abs(noise.mean()) < 0.1
    seen = [through_lens(image, noise, RAIN, np.random.default_rng(2)) for _ in range(2)]
    assert np.array_equal(*seen)


def test_ground_is_painted_at_the_road() -> None:
    # Straight below the horizon ahead of the ego is asphalt (grey), far left beyond it grass (green).
    result = picture_of((), front()).image.astype(int)
    u, v = project(front(), (12.0, -0.5, 0.0)).astype(int)
    assert np.ptp(result[v, u]) < 30
    left = build_rig(SETTINGS, 0)["CAM_FRONT_LEFT"]
    u, v = project(left, (10.0, 20.0, 0.0)).astype(int)
    blue, green, _ = picture_of((), left).image[v, u].astype(int)
    assert green > blue + 20


def test_lidar_is_no_camera() -> None:
    lidar = build_rig(SETTINGS, 0)["LIDAR_TOP"]
    with pytest.raises(ValueError, match="LIDAR_TOP is no camera"):
        build_view(lidar, WIDTH, HEIGHT, CLEAR)
