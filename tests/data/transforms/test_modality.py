import numpy as np
import pytest
from mmdet3d.structures import LiDARPoints

from aqr_exp.data.classes import Modality
from aqr_exp.data.transforms.sensors import BlankModality, ModalDropout


def _results(seed: int = 0) -> dict:
    return {
        "img": [np.full((4, 6, 3), 200, dtype=np.uint8) for _ in range(6)],
        "points": LiDARPoints(np.ones((10, 5), dtype=np.float32), points_dim=5),
        "rng": np.random.default_rng(seed),
    }


def test_rates_are_the_recipes_and_never_both():
    step = ModalDropout(drop_camera=0.25, drop_lidar=0.25)
    outcomes = [step.transform(_results(seed)) for seed in range(2000)]
    dark = [not any(image.any() for image in outcome["img"]) for outcome in outcomes]
    empty = [len(outcome["points"]) == 0 for outcome in outcomes]
    # Standard deviation of a rate of .25 over 2,000 draws: .0097; four of them.
    assert np.mean(dark) == pytest.approx(0.25, abs=0.04)
    assert np.mean(empty) == pytest.approx(0.25, abs=0.04)
    assert not any(a and b for a, b in zip(dark, empty, strict=True))
    assert [outcome["modal_dropout"] is Modality.CAMERA for outcome in outcomes] == dark
    assert [outcome["modal_dropout"] is Modality.LIDAR for outcome in outcomes] == empty


def test_zero_rates_change_nothing():
    outcome = ModalDropout(drop_camera=0.0, drop_lidar=0.0).transform(_results())
    assert outcome["img"][5].min() == 200
    assert len(outcome["points"]) == 10


def test_blanking_takes_one_sensor_and_leaves_the_other():
    dark = BlankModality("camera").transform(_results())
    assert not dark["img"][0].any()
    assert len(dark["points"]) == 10
    empty = BlankModality("lidar").transform(_results())
    assert empty["img"][0].min() == 200
    assert empty["points"].tensor.shape == (0, 5)


def test_unknown_sensors_are_refused():
    with pytest.raises(ValueError, match="'radar' is not a valid Modality"):
        BlankModality("radar")
