"""The evaluation metric of a run: result file, match records, and scores by either evaluator."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_args

import numpy as np
from mmengine.dist import barrier, get_dist_info
from mmengine.evaluator import BaseMetric

from aqr_exp.config.description import read_description
from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.config.schema.run import Evaluator
from aqr_exp.evaluate.conditions import RunScorer
from aqr_exp.evaluate.evaluation import records_of_file
from aqr_exp.evaluate.records import write_records
from aqr_exp.files.atomic import replace_text

TP_ERROR_NAMES = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}
"""The devkit's names of the five true-positive errors and the field's."""


def score_results(result_path: Path, root: Path, version: str, split: str) -> dict[str, Any]:
    """Score a nuScenes result file, which holds every sample of the split, with the unmodified devkit.

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
    metrics.update({f"AP/{name}": summary["mean_dist_aps"][name] for name in NUSCENES.names})
    metrics.update(
        {f"gt/{name}": sum(box.detection_name == name for box in boxes) for name in NUSCENES.names}
    )
    metrics["samples"] = len(evaluation.sample_tokens)
    return metrics


META = {
    "use_camera": True,
    "use_lidar": True,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}


def global_boxes(
    boxes: np.ndarray, lidar2global: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transform boxes [N, 9] of the LiDAR frame by a rigid transform [4, 4] to the global frame.

    The heading's and the velocity's directions are rotated as vectors and projected to the ground plane.

    Returns:
        Gravity centres [N, 3], yaws [N] and velocities [N, 2].
    """
    rotation, translation = lidar2global[:3, :3], lidar2global[:3, 3]
    centres = boxes[:, :3].astype(np.float64)
    centres[:, 2] += 0.5 * boxes[:, 5]
    heading = np.stack([np.cos(boxes[:, 6]), np.sin(boxes[:, 6]), np.zeros(len(boxes))], axis=1)
    heading = heading @ rotation.T
    velocity = np.concatenate([boxes[:, 7:9], np.zeros((len(boxes), 1))], axis=1) @ rotation.T
    yaws = np.arctan2(heading[:, 1], heading[:, 0])
    return centres @ rotation.T + translation, yaws, velocity[:, :2]


def sample_result(
    token: str,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    lidar2global: np.ndarray,
    description: DataDescription = NUSCENES,
) -> list[dict[str, Any]]:
    """Detections of one sample in nuScenes' format.

    Boxes are [N, 9], scores [N] in [0, 1], labels [N] places among the classes,
    `lidar2global` [4, 4].

    Returns:
        N dictionaries; `size` is (width, length, height), `rotation` a quaternion (w, x, y, z).
    """
    centres, yaws, velocities = global_boxes(boxes, lidar2global)
    result = []
    for index in range(len(boxes)):
        kind = description.classes[int(labels[index])]
        length, width, height = (float(value) for value in boxes[index, 3:6])
        half = 0.5 * float(yaws[index])
        result.append(
            {
                "sample_token": token,
                "translation": centres[index].tolist(),
                "size": [width, length, height],
                "rotation": [float(np.cos(half)), 0.0, 0.0, float(np.sin(half))],
                "velocity": velocities[index].tolist(),
                "detection_name": kind.name,
                "detection_score": float(scores[index]),
                "attribute_name": kind.attribute(float(np.hypot(*velocities[index]))),
            }
        )
    return result


def write_results(path: Path, results: Mapping[str, list[dict[str, Any]]]) -> None:
    """Write a nuScenes result file, by sample token, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps({"meta": META, "results": dict(results)}, allow_nan=False))


class NuScenesResultMetric(BaseMetric):
    """Conversion of decoded boxes to a nuScenes result file, its match records and its score.

    Without `records_path` no records are kept.
    """

    def __init__(
        self,
        root: str,
        version: str,
        split: str,
        result_path: str,
        evaluator: str = "aqr",
        records_path: str | None = None,
    ) -> None:
        super().__init__(collect_device="cpu")
        self.root = Path(root)
        self.version = version
        self.split = split
        self.result_path = Path(result_path)
        if evaluator not in get_args(Evaluator):
            raise ValueError(f"{evaluator!r} is not a valid Evaluator")
        self.evaluator = evaluator
        self.description = read_description(self.root) or NUSCENES
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
                self.description,
            )
            self.results.append((sample["token"], detections))

    def evaluate(self, size: int) -> dict[str, Any]:
        """The metrics; of several processes, each of which has predicted a share, the first has them.

        The shares are gathered through files beside the result file, in the order of one process.
        """
        rank, ranks = get_dist_info()
        if ranks == 1:
            found: dict[str, Any] = super().evaluate(size)
            return found
        name = self.result_path.name
        shares = [self.result_path.with_name(f".{name}.{number}") for number in range(ranks)]
        self.result_path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(shares[rank], json.dumps(self.results, allow_nan=False))
        self.results.clear()
        barrier()  # The other processes go on from here.
        if rank:
            return {}
        results = zip_longest(*(json.loads(share.read_text(encoding="utf-8")) for share in shares))
        for share in shares:
            share.unlink()
        return self.compute_metrics([tuple(one) for each in results for one in each if one])

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Write and score the collected (token, detections) pairs, as `score_results`.

        The file is read back to be scored: the stored numbers are the scored ones.
        """
        write_results(self.result_path, dict(results))
        place = (self.result_path, self.root, self.version, self.split)
        if self.records_path is None and self.evaluator == "official":
            return score_results(*place)
        records = records_of_file(*place, bands=self.records_path is not None)
        if self.records_path is not None:
            write_records(self.records_path, records)
        if self.evaluator == "official":
            return score_results(*place)
        return dict(RunScorer(records).scores().metrics())
