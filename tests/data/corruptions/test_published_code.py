"""Published corruptions against numbers of the running published code, and by hand where it draws nothing.

The code of MultiCorrupt (6cd6225) and Robo3D was executed on one real nuScenes frame; of drawn outputs the
means over seeds were recorded, with the standard deviation of one draw.
"""

import hashlib

import cv2
import numpy as np
import pytest

from aqr_exp.data.corruptions import multicorrupt, snowfall
from aqr_exp.data.corruptions.cases import read_cases
from aqr_exp.data.corruptions.effects import (
    FILE_CORRUPTIONS,
    IMAGE_CORRUPTIONS,
    displaced_cameras,
)
from aqr_exp.data.geometry import merged_sweeps, read_points

LEVELS = pytest.mark.parametrize("level", [0, 1, 2])


class Lowest:
    """A generator whose every draw hits."""

    def random(self):
        return 0.0


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]


def _ranges(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, :3].astype(np.float64), axis=1)


def _changed(name: str, points: np.ndarray, level: int, seed: int = 0) -> np.ndarray:
    before = points.copy()
    found = FILE_CORRUPTIONS[name](points, level, np.random.default_rng(seed), True)
    np.testing.assert_array_equal(points, before)
    assert found.dtype == np.float32
    return found


@pytest.fixture(scope="module")
def cloud() -> np.ndarray:
    """20 points of each of 32 rings, 2 to 60 m away, a road below and some walls."""
    rng = np.random.default_rng(7)
    azimuth, far = rng.uniform(-np.pi, np.pi, 640), rng.uniform(2, 60, 640)
    high = np.where(rng.random(640) < 0.7, -1.8, rng.uniform(-1, 2, 640))
    columns = (far * np.cos(azimuth), far * np.sin(azimuth), high, rng.uniform(1, 90, 640))
    return np.column_stack([*columns, np.arange(640) % 32]).astype(np.float32)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (24, 40, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", FILE_CORRUPTIONS)
def test_files_of_any_content_stay_files(name, cloud):
    for level in range(3):
        for points in (cloud, cloud[:0], cloud[:1], cloud[5:30], np.zeros((40, 5), np.float32)):
            found = _changed(name, points, level)
            assert found.shape[1] == 5
            assert len(found) <= len(points)
            if len(points) > 1 and points is cloud:
                np.testing.assert_array_equal(found, _changed(name, points, level))
                assert np.isfinite(found).all()


@pytest.mark.parametrize("name", multicorrupt.IMAGES)
def test_pictures_of_any_content_stay_pictures(name, picture):
    for severity in "123":
        (case,) = read_cases(f"{name}@{severity}")
        images = [picture, np.zeros_like(picture), np.full_like(picture, 255), picture[:7, :9]]
        before = [image.copy() for image in images]
        found = IMAGE_CORRUPTIONS[name](images, case, case.rng("a token"))
        again = IMAGE_CORRUPTIONS[name](images, case, case.rng("a token"))
        for image, was, after, same in zip(images, before, found, again, strict=True):
            np.testing.assert_array_equal(image, was)
            np.testing.assert_array_equal(after, same)
            assert (after.shape, after.dtype) == (image.shape, np.uint8)


def test_brightness_raises_the_highest_channel_and_keeps_hue_and_saturation():
    image = np.array([[[10, 20, 40], [0, 0, 0], [30, 30, 200]]], dtype=np.uint8)
    raised = multicorrupt.brighten(image, 0, np.random.default_rng(0))[0]
    # 40 + 127.5 = 167.5, the others in proportion; black becomes grey; beyond 255 nothing.
    np.testing.assert_allclose(raised[0], [41.875, 83.75, 167.5])
    np.testing.assert_allclose(raised[1], [127.5] * 3)
    np.testing.assert_allclose(raised[2], [38.25, 38.25, 255])


def test_a_smear_has_one_side_and_repeats_borders():
    image = np.zeros((1, 9))
    image[0, 6] = 100
    weights = np.exp(-(np.arange(3) ** 2) / 2)
    weights /= weights.sum()
    smeared = multicorrupt.smear(image, 3, 1.0, 0.0)[0]
    np.testing.assert_allclose(smeared[[4, 5, 6]], 100 * weights[::-1], atol=1e-9)
    assert smeared[7:].tolist() == [0, 0]
    flat = np.full((40, 50, 3), 77, dtype=np.uint8)
    np.testing.assert_allclose(multicorrupt.smear(flat, 31, 6.0, -30.0), 77.0)


def test_missing_cameras_are_black_at_their_rate_and_nested(picture):
    images = [np.full((8, 8, 3), 90, dtype=np.uint8)] * 6
    lost = {}
    for severity, rate in (("1", 0.2), ("2", 0.4), ("3", 0.6)):
        (case,) = read_cases(f"mc_missingcamera@{severity}")
        lost[severity] = np.array(
            [
                [not image.any() for image in IMAGE_CORRUPTIONS[case.corruption](
                    images, case, case.rng(f"token {number}"))]
                for number in range(200)
            ]
        )  # fmt: skip
        assert lost[severity].mean() == pytest.approx(rate, abs=4 * np.sqrt(rate / 1200))
    assert (lost["1"] <= lost["2"]).all()
    assert (lost["2"] <= lost["3"]).all()


@LEVELS
def test_a_file_is_displaced_whole_at_its_rate(level, cloud):
    hit = [
        (FILE_CORRUPTIONS["mc_spatialmisalignment"](cloud, level, np.random.default_rng(seed), True)
         != cloud).any()
        for seed in range(400)
    ]  # fmt: skip
    assert np.mean(hit) == pytest.approx(0.2 * (level + 1), abs=0.1)
    moved = multicorrupt.displace(cloud, level, Lowest(), True)
    back = moved[:, :3].astype(np.float64) - (2, 0, 0)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), _ranges(cloud), atol=1e-4)


def test_every_file_is_drawn_by_its_own_name_and_is_one_file_for_all_samples(tmp_path, cloud):
    from aqr_exp.data.transforms.sensors import LoadLidarSweeps

    names = [f"file-{number}.pcd.bin" for number in range(8)]
    (tmp_path / "sweeps" / "LIDAR_TOP").mkdir(parents=True)

    def loaded(order: list[str]) -> dict[str, np.ndarray]:
        entries = [
            {
                "lidar_points": {
                    "lidar_path": str(tmp_path / "sweeps" / "LIDAR_TOP" / name),
                    "lidar2sensor": np.eye(4).tolist(),
                },
                "timestamp": 1.0,
            }
            for name in order
        ]
        sample = {**entries[0], "lidar_sweeps": entries[1:]}
        load = LoadLidarSweeps(10, ("mc_spatialmisalignment", "2"))
        points, numbers = merged_sweeps(sample, 10, load.corrupted)
        return {name: points[numbers == place, :3] for place, name in enumerate(order)}

    cloud = cloud[_ranges(cloud) > 5]  # nothing comes near the vehicle, whose points sweeps lose
    for name in names:
        cloud.tofile(tmp_path / "sweeps" / "LIDAR_TOP" / name)

    first, second = loaded(names), loaded(names[::-1])
    moved = {name: not np.array_equal(first[name], cloud[:, :3]) for name in names}
    assert set(moved.values()) == {True, False}  # some files of one sample, not all
    for name in names:
        np.testing.assert_array_equal(first[name], second[name])


def test_robo3d_changes_keyframes_alone_by_its_counts(cloud):
    for name in ("r3d_beam_missing", "r3d_cross_sensor", "r3d_crosstalk"):
        sweep = FILE_CORRUPTIONS[name](cloud, 2, np.random.default_rng(0), False)
        np.testing.assert_array_equal(sweep, cloud)
    rings = [len(np.unique(_changed("r3d_cross_sensor", cloud, level)[:, 4])) for level in range(3)]
    # Every second of the 20 points of each ring that stays; 24, 16 and 8 rings do.
    counts = [len(_changed("r3d_cross_sensor", cloud, level)) for level in range(3)]
    assert counts == [240, 160, 80]
    assert max(rings) <= 24
    lost: set[float] = set()
    for level, least in ((0, 4), (1, 7), (2, 10)):
        kept = set(np.unique(_changed("r3d_beam_missing", cloud, level)[:, 4]))
        gone = set(range(32)) - kept
        assert least <= len(gone) <= 8 * (level + 1)
        assert gone <= set(range(2, 29))
        assert lost <= gone
        lost = gone
    for level, share in enumerate((0.03, 0.07, 0.12)):
        noisy = _changed("r3d_crosstalk", cloud, level)
        assert (noisy != cloud).any(axis=1).sum() == int(share * 640)
        np.testing.assert_array_equal(noisy[:, 4], cloud[:, 4])
    spread = (_changed("r3d_crosstalk", np.tile(cloud, (20, 1)), 2) - np.tile(cloud, (20, 1)))[
        :, :4
    ]
    assert spread[spread != 0].std() == pytest.approx(3.0, rel=0.05)


def test_wrong_extrinsics_turn_each_camera_or_all_alike():
    mounts = []
    for number in range(6):
        mount = np.eye(4)
        mount[:3, :3] = multicorrupt.rotation(np.array([0.1, 0.2, number]))
        mount[:3, 3] = (1.5, 0.1 * number, 1.6)
        mounts.append(mount)
    images = {
        name: {"cam2ego": mount.tolist(), "lidar2cam": np.linalg.inv(mount).tolist(), "kept": 1}
        for name, mount in zip("abcdef", mounts, strict=True)
    }
    info = {"token": "a token", "images": images, "other": 2}
    for severity in ("single", "all"):
        (case,) = read_cases(f"nr_extrinsics@{severity}")
        wrong = displaced_cameras(info, case)
        assert (wrong["other"], wrong["images"]["c"]["kept"]) == (2, 1)
        assert info["images"] is images
        # Where the wrong calibration puts the camera on the vehicle, over where it is.
        errors = [
            np.linalg.inv(wrong["images"][name]["lidar2cam"]) @ np.linalg.inv(mount)
            for name, mount in zip("abcdef", mounts, strict=True)
        ]
        degrees = [np.degrees(np.arccos((np.trace(error[:3, :3]) - 1) / 2)) for error in errors]
        assert all(0.5 <= angle <= 2.5 for angle in degrees)
        assert all(((np.abs(e[:3, 3]) >= 0.005 - 1e-9) & (np.abs(e[:3, 3]) <= 0.01 + 1e-9)).all()
                   for e in errors)  # fmt: skip
        alike = [np.allclose(error, errors[0]) for error in errors]
        assert all(alike) if severity == "all" else sum(alike) == 1


def test_flakes_fill_the_published_share_of_the_area():
    # Counts of the published sampler: 31,720, 18,028 and 13,814 discs in one plane.
    for level, count in enumerate((31_720, 18_028, 13_814)):
        ranges, _, half = snowfall.draw_flakes(level, np.random.default_rng(3))
        assert len(ranges) == pytest.approx(count, rel=0.03)
        rate, speed = snowfall.RATES[level]
        area = np.pi * (ranges * np.sin(half)) ** 2
        assert area.sum() / (np.pi * 80**2) == pytest.approx(rate / (3.6e5 * speed), rel=0.01)


def test_a_near_flake_hides_the_point_and_a_thin_one_leaves_it():
    target = np.array([[20.0, 0, 0, 50, 0]], dtype=np.float32)

    def seen(distance: float, half: float, azimuth: float = 0.0):
        return snowfall.through_flakes(target, 0, np.array([[distance], [azimuth], [half]]))

    point, scattered = seen(5.0, 0.003)  # wider than the beam of 3 mrad
    assert scattered.tolist() == [True]
    assert point[0, 0] == pytest.approx(5.0, abs=0.11)
    for distance, half, azimuth in ((25.0, 0.003, 0.0), (5.0, 0.001, 0.003)):
        point, scattered = seen(distance, half, azimuth)  # behind it; beside the beam
        np.testing.assert_array_equal(point, target)
        assert not scattered.any()
    point, scattered = seen(19.0, 1e-5)
    assert not scattered.any()
    np.testing.assert_array_equal(point[:, :3], target[:, :3])
    # A nearer flake hides a farther one behind it.
    shares = snowfall._seen_shares(np.array([4, 4]), np.zeros(2), np.array([0.00075, 0.0015]))
    np.testing.assert_allclose(shares, [0.5, 0.5])


@pytest.mark.real_frame
class TestRealFrame:
    @pytest.fixture(scope="class")
    def stored(self, real_frame_dir):
        (path,) = real_frame_dir.glob("*LIDAR_TOP*.bin")
        return read_points(path)

    @pytest.fixture(scope="class")
    def part(self, real_frame_dir):
        (path,) = real_frame_dir.glob("*__CAM_FRONT__*.jpg")
        part = cv2.imread(str(path))[400:640, 500:900]
        assert _digest(part) == "9395af2bbe5ae40d"
        return part

    @LEVELS
    def test_what_draws_nothing_has_the_published_bytes(self, stored, part, level):
        beams = ("2084d86e9f178087", "f59c1a6da10a22d1", "3eb20face30fda46")[level]
        assert _digest(_changed("mc_beamsreducing", stored, level)) == beams
        turned = ("a45941e769f8dce6", "357083d42237ce3b", "ec8f639928fc8b3a")[level]
        assert _digest(multicorrupt.displace(stored, level, Lowest(), True)) == turned
        smeared = ("1d82f900e57ae7e6", "0e99a0cf2b03733f", "a23fbf78b4156bf1")[level]
        pixels = multicorrupt.smear(part, 31, 100 * multicorrupt.BLUR[level], 20.0)
        assert _digest(pixels.astype(np.uint8)) == smeared
        # Where a value is whole up to its last digit, one of the two may cut it lower.
        total = (55_946_181, 61_652_175, 65_939_913)[level]
        pixels = multicorrupt.brighten(part, level, np.random.default_rng(0))
        assert abs(int(pixels.astype(np.uint8).sum(dtype=np.int64)) - total) < 100

    @LEVELS
    def test_fog_moves_the_published_points(self, stored, level):
        foggy = _changed("mc_fog", stored, level)
        moved = (foggy[:, :3] != stored[:, :3]).any(axis=1)
        assert moved.sum() == (1760, 2823, 7922)[level]
        clear, echoes = ((487_413, 21_553.49), (434_390, 23_359.93), (330_993, 152_167.41))[level]
        assert foggy[~moved, 3].sum(dtype=np.float64) == clear
        assert foggy[moved, 3].sum(dtype=np.float64) == pytest.approx(echoes, rel=3e-5)
        quartiles = ((4.34, 4.71, 5.16), (4.25, 4.70, 5.25), (3.95, 4.59, 5.46))[level]
        found = np.quantile(_ranges(foggy[moved]), (0.25, 0.5, 0.75))
        np.testing.assert_allclose(found, quartiles, rtol=0.03)
        strength = (4.3465672e-9, 4.2057773e-9, 3.8156372e-9)[level]
        assert multicorrupt.fog_echo(multicorrupt.FOG[level][0])[1].max() == pytest.approx(
            strength, rel=2e-5
        )

    @LEVELS
    def test_points_and_motion_have_the_published_counts_and_spread(self, stored, level):
        thin = _changed("mc_pointsreducing", stored, level)
        assert len(thin) == (10_406, 6_938, 3_469)[level]
        assert {row.tobytes() for row in thin} <= {row.tobytes() for row in stored}
        few = stored[:500]
        moves = [(_changed("mc_motionblur", few, level, seed) - few)[:, :3] for seed in range(200)]
        shift = (0.0595, 0.0976, 0.1277)[level]
        np.testing.assert_allclose(
            np.std([move.mean(axis=0) for move in moves], axis=0), shift, rtol=0.2
        )
        jitter = ((0.0090, 0.0120, 0.0072), (0.0150, 0.0200, 0.0120), (0.0195, 0.0260, 0.0156))[
            level
        ]
        np.testing.assert_allclose(
            np.mean([move.std(axis=0) for move in moves], axis=0), jitter, rtol=0.01
        )

    @LEVELS
    @pytest.mark.parametrize(
        ("name", "published"),
        [
            ("mc_dark", ((19.90, 0.1, 263, 12), (13.73, 0.1, 441, 10), (11.20, 0.1, 728, 15))),
            ("mc_snow", ((90.2, 0.3, 217, 45), (103.3, 0.7, 707, 160), (133.2, 1.6, 1926, 390))),
            (
                "mc_motionblur",
                ((82.6, 1.1, 11.2, 3.6), (83.0, 1.8, 7.7, 3.0), (83.3, 2.3, 6.6, 2.8)),
            ),
            ("mc_fog", ((101.6, 15.6, 7.6, 0.3), (105.4, 16.5, 5.5, 0.9), (109.6, 15.8, 6.9, 4.0))),
        ],
    )  # mean and its standard deviation; variance of the Laplacian and its
    def test_stored_pictures_have_the_published_light_and_grain(self, part, level, name, published):
        seeds = 6
        found = []
        for seed in range(seeds):
            image = multicorrupt.IMAGES[name](part, level, np.random.default_rng(seed))
            image = multicorrupt.as_stored(image)
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            found.append((image.mean(), cv2.Laplacian(grey, cv2.CV_64F).var()))
        mean, mean_sd, grain, grain_sd = published[level]
        light, texture = np.mean(found, axis=0)
        assert abs(light - mean) < 4 * mean_sd / np.sqrt(seeds)
        assert abs(texture - grain) < 4 * grain_sd / np.sqrt(seeds)

    @LEVELS
    def test_snow_leaves_the_published_numbers_of_points(self, stored, level):
        rng = np.random.default_rng(0)
        assert snowfall.road(stored, rng, True).sum() == pytest.approx(14_100, abs=700)
        found = _changed("mc_snow", stored, level)
        # Of a keyframe 30,608, 30,584 and 30,621 points stay, by the road that our plane names.
        assert len(found) == pytest.approx((30_608, 30_584, 30_621)[level], abs=900)
        scattered = []
        for ring in range(32):
            own = stored[stored[:, 4] == ring]
            snowy, mask = snowfall.through_flakes(own, ring, snowfall.draw_flakes(level, rng))
            scattered.append(snowy[mask])
        flakes = np.concatenate(scattered)
        count, ranges, light = (
            (883, (2.3, 3.87, 6.15), 52.4),
            (1094, (2.75, 4.75, 8.3), 50.4),
            (1312, (3.3, 5.9, 9.6), 49.0),
        )[level]
        assert len(flakes) == pytest.approx(count, abs=4 * np.sqrt(2 * count))
        np.testing.assert_allclose(
            np.quantile(_ranges(flakes), (0.25, 0.5, 0.75)), ranges, rtol=0.2
        )
        assert flakes[:, 3].mean() == pytest.approx(light, abs=3)

    def test_in_a_sweep_the_noise_floor_takes_most_points_as_published(self, stored):
        # 6,174 to 6,547 points stayed of 34,688 in three executions, the far ones.
        found = snowfall.snow_over(stored, 0, np.random.default_rng(0), False)
        assert len(found) == pytest.approx(6_300, abs=900)
        assert np.median(_ranges(found)) == pytest.approx(22.0, abs=3)

    def test_robo3d_has_the_published_bytes_and_counts(self, stored):
        found = [_changed("r3d_cross_sensor", stored, level) for level in range(3)]
        assert [len(points) for points in found] == [13_008, 8_672, 4_336]
        assert [_digest(points) for points in found] == [
            "183096e91dd55cf7",
            "d370736a7a1cfe85",
            "2f4e5199bb84379d",
        ]
        moved = (_changed("r3d_crosstalk", stored, 0) - stored)[:, :4]
        assert (moved != 0).any(axis=1).sum() == 1040
        assert moved[moved != 0].std() == pytest.approx(3.0, rel=0.06)
