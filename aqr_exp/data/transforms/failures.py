"""The step of the evaluation pipeline that lets a sensor fail."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARPoints

from aqr_exp.data.failures.case import FailureCase
from aqr_exp.data.failures.images import IMAGE_FAILURES
from aqr_exp.data.failures.points import POINT_FAILURES, Cloud


@TRANSFORMS.register_module()
class FailSensor(BaseTransform):
    """Corrupt the loaded points or images of a sample, by draws of its own token.

    The annotations are read by `object_failure` and never changed.

    Args:
        failure: A name of `aqr_exp.data.failures.registry.FAILURES`.
        severity: One of its severities.
    """

    def __init__(self, failure: str, severity: str) -> None:
        self.case = FailureCase(failure=failure, severity=severity)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace `points` or `img`, whichever the failure acts on."""
        rng = self.case.rng(results["token"])
        if self.case.failure in POINT_FAILURES:
            points = results["points"].tensor.numpy()
            boxes = np.array(
                [instance["bbox_3d"] for instance in results.get("instances", [])], dtype=np.float64
            ).reshape(-1, 7)
            cloud = Cloud(points=points, boxes_m=boxes)
            failed = POINT_FAILURES[self.case.failure](cloud, self.case, rng)
            results["points"] = LiDARPoints(failed, points_dim=points.shape[1])
        elif self.case.failure in IMAGE_FAILURES:
            results["img"] = IMAGE_FAILURES[self.case.failure](results["img"], self.case, rng)
        return results
