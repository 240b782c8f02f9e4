"""The whole training pipeline: corners land where the image shows them, points stay in their boxes."""

import copy
import dataclasses
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from aqr_exp.config.inputs import objects_folder
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.dataset import SampleKey
from aqr_exp.data.geometry import corners_m, inside_boxes, project
from aqr_exp.data.gt_database.build import build_database
from aqr_exp.data.gt_database.paste import outline_mask
from aqr_exp.data.gt_database.store import GtDatabase
from aqr_exp.data.pipeline import augmentation_steps, dataset_config
from aqr_exp.train.runner_config import register_plugins

RECIPE = [
    "gt_sampling=cmt",
    "data.augment.rotate_deg=45",
    "data.augment.scale=[0.9,1.1]",
    "data.augment.translate_std_m=[0.5,0.5,0.5]",
    "data.augment.drop_camera=0",
    "data.augment.drop_lidar=0",
]
RADIUS_PX = 5.0


@pytest.fixture(scope="module")
def config(prepared_root: Path) -> RunConfig:
    register_plugins()
    return load_run("baseline", [f"data.root={str(prepared_root)!r}", *RECIPE])


def built(config: RunConfig, split: str) -> Any:
    from mmdet3d.registry import DATASETS

    return DATASETS.build({**dataset_config(config, split, training=True), "pipeline": []})


def steps_of(config: RunConfig) -> dict[str, Any]:
    from mmdet3d.registry import TRANSFORMS

    return {step["type"]: TRANSFORMS.build(step) for step in augmentation_steps(config)}


def boxes_of(results: dict[str, Any]) -> np.ndarray:
    boxes = results["gt_bboxes_3d"]
    return np.concatenate([boxes.gravity_center.numpy(), boxes.tensor[:, 3:7].numpy()], axis=1)


def members(results: dict[str, Any]) -> list[tuple[set[int], set[int]]]:
    """For each box, the points (by their number in the intensity column) surely and possibly in it."""
    points = results["points"].tensor.numpy()
    boxes = boxes_of(results).astype(float)
    found = []
    for grow in (-2e-3, 2e-3):
        sized = boxes.copy()
        sized[:, 3:6] += grow
        found.append(
            [set(points[mine, 3].astype(int)) for mine in inside_boxes(points[:, :3], sized)]
        )
    return list(zip(*found, strict=True))


def check_points_stay(before: dict[str, Any], after: dict[str, Any], labels: np.ndarray) -> int:
    """Compare boxes one by one in their order; how many points were compared."""
    compared = 0
    for (sure, possible), (sure_now, possible_now) in zip(
        members(before), members(after), strict=True
    ):
        assert sure <= possible_now
        assert sure_now <= possible
        compared += len(sure)
    np.testing.assert_array_equal(labels, after["gt_labels_3d"])
    return compared


def check_corners_land(
    results: dict[str, Any], steps: dict[str, Any], seed: int, size_px: tuple[int, int]
) -> int:
    """A disc painted on a corner is found where the moved corner projects to; how many were compared."""
    boxes, matrices = boxes_of(results), results["lidar2img"].copy()
    shapes = [image.shape for image in results["img"]]
    # One corner a view: discs must not touch each other.
    rng = np.random.default_rng(seed)
    chosen: dict[int, tuple[int, int]] = {}
    for view, matrix in enumerate(matrices):
        pixels = project(corners_m(boxes.astype(float)), matrix)
        height, width = shapes[view][:2]
        inside = ((pixels > 12) & (pixels < [width - 12, height - 12])).all(axis=-1)
        places = np.argwhere(inside)
        if len(places):
            box, corner = places[rng.integers(len(places))]
            chosen[view] = (int(box), int(corner))
    for view, (box, corner) in chosen.items():
        canvas = np.zeros(shapes[view], np.uint8)
        pixel = project(corners_m(boxes[box : box + 1].astype(float))[0, corner], matrices[view])
        at = tuple(round((value - 0.5) * 16) for value in pixel)
        white = (255, 255, 255)
        cv2.circle(canvas, at, round(RADIUS_PX * 16), white, -1, lineType=cv2.LINE_AA, shift=4)
        results["img"][view] = canvas
    results = steps["ResizeCropFlipImages"].transform(
        steps["GlobalRotScaleTransFlip"].transform(results)
    )
    moved = boxes_of(results).astype(float)
    # A mirrored box counts its corners the other way round: the corner is found by its place.
    matrix = results["lidar_aug_matrix"]
    compared = 0
    for view, (box, corner) in chosen.items():
        old = corners_m(boxes[box : box + 1].astype(float))[0, corner]
        wanted = (matrix @ [*old, 1.0])[:3]
        corners = corners_m(moved[box : box + 1])[0]
        mine = corners[np.linalg.norm(corners - wanted, axis=1).argmin()]
        assert np.linalg.norm(mine - wanted) < 2e-3
        expected = project(mine, results["lidar2img"][view])
        margin = RADIUS_PX + 2
        if not ((expected > margin) & (expected < np.array(size_px)[::-1] - margin)).all():
            continue
        weights = results["img"][view][..., 0].astype(float)
        rows, columns = np.mgrid[0 : weights.shape[0], 0 : weights.shape[1]] + 0.5
        found = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
        assert np.abs(found - expected).max() <= 1.0
        compared += 1
    return compared


def loaded(data: Any, steps: dict[str, Any], key: SampleKey) -> dict[str, Any]:
    return steps["LoadImages"].transform(steps["LoadLidarSweeps"].transform(data[key]))


def numbered(results: dict[str, Any]) -> dict[str, Any]:
    """Every point gets a number, in the place of its intensity."""
    points = results["points"].tensor
    points.numpy()[:, 3] = np.arange(len(points))
    return results


def test_corners_and_points_go_through_all_augmentations(config: RunConfig) -> None:
    data, steps = built(config, "synth_train"), steps_of(config)
    size = (config.model.image.height_px, config.model.image.width_px)
    points = corners = 0
    for draw in range(12):
        key = SampleKey(draw % len(data), 0, draw)
        before = numbered(steps["PasteObjects"].transform(loaded(data, steps, key)))
        again = numbered(steps["PasteObjects"].transform(loaded(data, steps, key)))
        labels = before["gt_labels_3d"]
        after = steps["GlobalRotScaleTransFlip"].transform(again)
        points += check_points_stay(before, after, labels)
        corners += check_corners_land(before, steps, draw, size)
    assert points > 2000
    assert corners >= 20


def test_pasted_objects_bring_their_points_and_pictures_and_touch_nothing_else(
    config: RunConfig, prepared_root: Path
) -> None:
    data, steps = built(config, "synth_train"), steps_of(config)
    store = GtDatabase(objects_folder(prepared_root, "synth_train"))
    pasted = pixels = kept = 0
    for draw in range(6):
        key = SampleKey(draw % len(data), 2, draw)
        plain = loaded(data, steps, key)
        old_points = plain["points"].tensor.numpy().copy()
        old_images = [image.copy() for image in plain["img"]]
        old_boxes = boxes_of(plain)
        results = steps["PasteObjects"].transform(loaded(data, steps, key))
        count = results["pasted"]
        boxes, labels = boxes_of(results), results["gt_labels_3d"]
        np.testing.assert_array_equal(boxes[: len(old_boxes)], old_boxes)
        assert len(boxes) == len(labels) == len(old_boxes) + count
        fresh = boxes[len(old_boxes) :].astype(float)
        points = results["points"].tensor.numpy()
        # Outside the fresh boxes everything is as it was, in the old order.
        outside = ~inside_boxes(old_points[:, :3], fresh).any(axis=0)
        np.testing.assert_array_equal(points[: outside.sum()], old_points[outside])
        own = points[outside.sum() :]
        at = 0
        for box, label in zip(fresh, labels[len(old_boxes) :], strict=True):
            place = _place_in(store, box)
            item = store.read(place, sweeps=config.data.sweeps)
            assert item.label == label
            assert len(item.points) >= config.data.gt_sampling.min_points
            mine = own[at : at + len(item.points)]
            np.testing.assert_array_equal(mine, item.points[:, :5])
            assert inside_boxes(mine[:, :3], box[None] + [0, 0, 0, 1e-3, 1e-3, 1e-3, 0]).all()
            at += len(item.points)
        assert at == len(own)
        pasted += count
        covered = [np.zeros(image.shape[:2], bool) for image in old_images]
        for view, matrix in enumerate(results["lidar2img"]):
            for box in fresh:
                mask = outline_mask(box, matrix, old_images[view].shape)
                covered[view] |= mask.astype(bool) if mask is not None else False
            changed = (results["img"][view] != old_images[view]).any(axis=-1)
            assert not (changed & ~covered[view]).any()
            pixels += int(changed.sum())
            kept += int((~changed).sum())
    assert pasted >= 6
    assert pixels > 500
    assert kept > 10 * pixels


def _place_in(store: GtDatabase, box: np.ndarray) -> int:
    away = np.abs(store.objects["box"][:, :7] - box).max(axis=1)
    assert away.min() < 1e-4
    return int(away.argmin())


def test_what_is_pasted_depends_on_seed_epoch_and_draw_and_disturbs_no_other_draw(
    config: RunConfig,
) -> None:
    data, steps = built(config, "synth_train"), steps_of(config)

    def pasted(key: SampleKey) -> bytes:
        results = steps["PasteObjects"].transform(loaded(data, steps, key))
        return boxes_of(results).tobytes()

    one = SampleKey(1, 0, 5)
    assert pasted(one) == pasted(one)
    others = [SampleKey(1, epoch, draw) for epoch in range(3) for draw in (5, 6)]
    assert len({pasted(key) for key in others}) >= 4
    results = loaded(data, steps, one)
    untouched = results["rng"].bit_generator.state
    assert steps["PasteObjects"].transform(results)["rng"].bit_generator.state == untouched


def test_cameras_at_other_places_cost_objects_only_where_misfits_are_dropped(
    config: RunConfig,
) -> None:
    def pasted(misfits: str, shift_m: float) -> list[int]:
        sampling = dataclasses.replace(config.data.gt_sampling, misfits=misfits)
        changed = dataclasses.replace(config.data, gt_sampling=sampling)
        steps = steps_of(dataclasses.replace(config, data=changed))
        data = built(config, "synth_train")
        counts = []
        for draw in range(3):
            results = loaded(data, steps, SampleKey(draw, 0, draw))
            moved = np.eye(4)
            moved[1, 3] = shift_m
            results["lidar2img"] = results["lidar2img"] @ moved
            counts.append(steps["PasteObjects"].transform(results)["pasted"])
        return counts

    whole = pasted("warp", 0.0)
    assert pasted("warp", 2.0) == whole
    assert sum(pasted("drop", 2.0)) < sum(whole)


@pytest.mark.real_frame
def test_the_real_frame_through_all_augmentations(real_frame_root: Path, tmp_path: Path) -> None:
    """Its own objects are pasted into it through cameras that are turned and moved a little."""
    register_plugins()
    root = tmp_path / "frame"
    shutil.copytree(real_frame_root, root)
    path = root / "aqr_infos" / "frame.pkl"
    content = pickle.loads(path.read_bytes())
    (info,) = content["data_list"]
    info.setdefault("scene_token", "one")
    info.setdefault("lidar_sweeps", [])
    path.write_bytes(pickle.dumps(content))
    build_database(root, "frame", workers=1)
    store = GtDatabase(objects_folder(root, "frame"))
    assert len(store.objects) > 30
    counted = {tuple(np.round(i["bbox_3d"][:3], 4)): i["num_lidar_pts"] for i in info["instances"]}
    own = [counted[tuple(np.round(row["box"][:3], 4))] for row in store.objects]
    # nuScenes' own counts of points in the boxes: nearly all the same, borders apart.
    away = np.abs(store.objects["points"][:, 0] - own)
    assert (away == 0).mean() > 0.8
    assert (away <= 2 + 0.1 * np.array(own)).all()

    overrides = ["model=cmt_r50_800x320", "data=nuscenes", *RECIPE, "data.train_split=frame"]
    overrides += ["data.gt_sampling.per_class=[40,40,40,40,40,40,40,40,40,40]"]
    config = load_run("baseline", [f"data.root={str(root)!r}", *overrides])
    data, steps = built(config, "frame"), steps_of(config)
    points = corners = pasted = 0
    for draw in range(6):
        results = loaded(data, steps, SampleKey(0, 0, draw))
        results["lidar2img"] = results["lidar2img"] @ _small_motion(draw)
        # Every second annotation is taken away: its place is free for what is pasted.
        results["instances"] = results["instances"][draw % 2 :: 2]
        keep = np.arange(len(results["gt_labels_3d"])) % 2 == draw % 2
        results["gt_bboxes_3d"] = results["gt_bboxes_3d"][keep]
        results["gt_labels_3d"] = results["gt_labels_3d"][keep]
        before = numbered(steps["PasteObjects"].transform(results))
        pasted += before["pasted"]
        after = steps["GlobalRotScaleTransFlip"].transform(copy.deepcopy(before))
        points += check_points_stay(before, after, before["gt_labels_3d"])
        corners += check_corners_land(before, steps, draw, (320, 800))
    assert pasted > 20
    assert points > 2000
    assert corners >= 10


def _small_motion(seed: int) -> np.ndarray:
    """[4, 4] a fraction of a degree and a centimetre: as cars of one model differ."""
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(rng.normal() * 0.3)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = rng.normal(size=3) * 0.01
    return matrix
