"""What training makes of frames: the boxes, velocities and points that count, and frames without boxes."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

from aqr_exp.cmt.lidar_branch import Voxelisation
from aqr_exp.config.identity import canonical, fingerprint
from aqr_exp.config.load import load_run
from aqr_exp.config.schema import RunConfig
from aqr_exp.data import dataset as dataset_module
from aqr_exp.data.dataset import KeyedSampler, SampleKey, augmentation_rng, others
from aqr_exp.data.info_files import BoxRule, epoch_samples
from aqr_exp.data.pipeline import augmentation_steps, dataset_config
from aqr_exp.errors import RequestError
from aqr_exp.train.runner_config import register_plugins

STILL = ["data.augment.drop_camera=0", "data.augment.drop_lidar=0"]
Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture(scope="module", autouse=True)
def _plugins() -> None:
    register_plugins()


@pytest.fixture
def altered(prepared_root: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of a small data set whose training samples were changed."""

    def make(change: Change) -> Path:
        root = tmp_path / "data"
        shutil.copytree(prepared_root, root, copy_function=os.link)
        path = root / "aqr_infos" / "synth_train.pkl"
        content = pickle.loads(path.read_bytes())
        change(content["data_list"])
        path.unlink()  # the linked one stays as it is
        path.write_bytes(pickle.dumps(content))
        return root

    return make


def run_on(root: Path, *overrides: str) -> RunConfig:
    return load_run("baseline", [f'data.root="{root}"', *STILL, *overrides])


def built(config: RunConfig, **changes: Any) -> Any:
    return DATASETS.build({**dataset_config(config, "synth_train", training=True), **changes})


def augmented(config: RunConfig) -> Any:
    return built(config, pipeline=augmentation_steps(config))


def test_the_published_recipe_is_the_real_data_sets_and_not_the_synthetic_ones() -> None:
    published = {
        "ego_points": True,
        "shuffle_points": True,
        "box_points": "lidar",
        "balance_by": "annotated",
        "redraw_empty": True,
        "unknown_velocity": "zero",
    }
    for typed in (["preset=paper_r50"], ["preset=paper_vov"], ["data=nuscenes_mini"]):
        data = load_run("baseline", typed).data
        assert {key: getattr(data, key) for key in published} == published
        assert (data.augment.dropped_cloud, data.augment.narrow_images) == ("origin", "left")
    sampling = load_run("baseline", ["preset=paper_r50"]).data.gt_sampling
    assert (sampling.mixup, sampling.misfits) == (0.5, "warp")
    for typed in (["preset=quick"], ["preset=smoke"], ["schedule=standard"]):
        form = canonical(load_run("baseline", typed))["data"]
        assert not {*published, "dropped_cloud", "narrow_images"} & {*form, *form["augment"]}


@pytest.mark.parametrize(
    "typed",
    [
        "data.ego_points=true",
        "data.shuffle_points=true",
        "data.box_points=lidar",
        "data.balance_by=annotated",
        "data.redraw_empty=true",
        "data.unknown_velocity=zero",
        "data.augment.dropped_cloud=origin",
        "data.augment.narrow_images=left",
    ],
)
def test_every_switch_makes_another_run(typed: str) -> None:
    assert fingerprint(load_run("baseline", [typed])) != fingerprint(load_run("baseline"))


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["data.unknown_velocity=zeros"],
            "data.unknown_velocity='zeros': must be one of ignore, zero: did you mean 'zero'?",
        ),
        (["data.box_points=radar"], "data.box_points='radar': must be one of all, lidar"),
        (["data.balance_by=1"], "data.balance_by=1: must be one of trained, annotated"),
        (["data.shuffle_points=maybe"], "data.shuffle_points='maybe': must be true or false"),
        (
            ["data.augment.dropped_cloud=orign"],
            "data.augment.dropped_cloud='orign': must be one of empty, origin: did you mean 'origin'?",
        ),
        (
            ["gt_sampling=cmt", "data.gt_sampling.mixup=1.5"],
            "data.gt_sampling.mixup=1.5: must be a number from 0 to 1",
        ),
        (
            ["gt_sampling=cmt", "data.gt_sampling.misfits=warped"],
            "data.gt_sampling.misfits='warped': must be one of drop, warp: did you mean 'warp'?",
        ),
    ],
)
def test_wrong_values_are_one_line(typed: list[str], line: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_run("baseline", typed)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


# Boxes ------------------------------------------------------------------------------------------


def box(label: int, lidar: int, radar: int) -> dict[str, int]:
    return {"bbox_label_3d": label, "num_lidar_pts": lidar, "num_radar_pts": radar}


NAMES = {0: "car", 1: "bus", 2: "pedestrian", 3: "animal"}
BOXES = [box(0, 1, 0), box(1, 0, 2), box(2, 0, 0), box(3, 9, 9), box(-1, 9, 9)]


@pytest.mark.parametrize(
    ("rule", "trained", "balanced"),
    [
        ({}, [0, 1], {"car", "bus"}),
        ({"box_points": "lidar"}, [0], {"car"}),
        ({"min_box_points": 2}, [1], {"bus"}),
        ({"min_box_points": 0, "box_points": "lidar"}, [0, 1, 2], {"car", "bus", "pedestrian"}),
        ({"balance_by": "annotated"}, [0, 1], {"car", "bus", "pedestrian"}),
        (
            {"balance_by": "annotated", "box_points": "lidar"},
            [0],
            {"car", "bus", "pedestrian"},
        ),
    ],
)
def test_boxes_that_are_trained_on_and_classes_that_are_balanced(
    rule: dict[str, Any], trained: list[int], balanced: set[str]
) -> None:
    chosen = BoxRule(**rule)
    assert [one["bbox_label_3d"] for one in chosen.trained_on(BOXES, NAMES)] == trained
    assert chosen.balanced(BOXES, NAMES) == balanced


def test_what_is_announced_is_what_is_drawn(altered: Callable[[Change], Path]) -> None:
    """A third of the classes is seen by radar alone, a third by nothing."""

    def change(samples: list[dict[str, Any]]) -> None:
        for sample in samples:
            for instance in sample["instances"]:
                seen = [(3, 0), (0, 2), (0, 0)][instance["bbox_label_3d"] % 3]
                instance["num_lidar_pts"], instance["num_radar_pts"] = seen

    root = altered(change)
    drawn = []
    for choice in ("all", "trained"), ("lidar", "trained"), ("lidar", "annotated"):
        points, counted = choice
        typed = [f"data.box_points={points}", f"data.balance_by={counted}"]
        config = run_on(root, "schedule.cbgs=true", *typed)
        data = built(config, pipeline=[])
        sampler = KeyedSampler(data, seed=1, balanced=True)
        drawn.append(len(list(sampler)))
        assert epoch_samples(config, len(data)) == drawn[-1] == len(sampler)
        by_class = data.samples_by_class()
        for sample in range(len(data)):
            held = {label for label, where in enumerate(by_class) if sample in where}
            trained = set(data[SampleKey(sample, 0, 0)]["gt_labels_3d"])
            assert trained == held if counted == "trained" else trained < held
    assert drawn[1] < drawn[0] < drawn[2]


# Velocities -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "unknown"), [("ignore", True), ("zero", False)])
def test_unknown_velocities_are_left_or_stand_still_those_of_pasted_objects_too(
    altered: Callable[[Change], Path], typed: str, unknown: bool
) -> None:
    def change(samples: list[dict[str, Any]]) -> None:
        for instance in samples[0]["instances"]:
            instance["velocity"] = [np.nan, np.nan]

    root = altered(change)
    config = run_on(root, f"data.unknown_velocity={typed}", "gt_sampling=cmt")
    data = augmented(config)
    for draw in range(2):
        results = data[SampleKey(0, 0, draw)]
        speeds = results["gt_bboxes_3d"].tensor[:, 7:]
        own = len(speeds) - results["pasted"]
        assert speeds[:own].isnan().all() == unknown
        assert unknown or not speeds[:own].any()
        if not unknown:
            assert speeds.isfinite().all()
    moving = LiDARInstance3DBoxes(
        torch.tensor([[0.0] * 3 + [1.0] * 3 + [0.0, 2.0, torch.nan]] * 2), box_dim=9
    )
    step = TRANSFORMS.build({"type": "ZeroUnknownVelocities"})
    stood = step.transform({"gt_bboxes_3d": moving})["gt_bboxes_3d"].tensor
    assert stood[:, 7:].tolist() == [[2.0, 0.0]] * 2


# Frames without boxes ---------------------------------------------------------------------------


def _empty_but_the_second(samples: list[dict[str, Any]]) -> None:
    for place, sample in enumerate(samples):
        if place != 1:
            sample["instances"] = []


def test_a_frame_without_boxes_gives_way_to_another_if_that_is_wanted(
    altered: Callable[[Change], Path],
) -> None:
    root = altered(_empty_but_the_second)
    kept = run_on(root)
    redrawn = run_on(root, "data.redraw_empty=true")
    names = [[step["type"] for step in augmentation_steps(config)] for config in (kept, redrawn)]
    assert names[1] == [*names[0], "NeedBoxes"]
    assert names[0][-1] == "KeepInRange"  # which may take the last box
    assert len(built(kept, pipeline=[])[SampleKey(0, 0, 0)]["gt_labels_3d"]) == 0
    data = built(redrawn, pipeline=[{"type": "NeedBoxes"}])
    wanted = data.get_data_info(1)["token"]
    for sample in (0, 1, 4):
        for draw in range(5):
            drawn = data[SampleKey(sample, 0, draw)]
            assert drawn["token"] == wanted
            assert len(drawn["gt_labels_3d"]) > 0
            again = data[SampleKey(sample, 0, draw)]
            assert drawn["rng"].random() == again["rng"].random()
    # The sample itself keeps its draws where it has boxes.
    state = data[SampleKey(1, 0, 3)]["rng"].random()
    assert state == augmentation_rng(redrawn.seed, SampleKey(1, 0, 3)).random()


def test_another_frame_is_any_frame_and_a_function_of_the_request() -> None:
    key = SampleKey(sample=3, epoch=1, draw=7)
    drawn = list(others(0, key, 10))
    assert drawn == list(others(0, key, 10))
    assert {one[1:] for one in drawn} == {key[1:]}
    counts = np.bincount([one.sample for one in drawn], minlength=10) * 2
    # Twice a count of 100 in 1,000, whose standard deviation is 9.5; three of them.
    assert abs(counts - 200).max() < 60
    assert drawn != list(others(0, key._replace(draw=8), 10))


def test_a_data_set_without_any_box_is_refused_in_one_line(
    altered: Callable[[Change], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(samples: list[dict[str, Any]]) -> None:
        for sample in samples:
            sample["instances"] = []

    monkeypatch.setattr(dataset_module, "MOST_REDRAWS", 5)
    data = built(
        run_on(altered(change), "data.redraw_empty=true"), pipeline=[{"type": "NeedBoxes"}]
    )
    with pytest.raises(RequestError) as refused:
        data[SampleKey(0, 0, 0)]
    assert str(refused.value) == (
        "data.redraw_empty=true: 5 samples drawn one after another have no box to train on"
    )


# The order of points ----------------------------------------------------------------------------


def test_shuffling_changes_the_order_of_points_and_nothing_else(prepared_root: Path) -> None:
    plain = augmented(run_on(prepared_root, "gt_sampling=cmt"))
    mixed = augmented(run_on(prepared_root, "gt_sampling=cmt", "data.shuffle_points=true"))
    for key in (SampleKey(1, 1, 5),):
        before, after = plain[key], mixed[key]
        one, other = before["points"].tensor.numpy(), after["points"].tensor.numpy()
        assert (one != other).any()
        assert sorted(map(tuple, one)) == sorted(map(tuple, other))
        np.testing.assert_array_equal(other, mixed[key]["points"].tensor.numpy())
        assert torch.equal(before["gt_bboxes_3d"].tensor, after["gt_bboxes_3d"].tensor)
        for view, image in enumerate(before["img"]):
            np.testing.assert_array_equal(image, after["img"][view])
    orders = {
        tuple(mixed[SampleKey(0, 0, draw)]["points"].tensor[:3, 0].tolist()) for draw in (1, 2)
    }
    assert len(orders) == 2


QUOTA, PASTED = 120_000, 400


@pytest.mark.parametrize("occupied", [110_000, 130_000, 150_000, 180_000])
def test_pasted_points_outlive_a_full_voxel_grid_as_others_do(occupied: int) -> None:
    """Every point has a voxel of its own, the pasted ones come last."""
    model = load_run("baseline", ["preset=paper_vov"]).model
    lidar, low = model.lidar, np.array(model.point_cloud_range_m[:3])
    size, grid = np.array(lidar.voxel_size_m), np.array(lidar.grid_size)
    rng = np.random.default_rng(occupied)
    cells = rng.permutation(np.unique(rng.integers(grid.prod(), size=occupied + 2000)))
    cells = cells[: occupied + PASTED]
    cells = np.stack(np.unravel_index(cells, tuple(grid)), axis=-1)
    points = np.zeros((len(cells), 5), np.float32)
    points[:, :3] = low + (cells + 0.5) * size
    points[-PASTED:, 3] = 1.0
    assert lidar.max_voxels_train == QUOTA
    voxels = Voxelisation(
        voxel_size_m=lidar.voxel_size_m,
        point_cloud_range_m=model.point_cloud_range_m,
        grid_size=lidar.grid_size,
        max_points=lidar.max_points_per_voxel,
        max_voxels_train=QUOTA,
        max_voxels_test=lidar.max_voxels_test,
    ).train()

    def survivors(cloud: torch.Tensor) -> tuple[float, float]:
        kept = voxels([cloud]).features.reshape(-1, 5)
        pasted = int((kept[:, 3] == 1).sum())
        others = int((kept[:, :3] != 0).any(dim=1).sum()) - pasted
        return pasted / PASTED, others / occupied

    share = min(1.0, QUOTA / (occupied + PASTED))
    in_order = survivors(torch.from_numpy(points))[0]
    assert in_order == (1.0 if occupied < QUOTA else 0.0)
    step = TRANSFORMS.build({"type": "ShufflePoints"})
    found = []
    for seed in range(3):
        results = {
            "points": LiDARPoints(points, points_dim=5),
            "rng": np.random.default_rng(seed),
        }
        found.append(survivors(step.transform(results)["points"].tensor))
    pasted, others = np.mean(found, axis=0)
    assert others == pytest.approx(share, rel=0.005)
    # Three draws: the standard deviation of the mean share is at most 2 % of it.
    assert pasted == pytest.approx(others, rel=0.05)
