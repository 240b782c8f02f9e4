"""Names of metrics: what they are of, and which way each is better."""

import math
from collections.abc import Sequence

from aqr_exp.config.schema.description import NUSCENES, DataDescription
from aqr_exp.store.collect import (
    AVERAGED_METRIC,
    MEAN_METRICS,
    PEAK_GPU_MEMORY,
    PEAK_MEMORY,
    RunRow,
)

MAIN_METRICS = ("mAP", "NDS")
PRIMARY = MAIN_METRICS[0]
VAL, SCENES = "val", "scenes"
POPULATIONS = (VAL, SCENES)
"""What a verdict is about: models trained again on these scenes, or on other scenes as well."""

SESOI_POINTS = 0.5
"""The smallest effect of interest, in points."""

TRAIN_TIME = "train_time_s"
CLASS_AP = "AP/"
GROUND_TRUTHS = "gt/"
_OWN: dict[str, tuple[bool, tuple[float, float]]] = {}
_LOWER_IS_BETTER = frozenset({*MEAN_METRICS, TRAIN_TIME, PEAK_MEMORY, PEAK_GPU_MEMORY}) - {
    *MAIN_METRICS
}


def metric_name(metric: str, condition: str | None) -> str:
    """A metric as it is written, typed and stored: `mAP`, `AP/car`, `NDS@night`."""
    return metric if condition is None else f"{metric}@{condition}"


def declare_own(name: str, less_is_better: bool, bounds: tuple[float, float]) -> None:
    """Make an own metric known, as the values say that are shown."""
    _OWN[name] = less_is_better, bounds


def is_own(metric: str) -> bool:
    """Whether a metric is a user's own, that was declared."""
    return metric.partition("@")[0] in _OWN


def lower_is_better(metric: str) -> bool:
    """Whether less of a metric is better: errors, time, memory, instability; of any condition."""
    name = metric.partition("@")[0]
    if name in _OWN:
        return _OWN[name][0]
    return name in _LOWER_IS_BETTER or name.startswith("stability/")


def follows_from_records(metric: str) -> bool:
    """Whether match records give a metric."""
    return metric in MEAN_METRICS or metric.startswith(CLASS_AP)


def in_points(metric: str) -> bool:
    """Whether people give a metric in points, of which there are 100: precisions and the score."""
    name = metric.partition("@")[0]
    return name in MAIN_METRICS or name.startswith(CLASS_AP) or is_averaged(name)


def is_averaged(metric: str) -> bool:
    """Whether a metric is of averaged weights or evaluations: `mAP_ema`, `NDS_last3`."""
    return AVERAGED_METRIC.fullmatch(metric) is not None and metric not in _OWN


def bounds(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have."""
    if is_own(metric):
        return _OWN[metric.partition("@")[0]][1]
    share = in_points(metric) or metric in {"mASE", "mAAE"}
    known = share or lower_is_better(metric)
    return 0.0 if known else -math.inf, 1.0 if share else math.inf


def class_names(rows: Sequence[RunRow]) -> tuple[str, ...]:
    """The classes of the data of some runs; all of nuScenes' where they have no others."""
    metrics = dict.fromkeys(name for row in rows for name in row.metrics if "@" not in name)
    names = tuple(name[len(CLASS_AP) :] for name in metrics if name.startswith(CLASS_AP))
    return names if {*names} - {*NUSCENES.names} else NUSCENES.names


def measured_labels(metric: str, labels: Sequence[int], description: DataDescription) -> list[int]:
    """The classes, of some labels, that a metric is of: the one of an AP, all for other metrics."""
    name = metric.removeprefix(CLASS_AP)
    return [at for at in labels if name in (metric, description.names[at])]
