"""A small rig of six pinhole cameras, batches of random data, and the tiny detector."""

import numpy as np
import pytest
import torch
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

HEIGHT_PX, WIDTH_PX = 96, 256
SQUARE = (
    "model.point_cloud_range_m=[-54.0,-54.0,-5.0,54.0,54.0,3.0]",
    "model.lidar.voxel_size_m=[0.75,0.75,8.0]",
    "model.lidar.grid_size=[144,144,1]",
)
"""The range of the published models: 36 x 36 cells of 3 m."""


def rig(height_px=HEIGHT_PX, width_px=WIDTH_PX):
    """lidar2img [6, 4, 4] of cameras 60 degrees apart, the first looking along +x."""
    focal = width_px / 2 / np.tan(np.deg2rad(35))
    intrinsics = np.array([[focal, 0, width_px / 2], [0, focal, height_px / 2], [0, 0, 1]])
    matrices = []
    for yaw in np.deg2rad(60 * np.arange(6)):
        forward = np.array([np.cos(yaw), np.sin(yaw), 0])
        right = np.array([np.sin(yaw), -np.cos(yaw), 0])
        rotation = np.stack([right, [0, 0, -1], forward])
        matrix = np.eye(4)
        matrix[:3, :3] = intrinsics @ rotation
        matrix[:3, 3] = matrix[:3, :3] @ -(0.5 * forward + [0, 0, -0.3])
        matrices.append(matrix)
    return np.stack(matrices)


def random_boxes(count, generator):
    """Boxes [count, 9] with bottom centres inside the range."""
    return torch.cat(
        (
            (torch.rand(count, 2, generator=generator) - 0.5) * 90,
            torch.rand(count, 1, generator=generator) - 2.0,
            torch.rand(count, 3, generator=generator) * 3 + 0.5,
            (torch.rand(count, 1, generator=generator) - 0.5) * 6,
            torch.randn(count, 2, generator=generator),
        ),
        dim=1,
    )


def random_batch(boxes=(3, 5), points=2000, seed=0):
    """(inputs, data samples) as the pipeline gives them, one sample per entry of `boxes`."""
    generator = torch.Generator().manual_seed(seed)
    clouds, samples = [], []
    for index, count in enumerate(boxes):
        place = (torch.rand(points, 3, generator=generator) - 0.5) * torch.tensor([100, 100, 6.0])
        rest = torch.rand(points, 2, generator=generator) * torch.tensor([255, 0.5])
        clouds.append(torch.cat((place, rest), dim=1))
        sample = Det3DDataSample()
        sample.set_metainfo(
            {
                "lidar2img": rig(),
                "pad_shape": (HEIGHT_PX, WIDTH_PX),
                "box_type_3d": LiDARInstance3DBoxes,
                "sample_idx": index,
            }
        )
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=LiDARInstance3DBoxes(random_boxes(count, generator), box_dim=9),
            labels_3d=torch.randint(10, (count,), generator=generator),
        )
        samples.append(sample)
    images = torch.randn(len(boxes), 6, 3, HEIGHT_PX, WIDTH_PX, generator=generator)
    return {"points": clouds, "imgs": images}, samples


def build_detector(model="cmt_tiny", seed=0, overrides=(), square=True, variant="baseline"):
    from mmdet3d.registry import MODELS

    from aqr_exp.cmt.detector import register_modules
    from aqr_exp.cmt.detector_config import detector_config
    from aqr_exp.config.load import load_run

    register_modules()
    torch.manual_seed(seed)
    geometry = SQUARE if square and model == "cmt_tiny" else ()
    run = load_run(variant, [f"model={model}", *geometry, *overrides])
    detector = MODELS.build(detector_config(run))
    detector.init_weights()
    return detector


@pytest.fixture
def make_batch():
    return random_batch


@pytest.fixture
def make_detector():
    return build_detector


@pytest.fixture
def camera_rig():
    return rig


@pytest.fixture
def tiny():
    return build_detector()


@pytest.fixture(scope="session")
def published_detector():
    """The published r50 model; not to be changed by a test."""
    return build_detector("cmt_r50_800x320")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
