"""mmengine's evaluation step: collect predictions, write the result file, score it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric

from aqr_exp.config.schema.evaluator import Evaluator
from aqr_exp.evaluate import official
from aqr_exp.evaluate.evaluation import records_of_file
from aqr_exp.evaluate.records import WHOLE, write_records
from aqr_exp.evaluate.result_json import sample_result, write_results
from aqr_exp.evaluate.scorer import Scorer


@METRICS.register_module()
class NuScenesResultMetric(BaseMetric):
    """Turns decoded boxes into a nuScenes result file, its match records and its score.

    Args:
        root: The data set's root.
        version: Its version folder.
        split: The split the predictions cover.
        result_path: Where the result file goes.
        evaluator: Whose code scores it: an `Evaluator` value.
        records_path: Where the match records go; None keeps none.
    """

    def __init__(
        self,
        root: str,
        version: str,
        split: str,
        result_path: str,
        evaluator: str = Evaluator.AQR.value,
        records_path: str | None = None,
    ) -> None:
        super().__init__(collect_device="cpu")
        self.root = Path(root)
        self.version = version
        self.split = split
        self.result_path = Path(result_path)
        self.evaluator = Evaluator(evaluator)
        self.records_path = None if records_path is None else Path(records_path)

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

        The file is read back to be scored: what is scored is what is stored.

        Args:
            results: (token, detections) of every sample.

        Returns:
            As `aqr_exp.evaluate.official.score_results`.
        """
        write_results(self.result_path, dict(results))
        place = (self.result_path, self.root, self.version, self.split)
        if self.records_path is None and self.evaluator is Evaluator.OFFICIAL:
            return official.score_results(*place)
        records = records_of_file(*place, bands=self.records_path is not None)
        if self.records_path is not None:
            write_records(self.records_path, records)
        if self.evaluator is Evaluator.OFFICIAL:
            return official.score_results(*place)
        return dict(Scorer(records.tables[WHOLE]).scores().metrics())
