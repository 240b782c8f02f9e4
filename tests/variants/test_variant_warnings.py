import dataclasses

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.config.variant_spec import spec_of
from aqr_exp.variants.attention_bias.module import AttentionBiasModule

SETTINGS = load_run("attention_bias").variant


def warned(scalars, threshold=100.0):
    settings = SETTINGS
    scale = dataclasses.replace(settings.bias.scale, warn_threshold=threshold)
    bias = dataclasses.replace(settings.bias, scale=scale)
    settings = dataclasses.replace(settings, bias=bias)
    return list(spec_of(settings).warnings(settings, scalars))


def said(scalars, threshold=100.0):
    return [message for _, message in warned(scalars, threshold)]


def test_a_sound_step_says_nothing():
    sound = {
        "scale": 2.5, "scale_of_max": 0.5, "scale_gradient": -0.01, "bias_share_above_3": 0.1,
        "router_gradient": 0.3, "prefers_lidar": 0.5, "prefers_camera": 0.2,
    }  # fmt: skip
    assert said(sound, 4.0) == []


@pytest.mark.parametrize(
    ("scalars", "threshold", "message"),
    [
        ({"scale": 4.2, "scale_of_max": 0.84}, 100.0, "scale is 4.2, 84% of its upper bound"),
        ({"scale_camera": 4.1}, 4.0, "scale_camera is 4.1, above 4"),
        (
            {"scale_layer3": 6.0, "scale_layer3_gradient": 0.0},
            100.0,
            "scale_layer3 gets no gradient: it has left its bounds",
        ),
        (
            {"bias_share_above_3": 0.62},
            100.0,
            "62% of the biases are beyond +-3, where softmax is saturated",
        ),
        ({"router_gradient": 0.0}, 100.0, "the router gets no gradient"),
        ({"prefers_camera": 0.97}, 100.0, "97% of the queries prefer the camera"),
        (
            {"weight_lidar_mean": -0.986, "weight_lidar_std": 0.004},
            100.0,
            "every query gets the same lidar weight, -0.99",
        ),
    ],
)
def test_what_goes_astray_is_said_in_one_line(scalars, threshold, message):
    assert said(scalars, threshold) == [message]


def test_a_router_at_its_zero_start_is_no_reason_to_warn():
    zero = {
        f"weight_{name}_{what}": 0.0 for name in ("lidar", "camera") for what in ("mean", "std")
    }
    assert said({"scale": 2.5, "scale_gradient": 0.0, **zero}) == []
    assert said({"scale": 2.5, "scale_gradient": 0.0, **zero, "weight_lidar_std": 0.1}) != []


def test_a_variant_without_a_scale_warns_of_its_router_alone():
    settings = load_run("renderer_modulator").variant
    scalars = {"scale": 400.0, "router_gradient": 0.0}
    assert list(spec_of(settings).warnings(settings, scalars)) == [
        ("router_gradient", "the router gets no gradient")
    ]
    baseline = load_run("baseline").variant
    assert list(spec_of(baseline).warnings(baseline, scalars)) == []


def test_every_warning_has_a_kind_of_its_own():
    kinds = [
        kind
        for kind, _ in warned(
            {
                "scale_lidar": 6.0, "scale_lidar_of_max": 0.9, "scale_lidar_gradient": 0.0,
                "scale_camera": 6.0, "scale_camera_of_max": 0.9, "bias_share_above_3": 0.9,
                "router_gradient": 0.0, "prefers_lidar": 1.0,
            },
            5.0,
        )
    ]  # fmt: skip
    assert len(kinds) == len(set(kinds)) == 8


def module(sharing):
    return AttentionBiasModule(
        scale={
            "start": 2.0, "learnable": True, "minimum": 0.5, "maximum": 5.0,
            "constraint": "clamp", "sharing": sharing, "layers": 2,
        },
        bias={"local": True, "gaussian": False, "max_bias": 5.0, "unit": "score"},
        window={"bev_size": 3, "camera_size": 3, "view_policy": "first"},
        recenter=False,
        normalisation={"mean": [0.0] * 3, "std": [1.0] * 3},
        router={
            "width": 8, "heads": 2, "ffn_channels": 8, "activation": "tanh", "init_bias": 0.0,
        },
        router_window={"bev_size": 3, "camera_size": 3, "view_policy": "first"},
        auxiliary_loss=0.0,
    )  # fmt: skip


def test_the_final_scale_is_a_metric():
    assert module("one").final_metrics() == {"aqr/final_scale": 2.0}
    assert module("modality").final_metrics() == {"aqr/final_scale": [2.0, 2.0]}
