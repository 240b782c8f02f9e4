"""Geometric augmentation of images and scenes, consistent with `lidar2img`, and what is kept of them."""

from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.datasets.transforms import Pack3DDetInputs
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints

from aqr_exp.data.classes import Modality


def image_affine(scale: float, crop_left: int, crop_top: int, width: int, flip: bool) -> np.ndarray:
    """[4, 4] matrix A of an image transform on pixels: `lidar2img_new = A @ lidar2img`.

    Resizing maps the continuous coordinate x to `scale` x, cropping subtracts the corner, mirroring maps
    x to `width` - x.
    """
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = scale
    matrix[0, 2], matrix[1, 2] = -crop_left, -crop_top
    if flip:
        mirror = np.eye(4)
        mirror[0, 0], mirror[0, 2] = -1.0, width
        matrix = mirror @ matrix
    return matrix


_ONE_WARP = 0.75


def resize_crop_flip(
    image: np.ndarray,
    scale: float,
    crop_left: int,
    crop_top: int,
    size: tuple[int, int],
    flip: bool,
    decoded: float = 1.0,
) -> np.ndarray:
    """Apply the transform of `image_affine` to an image [H, W, 3] uint8; `size` is (height, width).

    The result is black where the crop reaches beyond the resized image, which has the share `decoded` of
    the size that the transform is of.
    """
    height, width = size
    # cv2 puts pixel centres on integers, the projection puts them on half integers.
    matrix = image_affine(scale, crop_left, crop_top, width, flip)[:2, :3]
    exact, further = np.full(2, decoded), scale / decoded
    # The decoder has averaged what it made smaller: a little more needs no second pass.
    if further < (1.0 if decoded == 1.0 else _ONE_WARP):
        # Average instead of skipping pixels, so that small objects survive the reduction.
        rounded = (round(image.shape[1] * further), round(image.shape[0] * further))
        exact *= np.array(rounded) / (image.shape[1], image.shape[0])
        image = cv2.resize(image, rounded, interpolation=cv2.INTER_AREA)
    linear = matrix[:, :2] / exact
    shift = matrix[:, 2] + 0.5 * (linear.sum(axis=1) - 1.0)
    warp = np.column_stack([linear, shift])
    return cv2.warpAffine(image, warp, (width, height), flags=cv2.INTER_LINEAR)


@TRANSFORMS.register_module()
class ResizeCropFlipImages(BaseTransform):
    """Bring every view to the network's input size; in training at a random scale, place and side.

    All views of a sample share one draw. The crop keeps the bottom of the picture (the sky goes), as
    the published recipe does.

    Args:
        resize: Lowest and highest scale in training.
        flip: Mirror with probability one half in training.
        training: True to draw at random.
        narrow: Where an image narrower than the input lies: `anywhere` (drawn; in the middle
            otherwise) or `left`.
    """

    def __init__(
        self,
        height_px: int,
        width_px: int,
        resize: tuple[float, float],
        test_resize: float,
        flip: bool,
        training: bool,
        narrow: str = "anywhere",
    ) -> None:
        self.size = (height_px, width_px)
        self.resize_low, self.resize_high = resize
        self.test_resize = test_resize
        self.flip = flip
        self.training = training
        self.narrow = narrow

    def _draw(
        self, shape: tuple[int, int], rng: np.random.Generator, scale: float | None
    ) -> tuple[float, int, int, bool]:
        height, width = self.size
        if scale is None:
            drawn = self.training
            scale = rng.uniform(self.resize_low, self.resize_high) if drawn else self.test_resize
        spare_left = int(shape[1] * scale) - width
        if self.narrow == "left":
            spare_left = max(0, spare_left)
        crop_top = int(shape[0] * scale) - height
        if not self.training:
            return scale, spare_left // 2, crop_top, False
        crop_left = int(rng.uniform(min(0, spare_left), max(0, spare_left)))
        return scale, crop_left, crop_top, self.flip and rng.random() < 0.5

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `img` and `lidar2img`; set `img_shape` and `pad_shape` to (height, width, 3)."""
        drawn = results.get("img_scale")
        scale, left, top, flip = self._draw(results["ori_shape"], results["rng"], drawn)
        decoded = results.get("img_decoded", 1.0)
        black = results.get("modal_dropout") is Modality.CAMERA
        results["img"] = [
            np.zeros((*self.size, 3), np.uint8)
            if black
            else resize_crop_flip(image, scale, left, top, self.size, flip, decoded)
            for image in results["img"]
        ]
        affine = image_affine(scale, left, top, self.size[1], flip)
        results["lidar2img"] = affine @ results["lidar2img"]
        shape = (*self.size, 3)
        results["img_shape"] = results["pad_shape"] = [shape] * len(results["img"])
        return results


@TRANSFORMS.register_module()
class PackSample(Pack3DDetInputs):
    """Pack a sample for the detector; its images stay bytes, which the device normalises.

    They are a quarter of the floats that every copy on the way would move, and are not brought into
    another order: `img` is [V, 3, H, W] by shape, and lies in memory as the images were read.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack; `img` is uint8, or float32 where a step gave anything but bytes."""
        images = np.stack(results.pop("img"))
        if images.dtype != np.uint8:
            images = images.astype(np.float32, copy=False)
        packed: dict[str, Any] = super().transform(results)
        packed["inputs"]["img"] = torch.from_numpy(images).movedim(-1, -3)
        return packed


@TRANSFORMS.register_module()
class GlobalRotScaleTransFlip(BaseTransform):
    """Mirror, rotate, scale and shift a training scene at random.

    A point p goes to p' = scale R F p + t, with F the mirrors. `lidar2img` is multiplied by the inverse,
    so a moved point still lands on the pixel that shows it.

    Args:
        rotate_deg: The angle about z is uniform in +- this.
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
    """[4, 4] matrix of p' = scale R(angle) F p + shift, with F the mirrors of x and y.

    The angle is counter-clockwise about z in radians, the shift [3] in metres.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    mirrors = np.diag([-1.0 if mirror_x else 1.0, -1.0 if mirror_y else 1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation @ mirrors
    matrix[:3, 3] = shift
    return matrix


def with_rows(points: LiDARPoints, places: np.ndarray) -> LiDARPoints:
    """The points at places, in their order; several times faster than torch's indexing."""
    rows = points.tensor.numpy().take(places, axis=0)
    return LiDARPoints(rows, points_dim=rows.shape[1])


@TRANSFORMS.register_module()
class KeepInRange(BaseTransform):
    """Drop points outside (x, y, z, x, y, z), lower bounds first, and boxes with BEV centres outside."""

    def __init__(self, point_cloud_range_m: tuple[float, ...]) -> None:
        self.low = torch.tensor(point_cloud_range_m[:3])
        self.high = torch.tensor(point_cloud_range_m[3:])

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter `points`, and `gt_bboxes_3d` with `gt_labels_3d` where there are any."""
        points = results["points"].tensor.numpy()
        inside = np.ones(len(points), dtype=bool)
        # Column by column: a mask [N, 3] and its sum over the axes take twice as long.
        for axis, (low, high) in enumerate(zip(self.low.numpy(), self.high.numpy(), strict=True)):
            inside &= points[:, axis] >= low
            inside &= points[:, axis] < high
        results["points"] = with_rows(results["points"], np.flatnonzero(inside))
        if "gt_bboxes_3d" in results:
            centres = results["gt_bboxes_3d"].tensor[:, :2]
            inside = ((centres > self.low[:2]) & (centres < self.high[:2])).all(dim=1)
            results["gt_bboxes_3d"] = results["gt_bboxes_3d"][inside]
            results["gt_bboxes_3d"].limit_yaw(offset=0.5, period=2 * np.pi)
            results["gt_labels_3d"] = results["gt_labels_3d"][inside.numpy()]
        return results


@TRANSFORMS.register_module()
class NeedBoxes(BaseTransform):
    """Refuse a sample without a box to train on: the data set draws another."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Give the sample back, or None."""
        return results if len(results["gt_labels_3d"]) else None


@TRANSFORMS.register_module()
class ZeroUnknownVelocities(BaseTransform):
    """Let objects of unknown velocity stand still."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace NaN in the velocities of `gt_bboxes_3d`."""
        results["gt_bboxes_3d"].tensor[:, 7:].nan_to_num_(nan=0.0)
        return results


@TRANSFORMS.register_module()
class ShufflePoints(BaseTransform):
    """Bring the points into a drawn order."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Reorder `points`."""
        order = results["rng"].permutation(len(results["points"]))
        results["points"] = with_rows(results["points"], order)
        return results
