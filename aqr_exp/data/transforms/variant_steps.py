"""A variant's own steps of the training pipeline."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes, LiDARPoints

from aqr_exp.config.schema.run import VariantSettings
from aqr_exp.data.pipeline import variant_steps
from aqr_exp.files.own_code import call_own, fail_in, kind_of


@TRANSFORMS.register_module()
class VariantSteps(BaseTransform):
    """Steps of a variant on an augmented sample; what they draw shifts no other draw.

    Args:
        settings: Of the variant.
        classes: Number of classes that are detected.
    """

    def __init__(self, settings: VariantSettings, classes: int) -> None:
        self.classes = classes
        self.steps = variant_steps(settings)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Take the steps.

        Raises:
            RunFailedError: One of them raised something or spoiled the sample; names its file and line.
        """
        rng = np.random.default_rng(results["variant_seed"])
        shapes = [image.shape for image in results["img"]]
        for step in self.steps:
            results = call_own(step, "train_transforms", results, rng)
            if fault := _fault(results, shapes, self.classes):
                fail_in(step, "train_transforms", fault)
        return results


def _fault(results: Any, shapes: list[tuple[int, ...]], classes: int) -> str | None:
    """What makes a sample unfit for training; None of a fit one."""
    if not isinstance(results, dict):
        return f"a step must return the sample, not {kind_of(results)}"
    points: Any
    labels: Any
    points, boxes, labels = (results.get(k) for k in ("points", "gt_bboxes_3d", "gt_labels_3d"))
    if not isinstance(points, LiDARPoints) or points.tensor.ndim != 2 or points.shape[1] != 5:
        return f"points must be LiDARPoints of shape [N, 5], not {kind_of(points)}"
    if [np.shape(image) for image in results["img"]] != shapes:
        return f"img must be {len(shapes)} images of shape {list(shapes[0])}"
    if not isinstance(boxes, LiDARInstance3DBoxes) or np.shape(labels) != (len(boxes),):
        return "gt_bboxes_3d must be LiDARInstance3DBoxes with as many gt_labels_3d"
    if not np.isin(labels, np.arange(classes)).all():
        return f"gt_labels_3d must be from 0 to {classes - 1}"
    numbers = (points.tensor, boxes.tensor[:, :7], *map(torch.as_tensor, results["img"]))
    if not all(bool(torch.isfinite(each).all()) for each in numbers):
        return "points, boxes and images must be finite"
    return None
