"""Metrics by name, and which way each is better.

Letters: R evaluations.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.evaluate.scores import Scores

_CLASS_AP = "AP/"
_LOWER_IS_BETTER = frozenset({*ERROR_NAMES, "train_time_s", "peak_memory_mb"})


def lower_is_better(metric: str) -> bool:
    """Whether less of it is better: errors, time, memory, instability.

    Args:
        metric: Its name.
    """
    return metric in _LOWER_IS_BETTER or metric.startswith("stability/")


def follows_from_records(metric: str) -> bool:
    """Whether match records give it.

    Args:
        metric: Its name.
    """
    return metric in {"mAP", "NDS", *ERROR_NAMES} or _class_label(metric) is not None


def metric_values(scores: Scores, metric: str, labels: Sequence[int]) -> Float[np.ndarray, " R"]:
    """A metric of each evaluation.

    The benchmark counts a class without ground truth as AP 0; where nothing at all can be measured there
    is no number here, so that an empty condition is not taken for a bad one.

    Args:
        scores: Evaluations.
        metric: A name for which `follows_from_records` is true.
        labels: The classes that count.

    Returns:
        Values; NaN where no ground truth of these classes (for `AP/<class>`: of this class) counts.

    Raises:
        ValueError: Records do not give such a metric.
    """
    label = _class_label(metric)
    if label is not None:
        values = scores.class_ap()[:, label]
        known = scores.truths[:, label] > 0 if label in labels else np.zeros(len(values), bool)
    else:
        values = _mean_metric(scores, metric, labels)
        known = scores.truths[:, list(labels)].sum(axis=1) > 0
    return np.where(known, values, np.nan)


def _mean_metric(scores: Scores, metric: str, labels: Sequence[int]) -> Float[np.ndarray, " R"]:
    if metric == "mAP":
        return scores.mean_ap(labels)
    if metric == "NDS":
        return scores.nds(labels)
    if metric in ERROR_NAMES:
        return scores.mean_errors(labels)[:, ERROR_NAMES.index(metric)]
    raise ValueError(f"match records do not give '{metric}'")


def _class_label(metric: str) -> int | None:
    name = metric.removeprefix(_CLASS_AP)
    return CLASS_NAMES.index(name) if name != metric and name in CLASS_NAMES else None
