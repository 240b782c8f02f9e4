"""Keyframes whose data are delivered late."""

import numpy as np
import pytest

from aqr_exp.data.classes import CAMERA_NAMES, LIDAR_NAME
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.effects import previous_keyframes, stale_data, with_stale_files


def _infos(times, scenes=None):
    named = [{}] * len(times) if scenes is None else [{"scene_token": scene} for scene in scenes]
    return [{"timestamp": time, **scene} for time, scene in zip(times, named, strict=True)]


CHAIN = [None, 0, 1, 2, 3, 4, 5, 6, 7]


def test_the_previous_keyframe_is_the_one_before_in_its_scene():
    infos = _infos([10.0, 10.5, 11.0, 11.5], ["a", "a", "b", "b"])
    assert previous_keyframes(infos) == [None, 0, None, 2]
    shuffled = [infos[2], infos[1], infos[3], infos[0]]
    assert previous_keyframes(shuffled) == [None, 3, 0, None]


def test_without_scenes_a_gap_of_more_than_a_second_ends_one():
    assert previous_keyframes(_infos([10.0, 10.5, 11.6, 12.1, 1.0])) == [None, 0, None, 2, None]


@pytest.mark.parametrize("rate", [0.2, 0.4, 0.6])
def test_a_frame_is_late_at_its_rate_and_both_sensors_are(rate):
    case = CorruptionCase(corruption="temporal_misalignment", severity=str(rate))
    found = [stale_data(case, 3, f"token {i}", CHAIN) for i in range(1000)]
    late = [stale for stale in found if stale]
    assert len(late) / 1000 == pytest.approx(rate, abs=0.063)
    assert {sample for stale in late for sample in stale.values()} == {2}
    assert {tuple(stale) for stale in late} == {(LIDAR_NAME,), CAMERA_NAMES}
    lidar = np.mean([LIDAR_NAME in stale for stale in late])
    assert lidar == pytest.approx(0.5, abs=0.15)
    assert not any(stale_data(case, 0, f"token {i}", CHAIN) for i in range(100))


@pytest.mark.parametrize(
    ("every", "delivered"),
    [("2", [0, 0, 2, 2, 4, 4, 6, 6, 8]), ("4", [0, 0, 0, 0, 4, 4, 4, 4, 8]), ("8", [0] * 8 + [8])],
)
@pytest.mark.parametrize("name", ["stuck_lidar", "stuck_cameras"])
def test_a_stuck_sensor_repeats_its_last_frame(name, every, delivered):
    case = CorruptionCase(corruption=name, severity=every)
    sensors = (LIDAR_NAME,) if name == "stuck_lidar" else CAMERA_NAMES
    for sample, wanted in enumerate(delivered):
        stale = stale_data(case, sample, "any", CHAIN)
        assert stale == ({} if wanted == sample else dict.fromkeys(sensors, wanted))


@pytest.mark.parametrize(("level", "rate"), [("1", 0.2), ("2", 0.4), ("3", 0.6)])
def test_multicorrupts_sensors_are_late_each_by_itself_and_across_scenes(level, rate):
    case = CorruptionCase(corruption="mc_temporalmisalignment", severity=level)
    scenes = [None, 0, None, 2]  # the third sample begins a scene
    found = [stale_data(case, 2, f"token {i}", scenes) for i in range(2000)]
    for sensor in (LIDAR_NAME, *CAMERA_NAMES):
        share = np.mean([sensor in stale for stale in found])
        assert share == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 2000))
    assert {sample for stale in found for sample in stale.values()} == {1}
    untouched = np.mean([not stale for stale in found])
    assert untouched == pytest.approx((1 - rate) ** 7, abs=0.04)
    second = {name for i in range(200) for name in stale_data(case, 1, f"token {i}", scenes)}
    assert second == set(CAMERA_NAMES)  # its LiDAR never, as published
    assert not any(stale_data(case, 0, f"token {i}", scenes) for i in range(200))


def test_what_is_late_at_a_mild_published_severity_is_late_at_a_heavy_one():
    for token in map(str, range(100)):
        mild, more, heavy = (
            set(stale_data(CorruptionCase(corruption=name, severity=level), 3, token, CHAIN))
            for name, level in [("mc_temporalmisalignment", level) for level in "123"]
        )
        assert mild <= more <= heavy


@pytest.mark.parametrize("name", ["nr_stuck_lidar", "nr_stuck_cameras"])
def test_an_exact_share_of_keyframes_is_stuck_for_each_sensor_and_the_shares_are_nested(name):
    scenes = [None if place % 40 == 0 else place - 1 for place in range(1000)]
    before: dict[str, set[int]] = {}
    for share in range(10, 100, 10):
        case = CorruptionCase(corruption=name, severity=str(share))
        found = [stale_data(case, sample, "any", scenes) for sample in range(1000)]
        sensors = (LIDAR_NAME,) if name == "nr_stuck_lidar" else CAMERA_NAMES
        for sensor in sensors:
            stuck = {sample for sample, stale in enumerate(found) if sensor in stale}
            # Of the 25 scenes' first keyframes, which have none before, some are drawn as well.
            assert 10 * share - 25 <= len(stuck) <= 10 * share
            assert all(found[sample][sensor] == sample - 1 for sample in stuck)
            assert before.get(sensor, set()) <= stuck
            before[sensor] = stuck
    if name == "nr_stuck_cameras":
        assert len({frozenset(stuck) for stuck in before.values()}) == 6


def test_only_the_late_sensors_files_are_replaced():
    def info(number: int) -> dict:
        images = {
            name: {"img_path": f"{name}-{number}", "cam2img": number} for name in CAMERA_NAMES
        }
        return {"images": images, "number": number}

    changed = with_stale_files(info(5), {"CAM_BACK": 3, LIDAR_NAME: 4}, info)
    assert changed["lidar_source"]["number"] == 4
    for name, camera in changed["images"].items():
        assert camera == {"img_path": f"{name}-{3 if name == 'CAM_BACK' else 5}", "cam2img": 5}
    assert "lidar_source" not in with_stale_files(info(5), {"CAM_BACK": 3}, info)
