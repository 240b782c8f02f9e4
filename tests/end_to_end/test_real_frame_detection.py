"""The real nuScenes frame, from its files to decoded boxes in the global frame."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.load import load_run
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.evaluate.metric import sample_result
from aqr_exp.train.runner_config import register_plugins

pytestmark = pytest.mark.real_frame


@pytest.fixture(scope="module")
def config(real_frame_root):
    register_plugins()
    # The stored images are 1600 wide: 0.16 makes them the tiny model's 256.
    return load_run(
        "baseline",
        [f"data.root={str(real_frame_root)!r}", "data.augment.test_resize=0.16"],
    )


@pytest.fixture(scope="module")
def detector(config):
    from mmdet3d.registry import MODELS

    torch.manual_seed(0)
    detector = MODELS.build(detector_config(config.model))
    detector.init_weights()
    return detector.eval()


def _batch(config, **options):
    from mmdet3d.registry import DATASETS

    dataset = DATASETS.build(dataset_config(config, "frame", training=False, **options))
    return pseudo_collate([dataset[SampleKey(0, 0, 0)]])


def _detect(detector, batch):
    with torch.no_grad():
        (sample,) = detector.test_step(batch)
    return sample


def test_the_frame_becomes_boxes(config, detector):
    batch = _batch(config)
    (points,) = batch["inputs"]["points"]
    assert 10_000 < len(points) <= 34_688
    assert (points[:, :2].abs() <= points.new_tensor([18.0, 36.0])).all()
    sample = _detect(detector, batch)
    found = sample.pred_instances_3d
    assert 0 < len(found.scores_3d) <= 200
    assert found.scores_3d.dtype == torch.float32
    assert torch.isfinite(found.bboxes_3d.tensor).all()
    assert found.bboxes_3d.tensor.shape[1] == 9
    assert (found.bboxes_3d.tensor[:, 3:6] > 0).all()

    lidar2global = np.asarray(sample.ego2global) @ np.asarray(sample.lidar2ego)
    detections = sample_result(
        sample.token,
        found.bboxes_3d.tensor.double().numpy(),
        found.scores_3d.numpy(),
        found.labels_3d.numpy(),
        lidar2global,
    )
    ego = np.asarray(sample.ego2global)[:2, 3]
    distances = [np.hypot(*(np.array(d["translation"][:2]) - ego)) for d in detections]
    assert max(distances) < 61.2 * np.sqrt(2) + 2


@pytest.mark.parametrize("case", [("camera_drop", "all"), ("lidar_drop", "empty")])
def test_a_dropped_sensor_changes_the_boxes_and_breaks_nothing(config, detector, case):
    whole = _detect(detector, _batch(config)).pred_instances_3d
    found = _detect(detector, _batch(config, corruption=CorruptionCase(*case))).pred_instances_3d
    assert len(found.scores_3d) > 0
    assert torch.isfinite(found.bboxes_3d.tensor).all()
    assert not torch.equal(found.scores_3d, whole.scores_3d)
