"""Keyframes whose data are delivered late."""

import numpy as np
import pytest

from aqr_exp.data.classes import Modality
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.effects import Stale, previous_keyframes, stale_data


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
    late = [stale for stale in found if stale is not None]
    assert len(late) / 1000 == pytest.approx(rate, abs=0.063)
    assert {stale.sample for stale in late} == {2}
    lidar = np.mean([stale.sensor is Modality.LIDAR for stale in late])
    assert lidar == pytest.approx(0.5, abs=0.15)
    assert not any(stale_data(case, 0, f"token {i}", CHAIN) for i in range(100))


@pytest.mark.parametrize(
    ("every", "delivered"),
    [("2", [0, 0, 2, 2, 4, 4, 6, 6, 8]), ("4", [0, 0, 0, 0, 4, 4, 4, 4, 8]), ("8", [0] * 8 + [8])],
)
@pytest.mark.parametrize("name", ["stuck_lidar", "stuck_cameras"])
def test_a_stuck_sensor_repeats_its_last_frame(name, every, delivered):
    case = CorruptionCase(corruption=name, severity=every)
    sensor = Modality.LIDAR if name == "stuck_lidar" else Modality.CAMERA
    for sample, wanted in enumerate(delivered):
        stale = stale_data(case, sample, "any", CHAIN)
        assert stale == (None if wanted == sample else Stale(sensor=sensor, sample=wanted))
