"""Resize, crop, mirror and normalise the views, and tell `lidar2img` about it."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS


def image_affine(scale: float, crop_left: int, crop_top: int, width: int, flip: bool) -> np.ndarray:
    """The 4 x 4 matrix that moves homogeneous pixels as an image transform moves the picture.

    Resizing maps the continuous coordinate x to `scale` x, cropping subtracts the corner, mirroring maps
    x to `width` - x.

    Args:
        scale: New size over old size.
        crop_left: Left edge of the crop in the resized image, in pixels.
        crop_top: Top edge of the crop in the resized image, in pixels.
        width: Width of the crop, in pixels.
        flip: Whether the crop is mirrored left to right.

    Returns:
        Matrix A with `lidar2img_new = A @ lidar2img` (pixels are (u d, v d, d, 1)).
    """
    matrix = np.eye(4)
    matrix[0, 0] = matrix[1, 1] = scale
    matrix[0, 2], matrix[1, 2] = -crop_left, -crop_top
    if flip:
        mirror = np.eye(4)
        mirror[0, 0], mirror[0, 2] = -1.0, width
        matrix = mirror @ matrix
    return matrix


def resize_crop_flip(
    image: np.ndarray,
    scale: float,
    crop_left: int,
    crop_top: int,
    size: tuple[int, int],
    flip: bool,
) -> np.ndarray:
    """Apply the transform `image_affine` describes.

    Args:
        image: [H, W, 3] uint8.
        scale: New size over old size.
        crop_left: Left edge of the crop in the resized image.
        crop_top: Top edge of the crop in the resized image.
        size: (height, width) of the result, in pixels.
        flip: Whether the result is mirrored.

    Returns:
        [height, width, 3] uint8; black where the crop reaches beyond the resized image.
    """
    height, width = size
    # cv2 puts pixel centres on integers, the projection puts them on half integers.
    matrix = image_affine(scale, crop_left, crop_top, width, flip)[:2, :3]
    shift = matrix[:, 2] + 0.5 * (matrix[:, :2].sum(axis=1) - 1.0)
    warp = np.column_stack([matrix[:, :2], shift])
    if scale < 1.0:
        # Average instead of skipping pixels, so that small objects survive the reduction.
        rounded = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        reduced = cv2.resize(image, rounded, interpolation=cv2.INTER_AREA)
        exact = np.array(rounded) / (image.shape[1], image.shape[0])
        linear = matrix[:, :2] / exact
        shift = matrix[:, 2] + 0.5 * (linear.sum(axis=1) - 1.0)
        image, warp = reduced, np.column_stack([linear, shift])
    return cv2.warpAffine(image, warp, (width, height), flags=cv2.INTER_LINEAR)


@TRANSFORMS.register_module()
class ResizeCropFlipImages(BaseTransform):
    """Bring every view to the network's input size; in training at a random scale, place and side.

    All views of a sample share one draw. The crop keeps the bottom of the picture (the sky goes), as
    the published recipe does.

    Args:
        height_px: Height of the network's input.
        width_px: Width of the network's input.
        resize: Lowest and highest scale in training.
        test_resize: Scale at evaluation.
        flip: Mirror with probability one half in training.
        training: Whether to draw at random.
    """

    def __init__(
        self,
        height_px: int,
        width_px: int,
        resize: tuple[float, float],
        test_resize: float,
        flip: bool,
        training: bool,
    ) -> None:
        self.size = (height_px, width_px)
        self.resize_low, self.resize_high = resize
        self.test_resize = test_resize
        self.flip = flip
        self.training = training

    def _draw(
        self, shape: tuple[int, int], rng: np.random.Generator
    ) -> tuple[float, int, int, bool]:
        height, width = self.size
        scale = (
            rng.uniform(self.resize_low, self.resize_high) if self.training else self.test_resize
        )
        spare_left = int(shape[1] * scale) - width
        crop_top = int(shape[0] * scale) - height
        if not self.training:
            return scale, spare_left // 2, crop_top, False
        crop_left = int(rng.uniform(min(0, spare_left), max(0, spare_left)))
        return scale, crop_left, crop_top, self.flip and rng.random() < 0.5

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `img` and `lidar2img`; set `img_shape` and `pad_shape` to (height, width, 3)."""
        scale, left, top, flip = self._draw(results["ori_shape"], results["rng"])
        results["img"] = [
            resize_crop_flip(image, scale, left, top, self.size, flip) for image in results["img"]
        ]
        affine = image_affine(scale, left, top, self.size[1], flip)
        results["lidar2img"] = affine @ results["lidar2img"]
        shape = (*self.size, 3)
        results["img_shape"] = results["pad_shape"] = [shape] * len(results["img"])
        return results


@TRANSFORMS.register_module()
class NormalizeImages(BaseTransform):
    """Subtract the channel means and divide by the standard deviations (BGR).

    Args:
        mean: Channel means.
        std: Channel standard deviations.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.mean = np.asarray(mean, dtype=np.float32)
        self.inverse_std = 1.0 / np.asarray(std, dtype=np.float32)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Turn `img` into float32."""
        results["img"] = [
            (image.astype(np.float32) - self.mean) * self.inverse_std for image in results["img"]
        ]
        return results
