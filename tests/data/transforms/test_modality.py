import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet3d.structures import LiDARPoints

from aqr_exp.config.load import load_run
from aqr_exp.data.classes import Modality
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import augmentation_steps, dataset_config
from aqr_exp.data.transforms.sensors import CorruptSensor, DropCloud, ModalDropout
from aqr_exp.train.runner_config import register_plugins


def _results(seed: int = 0) -> dict:
    return {
        "img": [np.full((4, 6, 3), 200, dtype=np.uint8) for _ in range(6)],
        "points": LiDARPoints(np.ones((10, 5), dtype=np.float32), points_dim=5),
        "rng": np.random.default_rng(seed),
        "token": "sample",
    }


def test_rates_are_the_recipes_and_never_both():
    step = ModalDropout(drop_camera=0.25, drop_lidar=0.25)
    outcomes = [step.transform(_results(seed))["modal_dropout"] for seed in range(2000)]
    # Standard deviation of a rate of .25 over 2,000 draws: .0097; four of them.
    for sensor in (Modality.CAMERA, Modality.LIDAR):
        assert outcomes.count(sensor) / 2000 == pytest.approx(0.25, abs=0.04)
    assert outcomes.count(None) / 2000 == pytest.approx(0.5, abs=0.05)


def dropping(drop_camera: float, drop_lidar: float, form: str = "empty") -> dict:
    results = ModalDropout(drop_camera, drop_lidar).transform(_results())
    return DropCloud(form).transform(results)


def test_zero_rates_change_nothing():
    outcome = dropping(0.0, 0.0)
    assert outcome["modal_dropout"] is None
    assert len(outcome["points"]) == 10


@pytest.mark.parametrize(("form", "rows"), [("empty", 0), ("origin", 10)])
def test_a_dropped_lidar_delivers_in_training_what_the_failure_of_its_form_delivers(form, rows):
    dropped = dropping(0.0, 1.0, form)
    failed = CorruptSensor("lidar_drop", form).transform(_results())
    assert dropped["points"].tensor.shape == (rows, 5)
    assert not dropped["points"].tensor.any()
    assert torch.equal(dropped["points"].tensor, failed["points"].tensor)
    assert dropped["modal_dropout"] is Modality.LIDAR
    assert dropped["img"][0].min() == 200
    assert CorruptionCase("lidar_drop", form).severity == form


@pytest.mark.parametrize("half", ["true", "false"])
@pytest.mark.parametrize("pasting", [[], ["gt_sampling=cmt"]])
def test_dropped_cameras_are_black_and_leave_everything_else_as_it_is(
    prepared_root: Path, half: str, pasting: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmdet3d.registry import DATASETS

    from aqr_exp.data.transforms import sensors

    register_plugins()
    typed = [f"data.root={str(prepared_root)!r}", f"data.half_decode={half}", *pasting]

    def first(rate: float) -> dict:
        rates = [f"data.augment.drop_camera={rate}", "data.augment.drop_lidar=0"]
        settings = dataset_config(
            load_run("baseline", [*typed, *rates]), "synth_train", training=True
        )
        return DATASETS.build(settings)[SampleKey(1, 2, 1)]

    whole = first(0.0)
    monkeypatch.setattr(sensors, "read_image", None)  # no image is decoded to be thrown away
    black = first(1.0)
    assert whole["inputs"]["img"].any()
    assert not black["inputs"]["img"].any()
    assert black["inputs"]["img"].shape == whole["inputs"]["img"].shape
    assert torch.equal(black["inputs"]["points"], whole["inputs"]["points"])
    for name in ("lidar2img", "lidar_aug_matrix"):
        one, other = (getattr(batch["data_samples"], name) for batch in (whole, black))
        np.testing.assert_array_equal(one, other)
    assert black["data_samples"].modal_dropout is Modality.CAMERA


def test_the_form_is_the_configurations():
    config = load_run("baseline")
    for form in ("empty", "origin"):
        augment = dataclasses.replace(config.data.augment, dropped_cloud=form)
        data = dataclasses.replace(config.data, augment=augment)
        steps = augmentation_steps(dataclasses.replace(config, data=data))
        (step,) = [step for step in steps if step["type"] == "DropCloud"]
        assert step["dropped_cloud"] == form
