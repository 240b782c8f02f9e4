"""mmengine's evaluation step: collect predictions, write the result file, score it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

from aqr_exp.evaluate.official import score_results
from aqr_exp.evaluate.result_json import sample_result, write_results


@METRICS.register_module()
class NuScenesResultMetric(BaseMetric):
    """Turns decoded boxes into a nuScenes result file and its official score.

    Args:
        root: The data set's root.
        version: Its version folder.
        split: The split the predictions cover.
        result_path: Where the result file goes.
    """

    def __init__(self, root: str, version: str, split: str, result_path: str) -> None:
        super().__init__(collect_device="cpu")
        self.root = Path(root)
        self.version = version
        self.split = split
        self.result_path = Path(result_path)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep a batch's detections in the global frame."""
        del data_batch
        for sample in data_samples:
            predictions = sample["pred_instances_3d"]
            lidar2global = np.asarray(sample["ego2global"], dtype=np.float64) @ np.asarray(
                sample["lidar2ego"], dtype=np.float64
            )
            detections = sample_result(
                sample["token"],
                predictions["bboxes_3d"].tensor.cpu().numpy().astype(np.float64),
                predictions["scores_3d"].cpu().numpy(),
                predictions["labels_3d"].cpu().numpy(),
                lidar2global,
            )
            self.results.append((sample["token"], detections))

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write and score what was collected.

        Args:
            results: (token, detections) of every sample.

        Returns:
            As `score_results`.
        """
        write_results(self.result_path, dict(results))
        return score_results(self.result_path, self.root, self.version, self.split)
