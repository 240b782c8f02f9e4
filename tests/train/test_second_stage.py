"""The recipes that start from a trained detector: what they freeze, slow down and refuse."""

import pytest
import torch
from mmdet3d.registry import MODELS

from aqr_exp.cmt.detector import register_modules
from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.load import load_run
from aqr_exp.train.outline import FROZEN, modules_of, outline

# The branches and the shared parts of the small detector.
TINY = (
    "start.freeze=[img_backbone,img_neck,pts_voxel_encoder,pts_backbone,pts_neck,"
    "pts_bbox_head.shared_conv,pts_bbox_head.transformer,pts_bbox_head.reference_points,"
    "pts_bbox_head.bev_embedding,pts_bbox_head.rv_embedding,pts_bbox_head.task_heads,"
    "pts_bbox_head.dense_supervision]"
)


def built(config, device="cpu"):
    register_modules()
    with torch.device(device):
        return MODELS.build(detector_config(config))


@pytest.fixture
def first_stage(tmp_path):
    """A checkpoint of the small baseline."""
    path = tmp_path / "first stage.pth"
    torch.manual_seed(0)
    torch.save(built(load_run("baseline")).state_dict(), path)
    return f'start.load_from="{path}"'


@pytest.mark.parametrize("model", ["cmt_r50_800x320", "cmt_vov_1600x640"])
def test_the_second_stage_trains_what_the_variant_adds_and_nothing_else(model, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    typed = ["preset=router_only", f"model={model}", f'start.load_from="{file}"']
    config = load_run("renderer_modulator", typed, begins=True)
    assert load_run("attention_bias", typed, begins=True).start == config.start
    detector = built(config, "meta")
    names = [name for name, _ in detector.named_parameters()]
    trained = [name for name in names if not name.startswith(config.start.freeze)]
    assert trained == [name for name in names if name.startswith("pts_bbox_head.aqr.")]
    assert len(trained) > 10
    # Each of them is of something: what begins nothing is refused.
    assert all(any(name.startswith(each) for name in names) for each in config.start.freeze)


def test_the_second_stage_of_a_small_detector(first_stage):
    found = outline(load_run("attention_bias", [first_stage, TINY], begins=True))
    assert found["faults"] == []
    assert found["beginning"]["new"]
    assert all(name.startswith("pts_bbox_head.aqr.") for name in found["beginning"]["new"])
    counts = {row["module"]: row["parameters"] for row in found["rates"]}
    assert set(counts) == {"pts_bbox_head.aqr.router", "pts_bbox_head.aqr.bias.scale", FROZEN}
    assert counts["pts_bbox_head.aqr.bias.scale"] == 1


@pytest.mark.parametrize(
    "typed",
    [["baseline"], ["attention_bias", "variant.router.kind=constant", "learnable_scale=false"]],
    ids=["baseline", "constant"],
)
def test_nothing_to_train_is_refused(typed, first_stage):
    found = outline(load_run(typed[0], [*typed[1:], first_stage, TINY]))
    assert found["faults"] == [f"start.freeze: leaves nothing of variant {typed[0]} to train"]


def test_every_rate_of_the_earlier_recipe_is_of_something(tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    config = load_run(
        "attention_bias", ["preset=aqr_earlier", f'start.load_from="{file}"'], begins=True
    )
    assert config.schedule.lr_mult == {
        "img_backbone": 0.0,
        "pts_middle_encoder": 0.0,
        "pts_backbone": 0.0,
        "img_neck": 0.05,
        "pts_neck": 0.05,
        "pts_bbox_head.shared_conv": 0.5,
        "pts_bbox_head.transformer": 0.5,
        "pts_bbox_head.reference_points": 0.3,
        "pts_bbox_head.task_heads": 0.8,
        "pts_bbox_head.aqr.bias.scale": 0.5,
    }
    modules = modules_of(built(load_run("baseline", ["model=cmt_r50_800x320"]), "meta"))
    assert set(config.schedule.lr_mult) - set(modules) == {"pts_bbox_head.aqr.bias.scale"}
    assert (config.schedule.epochs, config.schedule.learning_rate) == (20, 1.4e-4)
