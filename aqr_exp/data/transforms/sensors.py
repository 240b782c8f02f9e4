"""Take a sensor away: modal dropout in training, blanking at evaluation."""

from enum import Enum
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints

from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.corruptions.sensors import IMAGE_CORRUPTIONS, POINT_CORRUPTIONS, Cloud


class Modality(str, Enum):
    """A sensor that can be taken away."""

    CAMERA = "camera"
    LIDAR = "lidar"


def blank(results: dict[str, Any], modality: Modality) -> None:
    """Blank one sensor in place: images become black (0 before normalisation), the cloud empty."""
    if modality is Modality.CAMERA:
        results["img"] = [np.zeros_like(image) for image in results["img"]]
    else:
        results["points"] = results["points"][:0]


@TRANSFORMS.register_module()
class ModalDropout(BaseTransform):
    """Blank a whole sensor of a training sample at random; part of the published recipe.

    Args:
        drop_camera: Probability that all images are blanked.
        drop_lidar: Probability that all points are dropped; never together with the images.
    """

    def __init__(self, drop_camera: float, drop_lidar: float) -> None:
        self.drop_camera = drop_camera
        self.drop_lidar = drop_lidar

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Blank `img` or `points`, or neither; `modal_dropout` says which."""
        draw = results["rng"].random()
        dropped = None
        if draw < self.drop_camera:
            dropped = Modality.CAMERA
        elif draw < self.drop_camera + self.drop_lidar:
            dropped = Modality.LIDAR
        if dropped is not None:
            blank(results, dropped)
        results["modal_dropout"] = dropped
        return results


@TRANSFORMS.register_module()
class BlankModality(BaseTransform):
    """Blank one sensor of every sample: how good is the model without it?

    Args:
        modality: `camera` or `lidar`.
    """

    def __init__(self, modality: str) -> None:
        self.modality = Modality(modality)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Blank the sensor."""
        blank(results, self.modality)
        return results


@TRANSFORMS.register_module()
class CorruptSensor(BaseTransform):
    """Corrupt the loaded points or images of a sample, by draws of its own token.

    The annotations are read by `object_failure` and never changed.

    Args:
        corruption: A name of `aqr_exp.data.corruptions.cases.CORRUPTIONS`.
        severity: One of its severities.
    """

    def __init__(self, corruption: str, severity: str) -> None:
        self.case = CorruptionCase(corruption=corruption, severity=severity)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `points` or `img`, whichever the failure acts on."""
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
