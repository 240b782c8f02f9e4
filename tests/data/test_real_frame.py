"""The real nuScenes frame through the data pipeline: projections against the pickle's own matrices."""

import pickle

import cv2
import numpy as np
import pytest

from aqr_exp.config.load import load_run
from aqr_exp.data.classes import CAMERA_NAMES, CLASS_NAMES
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.data.transforms.geometry import GlobalRotScaleTransFlip, ResizeCropFlipImages
from aqr_exp.data.transforms.sensors import LoadImages

pytestmark = pytest.mark.real_frame


@pytest.fixture(scope="module")
def frame(real_frame_dir):
    return pickle.loads(next(real_frame_dir.glob("*.pkl")).read_bytes())


@pytest.fixture(scope="module")
def dataset(real_frame_root):
    from mmdet3d.registry import DATASETS

    from aqr_exp.train.runner_config import register_plugins

    register_plugins()
    config = load_run("baseline", [f"data.root={str(real_frame_root)!r}"])
    settings = dataset_config(config, "frame", training=True)
    return DATASETS.build({**settings, "pipeline": []})


def _by_hand(frame) -> dict[tuple[int, int], np.ndarray]:
    """Pixel of every box centre in every view that sees it, one matrix product at a time."""
    (sample,) = frame["data_list"]
    seen = {}
    for view, name in enumerate(CAMERA_NAMES):
        camera = sample["images"][name]
        for index, instance in enumerate(sample["instances"]):
            in_camera = np.array(camera["lidar2cam"]) @ [*instance["bbox_3d"][:3], 1.0]
            if in_camera[2] <= 1.0:
                continue
            pixel = np.array(camera["cam2img"]) @ in_camera[:3] / in_camera[2]
            if 0 <= pixel[0] < 1600 and 0 <= pixel[1] < 900:
                seen[view, index] = pixel[:2]
    return seen


def _project(lidar2img: np.ndarray, centre: np.ndarray) -> np.ndarray:
    u, v, depth, _ = lidar2img @ [*centre, 1.0]
    return np.array([u, v]) / depth


def test_classes_and_boxes_are_the_pickles(dataset, frame):
    (sample,) = frame["data_list"]
    names = {label: name for name, label in frame["metainfo"]["categories"].items()}
    kept = [
        instance
        for instance in sample["instances"]
        if instance["bbox_label_3d"] in names  # -1: none of the ten classes
        and instance["num_lidar_pts"] + instance["num_radar_pts"] >= 1
    ]
    assert len(kept) > 40
    results = dataset[SampleKey(0, 0, 0)]
    assert [CLASS_NAMES[label] for label in results["gt_labels_3d"]] == [
        names[instance["bbox_label_3d"]] for instance in kept
    ]
    ours = results["gt_bboxes_3d"]
    theirs = np.array([instance["bbox_3d"] for instance in kept])
    np.testing.assert_allclose(ours.gravity_center.numpy(), theirs[:, :3], atol=1e-5)
    np.testing.assert_allclose(ours.tensor[:, 3:7].numpy(), theirs[:, 3:], atol=1e-5)


def test_centres_land_where_the_pickle_puts_them(dataset, frame):
    results = LoadImages().transform(dataset[SampleKey(0, 0, 0)])
    (sample,) = frame["data_list"]
    pixels = _by_hand(frame)
    assert len(pixels) > 40
    for (view, index), pixel in pixels.items():
        centre = sample["instances"][index]["bbox_3d"][:3]
        assert np.abs(_project(results["lidar2img"][view], centre) - pixel).max() <= 1.0


@pytest.mark.parametrize("draw", range(4))
def test_augmented_centres_land_on_the_augmented_pixels(dataset, frame, draw):
    """A disc painted on each centre before augmentation is found where the moved box projects to."""
    (sample,) = frame["data_list"]
    checked = 0
    for (view, index), pixel in list(_by_hand(frame).items())[::5]:
        results = LoadImages().transform(dataset[SampleKey(0, 0, draw)])
        canvas = np.zeros_like(results["img"][view])
        # cv2 draws around pixel centres, which lie at half integers of the continuous coordinate.
        at = tuple(round((value - 0.5) * 16) for value in pixel)
        cv2.circle(canvas, at, 8 * 16, (255, 255, 255), -1, lineType=cv2.LINE_AA, shift=4)
        results["img"][view] = canvas
        centre = np.array(sample["instances"][index]["bbox_3d"][:3])
        results["points"] = _points(centre)
        results = GlobalRotScaleTransFlip(
            45.0, (0.9, 1.1), (0.5, 0.5, 0.5), flip_bev=True
        ).transform(results)
        step = ResizeCropFlipImages(320, 800, (0.47, 0.625), 0.5, flip=True, training=True)
        results = step.transform(results)
        moved = results["points"].tensor[0, :3].numpy()
        expected = _project(results["lidar2img"][view], moved)
        if not ((expected > 8).all() and (expected < [792, 312]).all()):
            continue
        weights = results["img"][view][..., 0].astype(float)
        rows, columns = np.mgrid[0:320, 0:800] + 0.5
        found = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        assert np.abs(found - expected).max() <= 1.0
        checked += 1
    assert checked >= 3


def _points(centre: np.ndarray):
    from mmdet3d.structures import LiDARPoints

    return LiDARPoints(np.array([[*centre, 0.0, 0.0]], dtype=np.float32), points_dim=5)
