"""Load a sample's points and images; drop or corrupt a sensor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints
from PIL import Image

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.classes import Modality
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.effects import (
    FILE_CORRUPTIONS,
    IMAGE_CORRUPTIONS,
    POINT_CORRUPTIONS,
    Cloud,
    dropped,
)
from aqr_exp.data.geometry import POINT_FEATURES, lidar_to_image, merged_sweeps, read_image
from aqr_exp.data.merged_sweeps import read_merged


@TRANSFORMS.register_module()
class ModalDropout(BaseTransform):
    """Draw whether a training sample goes without a whole sensor; part of the published recipe.

    Nothing is loaded yet: images that become black need not be decoded.

    Args:
        drop_camera: Probability that all images become black (0 before normalisation).
        drop_lidar: Probability that all points are dropped; never together with the images.
    """

    def __init__(self, drop_camera: float, drop_lidar: float) -> None:
        self.drop_camera = drop_camera
        self.drop_lidar = drop_lidar

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Record the sensor, or None, in `modal_dropout`."""
        draw = results["rng"].random()
        results["modal_dropout"] = None
        if draw < self.drop_camera:
            results["modal_dropout"] = Modality.CAMERA
        elif draw < self.drop_camera + self.drop_lidar:
            results["modal_dropout"] = Modality.LIDAR
        return results


@TRANSFORMS.register_module()
class LoadLidarSweeps(BaseTransform):
    """Load the keyframe's points and the newest earlier sweeps; the fifth column becomes time.

    The ring index that the files hold in that column is lost here, as in every published pipeline.
    mmdet3d's stock loader adds the inverse transform's translation unrotated, which misplaces sweeps
    whenever the vehicle turns; this one inverts the transform.

    Args:
        sweeps: Earlier sweeps to merge, newest first; fewer where a scene begins.
        corruption: Name and severity of a corruption; here, those of files have an effect.
        ego_points: Keep the points of the vehicle itself in the sweeps.
        merged: Folder where the split's sweeps lie merged; read unless a file is corrupted.
        read: True to open the files; False leaves every cloud empty, for a detector that does
            not look at it.
    """

    def __init__(
        self,
        sweeps: int,
        corruption: tuple[Any, ...] | None = None,
        *,
        ego_points: bool = False,
        merged: str | None = None,
        read: bool = True,
    ) -> None:
        self.sweeps = sweeps
        self.merged = merged and Path(merged)
        self.ego_points = ego_points
        self.case = CorruptionCase(*corruption) if corruption else None
        self.read = read

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `points` [N, 5]: x, y, z (m), intensity, seconds before the keyframe.

        `lidar_source` in `results`, if present, is the entry whose points are read instead.
        """
        points = np.zeros((0, POINT_FEATURES), dtype=np.float32)
        if self.read:
            points = self._points(results.get("lidar_source", results))
        results["points"] = LiDARPoints(points, points_dim=POINT_FEATURES)
        results["lidar2ego"] = results["lidar_points"]["lidar2ego"]
        return results

    def _points(self, source: dict[str, Any]) -> np.ndarray:
        whole = self.case is None or self.case.corruption not in FILE_CORRUPTIONS
        if self.merged and whole:
            place, ego = source["sample_idx"], self.ego_points
            found = read_merged(self.merged, place, self.sweeps, ego_points=ego)
            if found is not None:
                return found
        change = None if whole else self.corrupted
        return merged_sweeps(source, self.sweeps, change, ego_points=self.ego_points)[0]

    def corrupted(self, points: np.ndarray, path: str) -> np.ndarray:
        """A file's points; draws are of its name, so that it is one file for all samples."""
        assert self.case is not None  # noqa: S101 - see `_points`
        folder, file = Path(path).parts[-3:-1], Path(path).name
        change = FILE_CORRUPTIONS[self.case.corruption]
        return change(points, self.case.level, self.case.rng(file), "samples" in folder)


_HALF = 0.5


@TRANSFORMS.register_module()
class LoadImages(BaseTransform):
    """Load the images (BGR, uint8) of all views and their projection matrices.

    Args:
        cameras: Their channels, in the order of the views.
        read: True to read pixels; False leaves images of the files' sizes black, for a detector
            that does not look at them. So are those of a sample that modal dropout has drawn.
        resize: Lowest and highest scale that they are brought to, which is drawn here then: to at most
            one half they are brought from half their size. Without it all are decoded whole.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str] = NUSCENES.cameras,
        read: bool = True,
        resize: tuple[float, float] | None = None,
    ) -> None:
        self.cameras = tuple(cameras)
        self.read = read
        self.resize = resize

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `img` (list of [H, W, 3]), `lidar2img` [V, 4, 4] of whole images and `img_path`.

        `img_scale` is what was drawn, `img_decoded` the share of the whole images' size that they have.

        Raises:
            ValueError: An image cannot be decoded.
        """
        half, read = False, self.read and results.get("modal_dropout") is not Modality.CAMERA
        if self.resize is not None and self.read:
            results["img_scale"] = results["rng"].uniform(*self.resize)
            half = read and results["img_scale"] <= _HALF
        results["img_decoded"] = decoded = _HALF if half else 1.0
        images, projections, paths = [], [], []
        for name in self.cameras:
            camera = results["images"][name]
            path = camera["img_path"]
            images.append(read_image(path, half=half) if read else _black(path))
            projections.append(lidar_to_image(camera))
            paths.append(path)
        results.update(
            img=images,
            img_path=paths,
            lidar2img=np.stack(projections),
            ori_shape=tuple(round(side / decoded) for side in images[0].shape[:2]),
        )
        return results


def _black(path: str) -> np.ndarray:
    """A black image of the file's size, read from its header."""
    try:
        with Image.open(path) as header:
            width, height = header.size
    except OSError as error:
        raise ValueError(f"{path} is missing, or no image that can be decoded") from error
    return np.zeros((height, width, 3), dtype=np.uint8)


@TRANSFORMS.register_module()
class KeepPoints(BaseTransform):
    """Leave out the points outside (x, y, z, x, y, z), lower bounds first, of the LiDAR's own frame."""

    def __init__(self, range_m: Sequence[float]) -> None:
        self.low, self.high = range_m[:3], range_m[3:]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter `points`."""
        xyz = results["points"].tensor[:, :3].numpy()
        results["points"] = results["points"][((xyz >= self.low) & (xyz < self.high)).all(axis=1)]
        return results


@TRANSFORMS.register_module()
class DropCloud(BaseTransform):
    """Drop the points of a sample that `ModalDropout` has drawn for it.

    Args:
        dropped_cloud: What is left of the cloud: `empty` or `origin`, as `dropped` has it.
    """

    def __init__(self, dropped_cloud: str = "empty") -> None:
        self.dropped_cloud = dropped_cloud

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `points`, or nothing."""
        if results["modal_dropout"] is Modality.LIDAR:
            points = dropped(results["points"].tensor.numpy(), self.dropped_cloud)
            results["points"] = LiDARPoints(points, points_dim=points.shape[1])
        return results


@TRANSFORMS.register_module()
class CorruptSensor(BaseTransform):
    """Corrupt the loaded points or images of a sample, by draws of its own token.

    The annotations are read by `object_failure` and never changed.
    """

    def __init__(
        self, corruption: str, severity: str, sensors: Sequence[str] = NUSCENES.sensors
    ) -> None:
        self.case = CorruptionCase(corruption, severity, tuple(sensors))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `points` or `img`, whichever the corruption acts on."""
        rng = self.case.rng(results["token"])
        if self.case.corruption in POINT_CORRUPTIONS:
            points = results["points"].tensor.numpy()
            boxes = np.array(
                [instance["bbox_3d"] for instance in results.get("instances", [])], dtype=np.float64
            ).reshape(-1, 7)
            cloud = Cloud(points=points, boxes_m=boxes)
            failed = POINT_CORRUPTIONS[self.case.corruption](cloud, self.case, rng)
            results["points"] = LiDARPoints(failed, points_dim=points.shape[1])
        elif self.case.corruption in IMAGE_CORRUPTIONS:
            results["img"] = IMAGE_CORRUPTIONS[self.case.corruption](results["img"], self.case, rng)
        return results
