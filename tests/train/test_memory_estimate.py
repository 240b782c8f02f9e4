"""Counted from shapes, against the same forward pass with real tensors."""

import contextlib

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.train import memory

SMALL = ("model.head.queries=100",)


def test_shapes_alone_hold_what_real_tensors_hold(monkeypatch):
    config = load_run("baseline", SMALL)
    imagined = memory.estimate(config)
    monkeypatch.setattr(memory, "FakeTensorMode", lambda **_: contextlib.nullcontext())
    real = memory.estimate(config)
    assert imagined == pytest.approx(real, rel=0.02)
    assert imagined["total_gb"] == pytest.approx(
        imagined["weights_gb"] + imagined["activations_gb"]
    )


def test_weights_count_four_times_and_activations_with_the_batch():
    one, two = (
        memory.estimate(load_run("baseline", [*SMALL, f"schedule.batch_size={size}"]))
        for size in (1, 2)
    )
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector_config import detector_config

    detector = MODELS.build(detector_config(load_run("baseline", SMALL).model))
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    assert one["weights_gb"] == two["weights_gb"] == pytest.approx(16 * parameters / 1e9)
    assert two["activations_gb"] == pytest.approx(2 * one["activations_gb"], rel=0.1)
    averaged = memory.estimate(load_run("baseline", [*SMALL, "schedule.ema_decay=0.9"]))
    assert averaged["weights_gb"] == pytest.approx(20 * parameters / 1e9)


@pytest.mark.parametrize("sensor", ["lidar", "camera"])
def test_a_sensor_that_is_not_read_takes_nothing(sensor):
    plain = (
        *SMALL,
        "data.augment.drop_camera=0",
        "data.augment.drop_lidar=0",
        "model.head.dense_supervision=0",
        "model.head.cross_attention_init=xavier",
    )
    both = memory.estimate(load_run("baseline", plain))
    one = memory.estimate(load_run("baseline", [*plain, f"model.sensors={sensor}"]))
    assert 0 < one["activations_gb"] < both["activations_gb"]
    assert 0 < one["weights_gb"] < both["weights_gb"]


def test_dropped_probabilities_are_not_held():
    plain = memory.estimate(load_run("baseline", SMALL))
    dropping = [*SMALL, "model.head.attention_dropout=0.5"]
    assert memory.estimate(load_run("baseline", dropping)) == plain


def test_mixed_precision_as_published_holds_more_than_half_and_less_than_whole():
    whole, published, half = (
        memory.estimate(load_run("baseline", [*SMALL, *words]))["activations_gb"]
        for words in (
            ["schedule.amp_parts=published"],
            ["schedule.amp=true", "schedule.amp_parts=published"],
            ["schedule.amp=true"],
        )
    )
    assert 0.4 * whole < half < 0.97 * published < 0.95 * whole
