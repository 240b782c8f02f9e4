"""Two real keyframes of one car, months apart, through the data commands and ground-truth sampling."""

from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from two_frames import VERSION, first_frame, second_frame, write_frames

from aqr_exp.cli.main import main
from aqr_exp.config.inputs import info_path, objects_folder
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.gt_database.build import view_matrices, with_paths
from aqr_exp.data.gt_database.paste import FARTHEST_PX, landing_error_px, outline_mask, paint
from aqr_exp.data.gt_database.store import GtDatabase, Patch
from aqr_exp.data.info_files import read_info_file
from aqr_exp.data.pipeline import dataset_config
from aqr_exp.train.runner_config import register_plugins

pytestmark = pytest.mark.real_frame
PUBLISHED = ["model=cmt_r50_800x320", "data=nuscenes", f"data.version={VERSION}"]
PUBLISHED += ["data.train_split=frames_train", "data.val_split=frames_val"]


@pytest.fixture(scope="module")
def root(
    real_frame_dir: Path, second_frame_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("two frames")
    write_frames(root, first_frame(real_frame_dir), second_frame(second_frame_dir))
    assert main(["data", "prepare", "--root", str(root), "--version", VERSION]) == 0
    return root


def run_on(root: Path, *overrides: str) -> RunConfig:
    return load_run("baseline", [*PUBLISHED, f"data.root={str(root)!r}", *overrides])


def test_they_are_prepared_and_checked_without_a_fault(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(root), "--version", VERSION, "--all"]) == 0
    assert f"{VERSION}: no fault found" in capsys.readouterr().err
    # Nearly all boxes of both frames hold exactly the points that nuScenes counted in them.
    store = GtDatabase(objects_folder(root, "frames_train"))
    infos = read_info_file(info_path(root, "frames_train"))["data_list"]
    assert [len(info["instances"]) for info in infos] == [69, 37]
    counted = {
        tuple(np.round(item["bbox_3d"][:3], 3)): item["num_lidar_pts"]
        for info in infos
        for item in info["instances"]
    }
    own = [counted[tuple(np.round(row["box"][:3], 3))] for row in store.objects]
    assert len(own) > 80
    assert (store.objects["points"][:, 0] == own).mean() > 0.8


@pytest.mark.parametrize("index", ["0", "1"])
def test_they_are_shown_as_stored_and_as_trained_on(root: Path, tmp_path: Path, index: str) -> None:
    out = tmp_path / "frame.png"
    typed = [*PUBLISHED, f"data.root={str(root)!r}", "gt_sampling=cmt", "--augmented"]
    assert main(["data", "show", index, *typed, "--out", str(out)]) == 0
    assert cv2.imread(str(out)).std() > 20


def pictures(root: Path) -> list[tuple[int, np.ndarray, Patch]]:
    """Every picture of the objects: the frame it was cut from, its box and the patch."""
    store = GtDatabase(objects_folder(root, "frames_train"))
    return [
        (int(store.objects[place]["frame"]), item.box[:7], patch)
        for place in range(len(store.objects))
        for item in [store.read(place, sweeps=0)]
        for patch in item.patches
    ]


def test_no_picture_of_one_frame_is_refused_in_the_other_at_any_distance(root: Path) -> None:
    infos = read_info_file(info_path(root, "frames_train"))["data_list"]
    matrices = [view_matrices(with_paths(root, info)) for info in infos]
    # The same car: what moved its cameras is the way it drove after the LiDAR's turn.
    places = [-np.linalg.inv(m[:, :3, :3]) @ m[:, :3, 3:] for m in matrices]
    apart = np.linalg.norm(places[0] - places[1], axis=(1, 2))
    assert apart.max() > 0.3
    for source, target in permutations(range(2)):
        misfits, near, refused = [], [], []
        for frame, box, patch in pictures(root):
            if frame != source:
                continue
            matrix = matrices[target][patch.view]
            misfits.append(landing_error_px(patch, box, matrix) > FARTHEST_PX)
            near.append(np.hypot(*box[:2]) < 15)
            blank = np.zeros((900, 1600, 3), np.uint8)
            white = Patch(**{**vars(patch), "image": np.full_like(patch.image, 255)})
            covered = paint(blank, box[None], [white], matrix)[..., 0] > 0
            outline = outline_mask(box, matrix, blank.shape).astype(bool)
            assert not (covered & ~outline).any()
            # A picture that was cut at its image's border has nothing to show beyond.
            refused.append(covered.sum() < 0.5 * outline.sum())
        misfits, near = np.array(misfits), np.array(near)
        assert len(misfits) > 40
        assert 0.08 < misfits.mean() < 0.15  # were left out before
        assert misfits[near].mean() > 0.4
        assert np.mean(refused) <= 0.02
        assert np.mean(np.array(refused)[near]) <= 0.02


def _sample(root: Path, *overrides: str, training: bool) -> dict[str, Any]:
    from mmdet3d.registry import DATASETS

    register_plugins()
    settings = dataset_config(run_on(root, *overrides), "frames_train", training=training)
    packed: dict[str, Any] = DATASETS.build(settings)[SampleKey(1, 0, 0)]
    return packed


def test_the_second_frame_is_trained_on_as_published(root: Path) -> None:
    """No velocity is known of a scene of one keyframe: all are learned as zero."""
    still = ["data.augment.drop_camera=0", "data.augment.drop_lidar=0", "gt_sampling=cmt"]
    packed = _sample(root, *still, training=True)
    boxes = packed["data_samples"].gt_instances_3d.bboxes_3d.tensor
    assert len(boxes) > 30
    assert not boxes[:, 7:].any()
    dropped = _sample(
        root, "data.augment.drop_camera=0", "data.augment.drop_lidar=1", training=True
    )
    points = dropped["inputs"]["points"]
    assert len(points) == 34_720  # all of them in the place to which augmentation moves the origin
    assert (points == points[0]).all()
    assert not points[:, 3:].any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning:spconv")
def test_the_second_frame_goes_through_the_published_model_to_boxes(root: Path) -> None:
    pytest.importorskip("spconv", reason="the sparse encoder on a CPU needs spconv")
    from mmdet3d.registry import MODELS
    from mmengine.dataset import pseudo_collate

    from aqr_exp.cmt.detector_config import detector_config

    batch = pseudo_collate([_sample(root, training=False)])
    torch.manual_seed(0)
    detector = MODELS.build(detector_config(run_on(root).model))
    detector.init_weights()
    with torch.no_grad():
        (sample,) = detector.eval().test_step(batch)
    found = sample.pred_instances_3d
    assert 0 < len(found.scores_3d) <= 300
    assert torch.isfinite(found.bboxes_3d.tensor).all()
    assert len(found.bboxes_3d.tensor[:, :2].round().unique(dim=0)) > 20
