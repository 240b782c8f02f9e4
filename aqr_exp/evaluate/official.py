"""The official devkit's verdict on a result file (detection_cvpr_2019)."""

import tempfile
from pathlib import Path
from typing import Any

from aqr_exp.data.classes import CLASS_NAMES

TP_ERROR_NAMES = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
"""The devkit's names of the five true-positive errors and the field's."""


def score_results(result_path: Path, root: Path, version: str, split: str) -> dict[str, Any]:
    """Score a result file with the unmodified devkit.

    Args:
        result_path: nuScenes result JSON that holds every sample of the split.
        root: The data set's root.
        version: Its version folder, such as `v1.0-trainval`.
        split: A predefined split or one of the version's `splits.json`.

    Returns:
        `mAP`, `NDS`, the five errors (mATE m, mASE 1 - IoU, mAOE rad, mAVE m/s, mAAE 1 - accuracy),
        `AP/<class>` over the four thresholds, `gt/<class>` ground-truth counts after the
        benchmark's filters, `samples`.

    Raises:
        AssertionError: The devkit refuses the file (a sample missing, over 500 boxes, ...).
    """
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    nusc = NuScenes(version=version, dataroot=str(root), verbose=False)
    with tempfile.TemporaryDirectory() as scratch:
        evaluation = DetectionEval(
            nusc,
            config_factory("detection_cvpr_2019"),
            str(result_path),
            split,
            output_dir=scratch,
            verbose=False,
        )
        summary = evaluation.evaluate()[0].serialize()
    boxes = evaluation.gt_boxes.all
    metrics: dict[str, Any] = {"mAP": summary["mean_ap"], "NDS": summary["nd_score"]}
    metrics.update({ours: summary["tp_errors"][name] for name, ours in TP_ERROR_NAMES.items()})
    metrics.update({f"AP/{name}": summary["mean_dist_aps"][name] for name in CLASS_NAMES})
    metrics.update(
        {f"gt/{name}": sum(box.detection_name == name for box in boxes) for name in CLASS_NAMES}
    )
    metrics["samples"] = len(evaluation.sample_tokens)
    return metrics
