"""Annotated objects cropped from one sample: their points and what each camera shows of them."""

from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from aqr_exp.data.classes import CAMERA_NAMES, CLASS_NAMES, LIDAR_NAME
from aqr_exp.data.geometry import (
    NEAREST_M,
    corners_m,
    depths_m,
    inside_boxes,
    lidar_to_image,
    merged_sweeps,
    project,
)
from aqr_exp.data.info_files import MAX_SWEEPS

JPEG_QUALITY = 95
# A smaller patch shows nothing.
SMALLEST_PX = 2


class EncodedPatch(NamedTuple):
    """A patch ready to be stored.

    Attributes:
        view: Which camera.
        left: Column of its left edge in the stored image.
        top: Row of its upper edge.
        content: JPEG.
    """

    view: int
    left: int
    top: int
    content: bytes


class EncodedObject(NamedTuple):
    """An object ready to be stored.

    Attributes:
        label: Place in `CLASS_NAMES`.
        box: [9] centre, length, width, height, yaw, velocity; metres, LiDAR frame.
        points: float32 [n, 6] (`store.POINT_COLUMNS`), by sweep.
        patches: One for each camera that sees it.
    """

    label: int
    box: np.ndarray
    points: np.ndarray
    patches: list[EncodedPatch]


def with_paths(root: Path, info: dict[str, Any]) -> dict[str, Any]:
    """An info file's entry with whole paths to its points and images."""
    lidar = info["lidar_points"]
    return {
        **info,
        "lidar_points": {
            **lidar,
            "lidar_path": str(root / "samples" / LIDAR_NAME / lidar["lidar_path"]),
        },
        "lidar_sweeps": [
            {
                **sweep,
                "lidar_points": {
                    **sweep["lidar_points"],
                    "lidar_path": str(root / sweep["lidar_points"]["lidar_path"]),
                },
            }
            for sweep in info["lidar_sweeps"]
        ],
        "images": {
            name: {**camera, "img_path": str(root / "samples" / name / camera["img_path"])}
            for name, camera in info["images"].items()
        },
    }


def view_matrices(info: dict[str, Any]) -> np.ndarray:
    """[V, 4, 4] from the LiDAR frame to the pixels of each stored image."""
    return np.stack([lidar_to_image(info["images"][name]) for name in CAMERA_NAMES])


def box_bounds_px(
    box_m: np.ndarray, lidar2img: np.ndarray, size_px: tuple[int, ...]
) -> tuple[int, int, int, int] | None:
    """The pixels of an image that hold a box.

    Args:
        box_m: [7 or more].
        lidar2img: [4, 4].
        size_px: (height, width) of the image.

    Returns:
        (left, top, right, bottom), the last two exclusive; None where the image does not show it,
        or where a part of the box is not in front of the camera.
    """
    corners = project(corners_m(box_m[None, :7])[0], lidar2img)
    if not np.isfinite(corners).all():
        return None
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)), size_px[::-1]).astype(int)
    if (high - low < SMALLEST_PX).any():
        return None
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def crop_sample(
    root: Path, info: dict[str, Any], categories: dict[str, int]
) -> list[EncodedObject]:
    """The objects of one sample that have a LiDAR point and that every camera shows wholly or not.

    Args:
        root: The data set's folder.
        info: An entry of an info file.
        categories: The file's label of each class.

    Returns:
        Objects of the ten classes, in the file's order.

    Raises:
        ValueError: An image cannot be decoded.
    """
    sample = with_paths(root, info)
    names = {label: name for name, label in categories.items()}
    kept = [item for item in sample["instances"] if names.get(item["bbox_label_3d"]) in CLASS_NAMES]
    if not kept:
        return []
    boxes = np.array([[*item["bbox_3d"], *item["velocity"]] for item in kept], dtype=np.float64)
    points, numbers = merged_sweeps(sample, MAX_SWEEPS)
    inside = inside_boxes(points[:, :3], boxes[:, :7])
    matrices = view_matrices(sample)
    images = [_image(sample["images"][name]["img_path"]) for name in CAMERA_NAMES]
    cuts = []
    for item, box, mine in zip(kept, boxes, inside, strict=True):
        if not mine.any() or _is_astride(box, matrices, images):
            continue
        columns = np.column_stack([points[mine], numbers[mine].astype(np.float32)])
        cuts.append(
            EncodedObject(
                label=CLASS_NAMES.index(names[item["bbox_label_3d"]]),
                box=box,
                points=columns.astype(np.float32),
                patches=_patches(box, matrices, images),
            )
        )
    return cuts


def _is_astride(box: np.ndarray, matrices: np.ndarray, images: list[np.ndarray]) -> bool:
    """Whether a camera shows a part of a box while another part is beside or behind the camera."""
    corners = corners_m(box[None, :7])[0]
    for matrix, image in zip(matrices, images, strict=True):
        ahead = depths_m(corners, matrix) > NEAREST_M
        if ahead.any() and not ahead.all():
            pixels = project(corners[ahead], matrix)
            height, width = image.shape[:2]
            if ((pixels >= 0) & (pixels < [width, height])).all(axis=1).any():
                return True
    return False


def _patches(box: np.ndarray, matrices: np.ndarray, images: list[np.ndarray]) -> list[EncodedPatch]:
    patches = []
    for view, (matrix, image) in enumerate(zip(matrices, images, strict=True)):
        bounds = box_bounds_px(box, matrix, image.shape[:2])
        if bounds is None:
            continue
        left, top, right, bottom = bounds
        quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, content = cv2.imencode(".jpg", image[top:bottom, left:right], quality)
        patches.append(EncodedPatch(view, left, top, content.tobytes()))
    return patches


def _image(path: str) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: missing or not a decodable image")
    return image
