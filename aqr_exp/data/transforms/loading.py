"""Files to a sample: LiDAR sweeps merged in the keyframe's LiDAR frame, six images, projections."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints
from PIL import Image

from aqr_exp.data.classes import CAMERA_NAMES
from aqr_exp.data.geometry import POINT_FEATURES, lidar_to_image, merged_sweeps


@TRANSFORMS.register_module()
class LoadLidarSweeps(BaseTransform):
    """Load the keyframe's points and the newest earlier sweeps; the fifth column becomes time.

    The ring index that the files hold in that column is lost here, as in every published pipeline.
    mmdet3d's stock loader adds the inverse transform's translation unrotated, which misplaces sweeps
    whenever the vehicle turns; this one inverts the transform.

    Args:
        sweeps: How many earlier sweeps are merged, newest first; fewer where a scene begins.
        rings: The rings whose points are kept; None keeps all.
        read: Whether the files are opened; False leaves every cloud empty, for a detector that does
            not look at it.
    """

    def __init__(
        self, sweeps: int, rings: Sequence[int] | None = None, *, read: bool = True
    ) -> None:
        self.sweeps = sweeps
        self.rings = rings
        self.read = read

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `points` [N, 5]: x, y, z (m), intensity, seconds before the keyframe.

        Args:
            results: An info file's entry; `lidar_source`, where there is one, is the entry whose
                points are read in place of its own.
        """
        points = np.zeros((0, POINT_FEATURES), dtype=np.float32)
        if self.read:
            source = results.get("lidar_source", results)
            points, _ = merged_sweeps(source, self.sweeps, self.rings)
        results["points"] = LiDARPoints(points, points_dim=POINT_FEATURES)
        results["lidar2ego"] = results["lidar_points"]["lidar2ego"]
        return results


@TRANSFORMS.register_module()
class LoadImages(BaseTransform):
    """Load the six images (BGR, uint8) and their projection matrices.

    Args:
        read: Whether pixels are read; False leaves images of the files' sizes black, for a detector
            that does not look at them.
    """

    def __init__(self, *, read: bool = True) -> None:
        self.read = read

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (list of [H, W, 3]), `lidar2img` [V, 4, 4] and `img_path`.

        Raises:
            ValueError: An image cannot be decoded.
        """
        images, projections, paths = [], [], []
        for name in CAMERA_NAMES:
            camera = results["images"][name]
            images.append(_pixels(camera["img_path"]) if self.read else _black(camera["img_path"]))
            projections.append(lidar_to_image(camera))
            paths.append(camera["img_path"])
        results.update(
            img=images,
            img_path=paths,
            lidar2img=np.stack(projections),
            ori_shape=images[0].shape[:2],
        )
        return results


def _pixels(path: str) -> np.ndarray:
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: missing or not a decodable image")
    return np.asarray(image)


def _black(path: str) -> np.ndarray:
    """An image of the file's size, which its first bytes tell."""
    try:
        with Image.open(path) as header:
            width, height = header.size
    except OSError as error:
        raise ValueError(f"{path}: missing or not a decodable image") from error
    return np.zeros((height, width, 3), dtype=np.uint8)
