"""Move the whole scene (points, boxes and projections together) in the LiDAR frame."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MoveScene(BaseTransform):
    """Mirror, rotate, scale and shift a training scene at random.

    A point p goes to p' = scale R F p + t, with F the mirrors. `lidar2img` is multiplied by the inverse,
    so a moved point still lands on the pixel that shows it.

    Args:
        rotate_deg: The angle about z is uniform in +- this.
        scale: Lowest and highest scale.
        translate_std_m: Standard deviations of the shift (x, y, z).
        flip_bev: Mirror x and mirror y, each with probability one half.
    """

    def __init__(
        self,
        rotate_deg: float,
        scale: tuple[float, float],
        translate_std_m: tuple[float, float, float],
        flip_bev: bool,
    ) -> None:
        self.rotate_deg = rotate_deg
        self.scale_low, self.scale_high = scale
        self.translate_std_m = np.asarray(translate_std_m)
        self.flip_bev = flip_bev

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Move `points` and `gt_bboxes_3d`, correct `lidar2img`, record `lidar_aug_matrix` [4, 4]."""
        rng = results["rng"]
        angle = np.deg2rad(rng.uniform(-self.rotate_deg, self.rotate_deg))
        scale = rng.uniform(self.scale_low, self.scale_high)
        shift = rng.normal(size=3) * self.translate_std_m
        mirror_x, mirror_y = (self.flip_bev and rng.random() < 0.5 for _ in range(2))

        boxes = results["gt_bboxes_3d"]
        if mirror_x:
            boxes.flip("vertical")  # mmdet3d's word for x -> -x
        if mirror_y:
            boxes.flip("horizontal")  # and for y -> -y
        boxes.rotate(angle)
        boxes.scale(scale)
        boxes.translate(torch.as_tensor(shift, dtype=boxes.tensor.dtype))

        matrix = scene_matrix(angle, scale, shift, mirror_x, mirror_y)
        points = results["points"].tensor
        linear = torch.as_tensor(matrix[:3, :3], dtype=points.dtype)
        points[:, :3] = points[:, :3] @ linear.T + torch.as_tensor(
            matrix[:3, 3], dtype=points.dtype
        )
        results["lidar2img"] = results["lidar2img"] @ np.linalg.inv(matrix)
        results["lidar_aug_matrix"] = matrix
        return results


def scene_matrix(
    angle: float, scale: float, shift: np.ndarray, mirror_x: bool, mirror_y: bool
) -> np.ndarray:
    """The 4 x 4 matrix of p' = scale R(angle) F p + shift.

    Args:
        angle: Counter-clockwise rotation about z, in radians.
        scale: Factor on every length.
        shift: [3], metres, applied last.
        mirror_x: Whether x changes its sign first.
        mirror_y: Whether y changes its sign first.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    mirrors = np.diag([-1.0 if mirror_x else 1.0, -1.0 if mirror_y else 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation @ mirrors
    matrix[:3, 3] = shift
    return matrix


@TRANSFORMS.register_module()
class KeepInRange(BaseTransform):
    """Drop points outside the range, and boxes whose centre is outside it in BEV.

    Args:
        point_cloud_range_m: (x, y, z, x, y, z), lower bounds first.
    """

    def __init__(self, point_cloud_range_m: tuple[float, ...]) -> None:
        self.low = torch.tensor(point_cloud_range_m[:3])
        self.high = torch.tensor(point_cloud_range_m[3:])

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter `points`, and `gt_bboxes_3d` with `gt_labels_3d` where there are any."""
        xyz = results["points"].tensor[:, :3]
        results["points"] = results["points"][((xyz >= self.low) & (xyz < self.high)).all(dim=1)]
        if "gt_bboxes_3d" in results:
            centres = results["gt_bboxes_3d"].tensor[:, :2]
            inside = ((centres > self.low[:2]) & (centres < self.high[:2])).all(dim=1)
            results["gt_bboxes_3d"] = results["gt_bboxes_3d"][inside]
            results["gt_bboxes_3d"].limit_yaw(offset=0.5, period=2 * np.pi)
            results["gt_labels_3d"] = results["gt_labels_3d"][inside.numpy()]
        return results
