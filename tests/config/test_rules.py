import copy
from typing import Any

import pytest

from aqr_exp.config.convert import convert
from aqr_exp.config.identity import as_dict
from aqr_exp.config.load import load_run
from aqr_exp.config.rules import broken_rules, check
from aqr_exp.config.schema import RunConfig
from aqr_exp.errors import RequestError

BASE = as_dict(
    load_run(
        "baseline",
        [
            "model.point_cloud_range_m=[-54.0,-54.0,-5.0,54.0,54.0,3.0]",
            "model.lidar.voxel_size_m=[0.75,0.75,8.0]",
            "model.lidar.grid_size=[144,144,1]",
            "model.lidar.stride=2",
            "model.lidar.neck_strides=[1,2]",
        ],
    )
)


def broken(changes: dict[str, Any]) -> list[str]:
    plain = copy.deepcopy(BASE)
    for key, value in changes.items():
        *parents, name = key.split(".")
        node = plain
        for parent in parents:
            node = node[parent]
        assert name in node
        node[name] = value
    return [str(fault) for fault in broken_rules(convert(RunConfig, plain))]


LIDAR, HEAD, IMAGE, AUGMENT = "model.lidar.", "model.head.", "model.image.", "data.augment."


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {LIDAR + "grid_size": [144, 140, 1]},
            (
                "model.lidar.grid_size=[144, 140, 1]: range / voxel size is 144 along y, not 140 "
                "(model.lidar.published_grid=true names the one published exception)"
            ),
        ),
        (
            {LIDAR + "voxel_size_m": [0.75, 0.75, 4.0]},
            (
                "model.lidar.grid_size=[144, 144, 1]: range / voxel size is 2 along z, not 1 "
                "(model.lidar.published_grid=true names the one published exception)"
            ),
        ),
        (
            {LIDAR + "voxel_size_m": [0.0, 0.75, 8.0]},
            "model.lidar.voxel_size_m=[0.0, 0.75, 8.0]: must be positive",
        ),
        (
            {LIDAR + "grid_size": [145, 144, 1], LIDAR + "published_grid": True},
            (
                "model.lidar.grid_size=[145, 144, 1]: "
                "must be divisible by model.lidar.stride=2 along x and y"
            ),
        ),
        (
            {LIDAR + "grid_size": [144, 144, 0], LIDAR + "published_grid": True},
            "model.lidar.grid_size=[144, 144, 0]: must be at least 1 along each axis",
        ),
        (
            {"model.point_cloud_range_m": [-54, -54, 3, 54, 54, 3]},
            (
                "model.point_cloud_range_m=[-54.0, -54.0, 3.0, 54.0, 54.0, 3.0]: "
                "must be (x, y, z, x, y, z) with each low end below its high end"
            ),
        ),
        (
            {HEAD + "post_center_range_m": [1, 2, 3]},
            (
                "model.head.post_center_range_m=[1.0, 2.0, 3.0]: "
                "must be (x, y, z, x, y, z) with each low end below its high end"
            ),
        ),
        (
            {LIDAR + "neck_channels": [48]},
            (
                "model.lidar.neck_channels=[48]: "
                "must have 2 entries, one a stage of model.lidar.backbone_channels"
            ),
        ),
        (
            {LIDAR + "backbone_strides": [2, 0]},
            "model.lidar.backbone_strides=[2, 0]: every entry must be positive",
        ),
        (
            {LIDAR + "neck_strides": [1, 1]},
            (
                "model.lidar.stride=2: stage 1 comes out at stride 4 "
                "(strides [2, 2], upsampling [1.0, 1.0])"
            ),
        ),
        (
            {IMAGE + "height_px": 100},
            "model.image.height_px=100: must be divisible by model.image.stride=16",
        ),
        ({IMAGE + "depth": 20}, "model.image.depth=20: must be one of 18, 34, 50, 101, 152"),
        ({IMAGE + "out_stages": [4]}, "model.image.out_stages=[4]: must be stages from 0 to 3"),
        ({IMAGE + "out_stages": [3, 2]}, "model.image.out_stages=[3, 2]: must rise"),
        (
            {IMAGE + "out_stages": [1, 2]},
            "model.image.stride=16: the finest stage of out_stages, stage 1 comes out at stride 8",
        ),
        (
            {IMAGE + "std": [0.0, 1.0, 1.0]},
            "model.image.std=[0.0, 1.0, 1.0]: must be positive",
        ),
        ({HEAD + "heads": 3}, "model.head.width=128: must be divisible by model.head.heads=3"),
        (
            {HEAD + "width": 129, HEAD + "heads": 1},
            "model.head.width=129: must be even (sines and cosines of two axes)",
        ),
        (
            {HEAD + "code_weights": [1.0]},
            "model.head.code_weights=[1.0]: must have 10 entries, one a box code entry",
        ),
        (
            {HEAD + "code_weights": [-1.0] + [1.0] * 9},
            f"model.head.code_weights={[-1.0] + [1.0] * 9}: must not be negative",
        ),
        (
            {AUGMENT + "resize": [0.6, 0.5]},
            "data.augment.resize=[0.6, 0.5]: must be positive, lowest first",
        ),
        (
            {AUGMENT + "scale": [0.0, 1.0]},
            "data.augment.scale=[0.0, 1.0]: must be positive, lowest first",
        ),
        (
            {AUGMENT + "translate_std_m": [-1, 0, 0]},
            "data.augment.translate_std_m=[-1.0, 0.0, 0.0]: must not be negative",
        ),
        (
            {AUGMENT + "drop_camera": 0.75, AUGMENT + "drop_lidar": 0.5},
            (
                "data.augment.drop_camera + data.augment.drop_lidar = 1.25: "
                "must add up to at most 1: a sample loses one sensor or none"
            ),
        ),
        (
            {"schedule.amp": True, "launcher.device": "cpu"},
            "schedule.amp=true: mixed precision needs CUDA, and launcher.device=cpu",
        ),
        ({"data.root": ""}, "data.root='': must not be empty"),
        ({"data.version": "../x"}, "data.version='../x': must be a plain name"),
    ],
)
def test_a_broken_rule_is_one_line(changes: dict[str, Any], fault: str) -> None:
    assert broken(changes) == [fault]


def test_the_shipped_models_keep_all_rules() -> None:
    assert broken({}) == []
    published = load_run("baseline", ["model=cmt_r50_800x320"])
    assert published.model.lidar.published_grid
    assert broken_rules(published) == []


def test_broken_rules_are_reported_together() -> None:
    plain = copy.deepcopy(BASE)
    plain["model"]["head"]["heads"] = 3
    plain["model"]["image"]["depth"] = 19
    with pytest.raises(RequestError) as caught:
        check(convert(RunConfig, plain))
    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == [
        "model.image.depth",
        "model.head.width",
    ]
