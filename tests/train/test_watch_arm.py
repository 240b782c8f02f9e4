import pytest
import torch

from aqr_exp.train.monitor import final_scale, warnings
from aqr_exp.variants.attention_bias.module import AttentionBiasArm


def said(scalars, threshold=None):
    return [message for _, message in warnings(scalars, threshold)]


def test_a_sound_step_says_nothing():
    sound = {
        "scale": 2.5, "scale_of_max": 0.5, "scale_gradient": -0.01, "bias_share_above_3": 0.1,
        "router_gradient": 0.3, "prefers_lidar": 0.5, "prefers_camera": 0.2,
    }  # fmt: skip
    assert said(sound, 4.0) == []


@pytest.mark.parametrize(
    ("scalars", "threshold", "message"),
    [
        ({"scale": 4.2, "scale_of_max": 0.84}, None, "scale is 4.2, 84% of its upper bound"),
        ({"scale_camera": 4.1}, 4.0, "scale_camera is 4.1, above 4"),
        (
            {"scale_layer3": 6.0, "scale_layer3_gradient": 0.0},
            None,
            "scale_layer3 gets no gradient: it has left its bounds",
        ),
        (
            {"bias_share_above_3": 0.62},
            None,
            "62% of the biases are beyond +-3, where softmax is saturated",
        ),
        ({"router_gradient": 0.0}, None, "the router gets no gradient"),
        ({"prefers_camera": 0.97}, None, "97% of the queries prefer the camera"),
        (
            {"weight_lidar_mean": -0.986, "weight_lidar_std": 0.004},
            None,
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


def test_no_threshold_no_warning_about_the_scale():
    assert said({"scale": 40.0}) == []


def test_every_warning_has_a_kind_of_its_own():
    kinds = [
        kind
        for kind, _ in warnings(
            {
                "scale_lidar": 6.0, "scale_lidar_of_max": 0.9, "scale_lidar_gradient": 0.0,
                "scale_camera": 6.0, "scale_camera_of_max": 0.9, "bias_share_above_3": 0.9,
                "router_gradient": 0.0, "prefers_lidar": 1.0,
            },
            5.0,
        )
    ]  # fmt: skip
    assert len(kinds) == len(set(kinds)) == 8


def arm(sharing):
    return AttentionBiasArm(
        scale={
            "start": 2.0, "learnable": True, "minimum": 0.5, "maximum": 5.0,
            "constraint": "clamp", "sharing": sharing, "layers": 2,
        },
        bias={"local": True, "gaussian": False, "max_bias": 5.0, "unit": "score"},
        window={"bev": 3, "camera": 3, "view_policy": "first"},
        recenter=False,
        router={
            "width": 8, "heads": 2, "ffn_channels": 8, "activation": "tanh", "init_bias": 0.0,
        },
        router_window={"bev": 3, "camera": 3, "view_policy": "first"},
        bev_pitch_m=(1.0, 1.0),
        auxiliary_loss=0.0,
    )  # fmt: skip


def test_the_final_scale_of_a_model():
    assert final_scale(torch.nn.ModuleDict({"head": arm("one")})) == 2.0
    assert final_scale(torch.nn.ModuleDict({"head": arm("modality")})) == [2.0, 2.0]
    assert final_scale(torch.nn.Linear(1, 1)) is None
