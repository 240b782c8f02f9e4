"""The unmodified devkit's verdict, in the form of ours."""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.common.utils import center_distance
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.evaluate import DetectionEval

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.protocol import ERROR_NAMES, MATCH_DISTANCES_M
from aqr_exp.evaluate.scorer import Scores

TOLERANCE = 1e-9


class Verdict:
    """What the devkit says of a result file."""

    def __init__(self, nusc: Any, path: Path, split: str, max_range_m: float | None = None) -> None:
        config = config_factory("detection_cvpr_2019")
        if max_range_m is not None:
            config.class_range = {
                name: min(limit, max_range_m) for name, limit in config.class_range.items()
            }
        with tempfile.TemporaryDirectory() as scratch:
            self.evaluation = DetectionEval(nusc, config, str(path), split, scratch, verbose=False)
            metrics = self.evaluation.evaluate()[0]
        self.ap = np.array(
            [
                [metrics.get_label_ap(name, distance) for distance in MATCH_DISTANCES_M]
                for name in CLASS_NAMES
            ]
        )
        self.errors = np.array(
            [[metrics.get_label_tp(name, each) for each in TP_METRICS] for name in CLASS_NAMES]
        )
        self.mean_errors = [metrics.tp_errors[each] for each in TP_METRICS]
        self.mean_ap, self.nds = metrics.mean_ap, metrics.nd_score
        self.truths = [
            sum(box.detection_name == name for box in self.evaluation.gt_boxes.all)
            for name in CLASS_NAMES
        ]

    def assert_same(self, scores: Scores) -> None:
        """Every AP at every distance, every error, mAP and NDS."""
        np.testing.assert_allclose(scores.ap[0], self.ap, rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(scores.errors[0], self.errors, rtol=0, atol=TOLERANCE)
        np.testing.assert_array_equal(scores.truths[0], self.truths)
        metrics = scores.metrics()
        found = [metrics["mAP"], metrics["NDS"], *(metrics[name] for name in ERROR_NAMES)]
        expected = [self.mean_ap, self.nds, *self.mean_errors]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def repeated_scores(
    verdict: Verdict, weights: dict[str, int]
) -> tuple[dict[tuple[str, float], float], dict[tuple[str, str], float]]:
    """The devkit's APs and errors of a data set in which samples occur several times.

    Args:
        verdict: Of each sample once.
        weights: How often, by sample token.
    """
    both = []
    for boxes in (verdict.evaluation.gt_boxes, verdict.evaluation.pred_boxes):
        several = EvalBoxes()
        for token in boxes.sample_tokens:
            for number in range(weights[token]):
                copies = [copy.copy(box) for box in boxes[token]]
                for box in copies:
                    box.sample_token = f"{token}-{number}"
                several.add_boxes(f"{token}-{number}", copies)
        both.append(several)
    aps, errors = {}, {}
    for name in CLASS_NAMES:
        for distance in MATCH_DISTANCES_M:
            data = accumulate(*both, name, center_distance, distance)
            aps[name, distance] = calc_ap(data, 0.1, 0.1)
            if distance == 2.0:
                errors |= {(name, each): calc_tp(data, 0.1, each) for each in TP_METRICS}
    return aps, errors


def write_file(path: Path, results: Any) -> Path:
    """A result file as any program may write it: NaN is spelt as Python spells it."""
    path.write_text(json.dumps({"meta": {"use_camera": True}, "results": results}))
    return path
