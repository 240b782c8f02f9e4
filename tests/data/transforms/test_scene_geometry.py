import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

from aqr_exp.data.transforms.geometry import GlobalRotScaleTransFlip, KeepInRange, scene_matrix


def _scene(seed: int) -> dict:
    rng = np.random.default_rng(seed)
    boxes = np.column_stack(
        [
            rng.uniform(-30, 30, (12, 2)),
            rng.uniform(-2, 0, 12),
            rng.uniform(0.5, 6, (12, 3)),
            rng.uniform(-3, 3, 12),
            rng.normal(size=(12, 2)) * 5,
        ]
    ).astype(np.float32)
    inside = boxes[rng.integers(0, 12, 400), :3] + rng.uniform(-3, 3, (400, 3))
    points = np.column_stack([inside, np.ones((400, 2))]).astype(np.float32)
    return {
        "points": LiDARPoints(points, points_dim=5),
        "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9),
        "gt_labels_3d": np.arange(12) % 10,
        "lidar2img": np.stack([np.eye(4), np.diag([500.0, 500.0, 1.0, 1.0])]),
        "rng": np.random.default_rng(seed + 100),
    }


def _corners_by_hand(box: np.ndarray) -> np.ndarray:
    """The eight corners of a bottom-centre box, l along x at yaw 0; sorted for comparison."""
    x, y, z, length, width, height, yaw = box[:7]
    rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    corners = [
        (*(rotation @ [sx * length / 2, sy * width / 2] + [x, y]), z + up)
        for sx in (-1, 1)
        for sy in (-1, 1)
        for up in (0.0, height)
    ]
    return np.array(sorted(map(tuple, np.round(corners, 4))))


def _inside_by_hand(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    x, y, z, length, width, height, yaw = box[:7]
    dx, dy = points[:, 0] - x, points[:, 1] - y
    along = dx * np.cos(yaw) + dy * np.sin(yaw)
    across = -dx * np.sin(yaw) + dy * np.cos(yaw)
    up = points[:, 2] - z
    return (abs(along) < length / 2) & (abs(across) < width / 2) & (up > 0) & (up < height)


def test_matrix_of_a_worked_case():
    # (1, 2, 3) -> mirror x: (-1, 2, 3) -> quarter turn: (-2, -1, 3) -> doubled: (-4, -2, 6) -> shifted.
    matrix = scene_matrix(
        np.pi / 2, 2.0, np.array([10.0, 20.0, 30.0]), mirror_x=True, mirror_y=False
    )
    np.testing.assert_allclose(matrix @ [1, 2, 3, 1], [6.0, 18.0, 36.0, 1.0], atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_points_boxes_and_projections_move_together(seed):
    before, after = _scene(seed), _scene(seed)
    step = GlobalRotScaleTransFlip(
        rotate_deg=45.0, scale=(0.9, 1.1), translate_std_m=(0.5, 0.5, 0.5), flip_bev=True
    )
    after = step.transform(after)
    matrix = after["lidar_aug_matrix"]

    old_points, new_points = before["points"].tensor.numpy(), after["points"].tensor.numpy()
    homogeneous = np.column_stack([old_points[:, :3], np.ones(len(old_points))])
    np.testing.assert_allclose(new_points[:, :3], (homogeneous @ matrix.T)[:, :3], atol=1e-4)
    # A moved point lands on the pixel that showed it.
    moved = np.column_stack([new_points[:, :3].astype(float), np.ones(len(new_points))])
    for old, new in zip(before["lidar2img"], after["lidar2img"], strict=True):
        np.testing.assert_allclose(moved @ new.T, homogeneous @ old.T, rtol=1e-4, atol=2e-2)

    for old, new in zip(
        before["gt_bboxes_3d"].tensor.numpy().astype(float),
        after["gt_bboxes_3d"].tensor.numpy().astype(float),
        strict=True,
    ):
        # A box's corners move as points do, its points stay its points, its velocity turns with it.
        corners = np.column_stack([_corners_by_hand(old), np.ones(8)]) @ matrix.T
        ours = np.array(sorted(map(tuple, np.round(corners[:, :3], 3))))
        theirs = _corners_by_hand(new)
        assert np.abs(ours[:, None] - theirs[None]).sum(-1).min(axis=1).max() < 0.02
        shrunk, grown = old.copy(), old.copy()
        shrunk[3:6] *= 0.999
        grown[3:6] *= 1.001
        clear = _inside_by_hand(old_points, shrunk) == _inside_by_hand(old_points, grown)
        np.testing.assert_array_equal(
            _inside_by_hand(new_points, new)[clear], _inside_by_hand(old_points, old)[clear]
        )
        np.testing.assert_allclose(new[7:9], (matrix[:2, :2] @ old[7:9]), atol=1e-3)


def test_unknown_velocities_stay_unknown():
    scene = _scene(0)
    scene["gt_bboxes_3d"].tensor[3, 7:9] = float("nan")
    moved = GlobalRotScaleTransFlip(45.0, (0.9, 1.1), (0.5, 0.5, 0.5), flip_bev=True).transform(
        scene
    )
    assert torch.isnan(moved["gt_bboxes_3d"].tensor).any(dim=1).nonzero().flatten().tolist() == [3]


def test_a_scene_without_boxes_moves():
    scene = _scene(0)
    scene["gt_bboxes_3d"] = scene["gt_bboxes_3d"][torch.zeros(12, dtype=torch.bool)]
    moved = GlobalRotScaleTransFlip(45.0, (0.9, 1.1), (0.5, 0.5, 0.5), flip_bev=True).transform(
        scene
    )
    assert len(moved["gt_bboxes_3d"]) == 0


@pytest.mark.parametrize(
    ("x", "kept"), [(-54.0, True), (53.999, True), (54.0, False), (-54.001, False)]
)
def test_the_range_holds_its_lower_bound_and_not_its_upper(x, kept):
    points = LiDARPoints(np.array([[x, 0.0, 0.0, 1.0, 0.0]], dtype=np.float32), points_dim=5)
    step = KeepInRange((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0))
    assert len(step.transform({"points": points})["points"]) == int(kept)


def test_boxes_are_kept_by_their_centre_and_labels_follow():
    boxes = np.array(
        [
            [53.9, 0, -9, 4, 2, 2, 0, 0, 0],
            [54.1, 0, 0, 4, 2, 2, 0, 0, 0],
            [0, 0, 0, 4, 2, 2, 4.0, 0, 0],
        ],
        dtype=np.float32,
    )
    results = {
        "points": LiDARPoints(np.zeros((0, 5), dtype=np.float32), points_dim=5),
        "gt_bboxes_3d": LiDARInstance3DBoxes(boxes, box_dim=9),
        "gt_labels_3d": np.array([7, 8, 9]),
    }
    kept = KeepInRange((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0)).transform(results)
    assert kept["gt_labels_3d"].tolist() == [7, 9]
    # The yaw is brought into [-pi, pi): 4 - 2 pi.
    assert kept["gt_bboxes_3d"].tensor[1, 6].item() == pytest.approx(4.0 - 2 * np.pi, abs=1e-5)


def test_angles_are_degrees_on_either_side():
    move = GlobalRotScaleTransFlip(
        rotate_deg=40.0, scale=(1.0, 1.0), translate_std_m=(0, 0, 0), flip_bev=False
    )
    angles = []
    for seed in range(200):
        matrix = move.transform(_scene(seed))["lidar_aug_matrix"]
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
    # Uniform: of 200 draws the mean has a standard deviation of 1.6 degrees.
    assert -40.0 <= min(angles) < -36.0
    assert 36.0 < max(angles) <= 40.0
    assert abs(np.mean(angles)) < 8.0


def test_a_full_turn_does_not_wrap_into_a_part_of_one():
    move = GlobalRotScaleTransFlip(
        rotate_deg=180.0, scale=(1.0, 1.0), translate_std_m=(0, 0, 0), flip_bev=False
    )
    quadrants = set()
    for seed in range(60):
        matrix = move.transform(_scene(seed))["lidar_aug_matrix"]
        quadrants.add((matrix[0, 0] > 0, matrix[1, 0] > 0))
    assert len(quadrants) == 4


def test_scales_and_shifts_are_drawn_from_all_of_their_range():
    move = GlobalRotScaleTransFlip(
        rotate_deg=0.0, scale=(0.9, 1.2), translate_std_m=(2, 1, 0.5), flip_bev=True
    )
    matrices = np.stack([move.transform(_scene(seed))["lidar_aug_matrix"] for seed in range(300)])
    scales = np.abs(matrices[:, 2, 2])
    assert 0.9 <= scales.min() < 0.92
    assert 1.18 < scales.max() <= 1.2
    shifts = matrices[:, :3, 3]
    np.testing.assert_allclose(shifts.std(axis=0), [2.0, 1.0, 0.5], rtol=0.15)
    assert (np.abs(shifts.mean(axis=0)) < 0.25 * np.array([2.0, 1.0, 0.5])).all()
    for axis in (0, 1):
        assert 0.35 < (matrices[:, axis, axis] < 0).mean() < 0.65
