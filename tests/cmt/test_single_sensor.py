"""Detectors that read one sensor: CMT-L and CMT-C."""

import pytest
import torch

from aqr_exp.cmt.encodings import map_tokens
from aqr_exp.config.load import load_run
from aqr_exp.errors import RequestError

NO_DROPOUT = ("data.augment.drop_camera=0", "data.augment.drop_lidar=0")
PLAIN = (*NO_DROPOUT, "model.head.dense_supervision=0", "model.head.cross_attention_init=xavier")


@pytest.mark.parametrize("sensor", ["lidar", "camera"])
def test_it_trains_and_detects(make_detector, make_batch, sensor):
    detector = make_detector(overrides=(f"model.sensors={sensor}", *PLAIN))
    inputs, samples = make_batch()
    losses = detector.loss(inputs, samples)
    sum(losses.values()).backward()
    idle = [name for name, p in detector.named_parameters() if p.grad is None]
    assert idle == []
    detector.eval()
    with torch.no_grad():
        found = detector.predict(inputs, samples)
    assert all(len(sample.pred_instances_3d.scores_3d) > 0 for sample in found)


def test_only_the_sensor_that_is_read_matters(make_detector, make_batch):
    inputs, samples = make_batch()
    blind = {"points": [cloud[:0] for cloud in inputs["points"]], "imgs": inputs["imgs"] * 0}
    for sensor, other in (("lidar", "imgs"), ("camera", "points")):
        detector = make_detector(overrides=(f"model.sensors={sensor}", *PLAIN)).eval()
        read = "points" if sensor == "lidar" else "imgs"
        with torch.no_grad():
            whole, same, changed = (
                detector._forward(batch, samples)["cls_logits"]
                for batch in (inputs, inputs | {other: blind[other]}, inputs | {read: blind[read]})
            )
        assert torch.equal(whole, same)
        assert not torch.equal(whole, changed)


def test_the_published_models_have_the_published_parts(make_detector):
    """CMT-L has no image branch and ray embedding, CMT-C no LiDAR branch and shared convolution."""
    lidar = make_detector("cmt_lidar").state_dict()
    camera = make_detector("cmt_camera").state_dict()
    assert not any(name.startswith(("img_", "pts_bbox_head.rv_embedding")) for name in lidar)
    assert not any(
        name.startswith(
            ("pts_voxel", "pts_middle", "pts_backbone", "pts_neck", "pts_bbox_head.shared")
        )
        for name in camera
    )
    for state, kernel in ((lidar, 3), (camera, 1)):
        assert state["pts_bbox_head.bev_embedding.0.weight"].shape == (256, 512)
        assert state["pts_bbox_head.task_heads.0.vel.3.weight"].shape == (12, 64, kernel)
    assert camera["img_neck.lateral_convs.1.conv.weight"].shape == (256, 1024, 1, 1)
    assert lidar["pts_bbox_head.shared_conv.conv.weight"].shape == (256, 512, 3, 3)


def test_tokens_follow_the_maps():
    bev, camera = torch.rand(2, 3, 2, 4), torch.rand(12, 3, 5, 6)
    both = map_tokens(bev, camera, 2)
    assert torch.equal(both, torch.cat((map_tokens(bev, None, 2), map_tokens(None, camera, 2)), 1))
    assert torch.equal(both[1, 1 * 4 + 3], bev[1, :, 1, 3])
    assert torch.equal(both[1, 8 + (4 * 5 + 2) * 6 + 1], camera[6 + 4, :, 2, 1])


@pytest.mark.parametrize(
    ("variant", "overrides", "fault"),
    [
        (
            "attention_bias",
            ("model=cmt_lidar",),
            "variant attention_bias: weighs two sensors, and model.sensors=lidar reads one sensor",
        ),
        (
            "baseline",
            ("model=cmt_camera", "data.augment.drop_lidar=0.25"),
            "data.augment.drop_lidar=0.25: must be 0: model.sensors=camera reads one sensor",
        ),
        (
            "baseline",
            ("model.sensors=lidar", *PLAIN[:3]),
            (
                "model.head.cross_attention_init=local: must be xavier: "
                "model.sensors=lidar reads one sensor"
            ),
        ),
        (
            "baseline",
            ("model.head.task_kernel=2",),
            "model.head.task_kernel=2: must be odd",
        ),
        (
            "baseline",
            ("model.image.backbone=vovnet99", "model.image.depth=50"),
            (
                "model.image.depth=50: must be 99: model.image.backbone=vovnet99\n"
                "model.image.base_channels=16: must be 256: model.image.backbone=vovnet99"
            ),
        ),
    ],
)
def test_what_does_not_go_together_is_refused(variant, overrides, fault):
    with pytest.raises(RequestError) as caught:
        load_run(variant, overrides)
    assert str(caught.value) == fault
