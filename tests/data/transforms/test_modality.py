import dataclasses

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARPoints

from aqr_exp.config.load import load_run
from aqr_exp.data.classes import Modality
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.pipeline import augmentation_steps
from aqr_exp.data.transforms.sensors import CorruptSensor, ModalDropout


def _results(seed: int = 0) -> dict:
    return {
        "img": [np.full((4, 6, 3), 200, dtype=np.uint8) for _ in range(6)],
        "points": LiDARPoints(np.ones((10, 5), dtype=np.float32), points_dim=5),
        "rng": np.random.default_rng(seed),
        "token": "sample",
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


@pytest.mark.parametrize(("form", "rows"), [("empty", 0), ("origin", 10)])
def test_a_dropped_lidar_delivers_in_training_what_the_failure_of_its_form_delivers(form, rows):
    dropped = ModalDropout(0.0, 1.0, dropped_cloud=form).transform(_results())
    failed = CorruptSensor("lidar_drop", form).transform(_results())
    assert dropped["points"].tensor.shape == (rows, 5)
    assert not dropped["points"].tensor.any()
    assert torch.equal(dropped["points"].tensor, failed["points"].tensor)
    assert dropped["modal_dropout"] is Modality.LIDAR
    assert dropped["img"][0].min() == 200
    assert CorruptionCase("lidar_drop", form).severity == form


def test_dropped_cameras_leave_the_points():
    dark = ModalDropout(1.0, 0.0, dropped_cloud="origin").transform(_results())
    assert not any(image.any() for image in dark["img"])
    assert dark["points"].tensor.min() == 1


def test_the_form_is_the_configurations():
    config = load_run("baseline")
    for form in ("empty", "origin"):
        augment = dataclasses.replace(config.data.augment, dropped_cloud=form)
        data = dataclasses.replace(config.data, augment=augment)
        steps = augmentation_steps(dataclasses.replace(config, data=data))
        (step,) = [step for step in steps if step["type"] == "ModalDropout"]
        assert step["dropped_cloud"] == form
