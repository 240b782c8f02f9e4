import math

import numpy as np
import pytest

from aqr_exp.synth.lidar import GROUND, Solids, cast_rays, relative_poses, scan
from aqr_exp.synth.plan import CLEAR, RAIN
from aqr_exp.synth.rig import BEAM_ELEVATIONS_DEG

HEIGHT_M = 1.84


def solids(boxes: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> Solids:
    return Solids(
        owner=np.arange(len(boxes)),
        low=np.array([low for low, _ in boxes], dtype=float).reshape(-1, 3),
        high=np.array([high for _, high in boxes], dtype=float).reshape(-1, 3),
        reflectivity=np.full(len(boxes), 0.5),
    )


def one_ray(scene: Solids, poses: list[tuple[float, ...]], azimuth: float, slope: float):
    azimuths = azimuth + np.arange(8) * math.pi / 4
    distance, block = cast_rays(scene, np.array(poses), HEIGHT_M, azimuths, np.array([slope]))
    return distance[0, 0], block[0, 0]


def test_ground_and_sky_by_hand() -> None:
    empty = solids([])
    assert one_ray(empty, np.zeros((0, 3)), 0.0, -0.184) == (pytest.approx(10.0), GROUND)
    distance, block = one_ray(empty, np.zeros((0, 3)), 0.0, 0.1)
    assert (distance, block) == (math.inf, GROUND)


def test_wall_by_hand() -> None:
    wall = solids([((-0.5, -3.0, 0.0), (0.5, 3.0, 2.0))])
    # Front face at x = 9.5; level and rising rays up to the top edge hit it, higher ones pass.
    assert one_ray(wall, [(10.0, 0.0, 0.0)], 0.0, 0.0) == (pytest.approx(9.5), 0)
    assert one_ray(wall, [(10.0, 0.0, 0.0)], 0.0, 0.15 / 9.5) == (pytest.approx(9.5), 0)
    assert one_ray(wall, [(10.0, 0.0, 0.0)], 0.0, 0.17 / 9.5)[0] == math.inf
    # Turned by a right angle its short side looks at the sensor: x = 7.
    assert one_ray(wall, [(10.0, 0.0, math.pi / 2)], 0.0, 0.0) == (pytest.approx(7.0), 0)
    # Before the wall's foot the ground comes first.
    assert one_ray(wall, [(10.0, 0.0, 0.0)], 0.0, -0.184 * 2)[1] == GROUND


def test_low_box_is_hit_on_its_top() -> None:
    # The ray comes down to 0.84 m above the ground at 10 m, inside the stretch 8 to 14 m.
    box = solids([((-3.0, -1.0, 0.0), (3.0, 1.0, 0.84))])
    assert one_ray(box, [(11.0, 0.0, 0.0)], 0.0, -0.1) == (pytest.approx(10.0), 0)


def test_ray_passes_under_a_tree_crown() -> None:
    crown = solids([((-2.0, -2.0, 2.5), (2.0, 2.0, 5.0))])
    assert one_ray(crown, [(10.0, 0.0, 0.0)], 0.0, -0.05)[1] == GROUND
    # Rising, it enters from below at 2.5 m: 0.66 m up at slope .08 is 8.25 m away.
    assert one_ray(crown, [(10.0, 0.0, 0.0)], 0.0, 0.08) == (pytest.approx(8.25), 0)


def test_a_wall_hides_what_is_behind_it() -> None:
    scene = solids([((-0.5, -0.5, 0.0), (0.5, 0.5, 1.7)), ((-0.2, -4.0, 0.0), (0.2, 4.0, 3.0))])
    poses = np.array([(14.0, 0.0, 0.0), (8.0, 0.0, 0.0)])
    azimuths = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    slopes = np.tan(np.deg2rad(BEAM_ELEVATIONS_DEG))
    _, block = cast_rays(scene, poses, HEIGHT_M, azimuths, slopes)
    assert (block == 1).sum() > 100
    assert (block == 0).sum() == 0
    _, block = cast_rays(scene, poses * [[1], [-1]], HEIGHT_M, azimuths, slopes)
    assert (block == 0).sum() > 10


def _plain(scene: Solids, poses: np.ndarray, azimuth: float, slope: float) -> tuple[float, int]:
    """One ray against every box in three dimensions, one after the other."""
    best, which = (HEIGHT_M / -slope, GROUND) if slope < 0 else (math.inf, GROUND)
    for index in range(len(scene.owner)):
        x, y, heading = poses[scene.owner[index]]
        cos, sin = math.cos(heading), math.sin(heading)
        origin = (-cos * x - sin * y, sin * x - cos * y, HEIGHT_M)
        ray = (math.cos(azimuth - heading), math.sin(azimuth - heading), slope)
        enter, leave = 0.0, math.inf
        for axis in range(3):
            low, high = scene.low[index, axis], scene.high[index, axis]
            if ray[axis] == 0.0:
                if not low <= origin[axis] <= high:
                    enter = math.inf
                continue
            one, two = (low - origin[axis]) / ray[axis], (high - origin[axis]) / ray[axis]
            enter, leave = max(enter, min(one, two)), min(leave, max(one, two))
        if enter <= leave and enter < best:
            best, which = enter, index
    return best, which


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    boxes, poses = [], []
    for _ in range(25):
        low = np.array([*rng.uniform(-3, -0.1, 2), rng.uniform(0, 2)])
        boxes.append((tuple(low), tuple(low + rng.uniform(0.3, 6, 3))))
        away, angle = rng.uniform(9, 40), rng.uniform(-np.pi, np.pi)
        poses.append((away * np.cos(angle), away * np.sin(angle), rng.uniform(-7, 7)))
    scene, placed = solids(boxes), np.array(poses)
    azimuths = -np.pi + 2 * np.pi / 90 * (np.arange(90) + 0.37)
    slopes = np.tan(np.deg2rad(BEAM_ELEVATIONS_DEG[::3]))
    distance, block = cast_rays(scene, placed, HEIGHT_M, azimuths, slopes)
    expected = [[_plain(scene, placed, a, s) for s in slopes] for a in azimuths]
    assert np.allclose(distance, [[ray[0] for ray in row] for row in expected])
    assert (block == [[ray[1] for ray in row] for row in expected]).all()
    assert (block >= 0).sum() > 50


def test_scan_is_noisy_but_on_the_wall_and_says_ring_and_owner() -> None:
    wall = solids([((-0.5, -3.0, 0.0), (0.5, 3.0, 4.0))])
    returns = scan(
        wall, np.array([(10.0, 0.0, 0.0)]), HEIGHT_M, 360, CLEAR, np.random.default_rng(0)
    )
    points = returns.points
    assert points.dtype == np.float32
    assert points.shape == (len(returns.owner), 5)
    on_wall = points[returns.owner == 0]
    assert len(on_wall) > 100
    assert np.abs(on_wall[:, 0] - 9.5).max() < 0.05
    assert np.abs(on_wall[:, 0] - 9.5).max() > 0.001
    elevation = np.rad2deg(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    assert np.allclose(elevation, BEAM_ELEVATIONS_DEG[points[:, 4].astype(int)], atol=1e-3)
    assert ((points[:, 3] >= 0) & (points[:, 3] <= 255)).all()


def test_rain_is_sparser_and_shorter_and_far_returns_are_lost_more_often() -> None:
    scene = solids([((-0.5, -30.0, 0.0), (0.5, 30.0, 9.0))])
    near, far = np.array([(20.0, 0.0, 0.0)]), np.array([(60.0, 0.0, 0.0)])

    def count(pose: np.ndarray, condition) -> int:
        returns = scan(scene, pose, HEIGHT_M, 720, condition, np.random.default_rng(1))
        return int((returns.owner == 0).sum())

    def rays(pose: np.ndarray) -> int:
        azimuths = -np.pi + 2 * np.pi / 720 * (np.arange(720) + 0.5)
        slopes = np.tan(np.deg2rad(BEAM_ELEVATIONS_DEG))
        return int((cast_rays(scene, pose, HEIGHT_M, azimuths, slopes)[1] == 0).sum())

    assert count(near, RAIN) < 0.75 * count(near, CLEAR)
    assert count(far, RAIN) == 0
    assert count(far, CLEAR) / rays(far) < 0.8 < 0.95 < count(near, CLEAR) / rays(near)


def test_relative_poses_by_hand() -> None:
    # Seen from (10, 10) heading north, a thing at (8, 13) heading west is 3 m ahead, 2 m left.
    seen = relative_poses(np.array([(8.0, 13.0, math.pi)]), np.array([10.0, 10.0, math.pi / 2]))
    assert seen[0] == pytest.approx([3.0, 2.0, math.pi / 2])
