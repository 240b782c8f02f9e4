import dataclasses

import pytest

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.load import load_run


@pytest.fixture
def run():
    return load_run("baseline", ["model=cmt_tiny"])


def test_a_baseline_run_is_its_model_without_a_variant(run):
    whole = detector_config(run)
    assert "variant" not in whole["pts_bbox_head"]
    assert whole == {**detector_config(run.model), "accumulate": 1, "single_head": False}


def test_building_changes_neither_the_dict_nor_the_configuration(run):
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector import register_modules

    register_modules()
    before, wanted = detector_config(run), detector_config(run)
    MODELS.build(before)
    assert before == wanted
    assert detector_config(run) == wanted
    before["pts_backbone"]["norm_cfg"]["eps"] = 1.0
    before["pts_bbox_head"]["task_head"]["branches"]["center"] = 7
    assert detector_config(run) == wanted


def test_the_sparse_encoder_stacks_the_heights_it_leaves():
    config = detector_config(load_run("baseline", ["model=cmt_r50_800x320"]))
    assert config["pts_middle_encoder"]["sparse_shape"] == [41, 1024, 1024]
    assert config["pts_backbone"]["in_channels"] == 256
    assert config["pts_bbox_head"]["in_channels"] == 512
    assert config["img_neck"]["in_channels"] == [1024, 2048]


def test_the_bev_map_has_the_configured_stride(run, make_detector, make_batch):
    """With the tiny model's own range, longer than wide: rows and columns cannot be mixed up."""
    import torch

    detector = make_detector(square=False).eval()
    lidar = run.model.lidar
    with torch.no_grad():
        bev = detector.extract_pts_feat(make_batch()[0]["points"])
        empty = detector.extract_pts_feat([torch.zeros(0, 5)] * 2)
    columns, rows = lidar.grid_size[0] // lidar.stride, lidar.grid_size[1] // lidar.stride
    assert bev.shape == empty.shape == (2, sum(lidar.neck_channels), rows, columns)


def test_a_small_resnet_has_narrow_stages(run):
    image = dataclasses.replace(run.model.image, depth=34, base_channels=8, out_stages=(1, 2))
    config = detector_config(dataclasses.replace(run.model, image=image))
    assert config["img_neck"]["in_channels"] == [16, 32]
    assert config["img_backbone"]["num_stages"] == 3


@pytest.mark.parametrize(
    "model", ["cmt_r50_800x320", "cmt_vov_1600x640", "cmt_lidar", "cmt_camera"]
)
def test_published_models_keep_300_boxes_as_published(model):
    head = detector_config(load_run("baseline", [f"model={model}"]))["pts_bbox_head"]
    assert head["max_boxes"] == 300
