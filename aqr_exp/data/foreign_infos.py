"""Annotations of info files that others made: mmdet3d 0.17 to 1.4 and CMT, in either order of a box.

Until 0.17 a box was (centre, width, length, height, yaw) with the yaw clockwise from -y; since 1.0 it is
(centre, length, width, height, yaw) with the yaw counter-clockwise from x. No file says which, but the
LiDAR points do: each box should hold the number that stands beside it.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.data.geometry import inside_boxes, read_points
from aqr_exp.data.infos import description_of, file_classes, split_tokens
from aqr_exp.errors import RequestError
from aqr_exp.files.foreign import read_pickle

_COUNTED_SAMPLES = 20
MISSED_SHARE = 0.75
"""A file of these data misses less of its points, even where the points lie on the boxes' very faces."""


Instances = dict[str, list[dict[str, Any]]]
"""Entries of an info file's `instances`, by the token of the sample."""


def read_annotations(path: Path, nusc: Any, splits: Sequence[str]) -> tuple[Instances, str]:
    """The boxes of an info file of others, in the order of ours, and one line on how that was told.

    `nusc` is the devkit's object of the version that the file was made of.

    Raises:
        RequestError: It cannot be read, is something else, lacks samples of every split, or its
            boxes fit the points in no order.
    """
    content, found = read_pickle(path), {}
    classes = file_classes(description_of(nusc))
    try:
        for token, columns in _samples(content):
            found[token] = [_instance(classes, *one) for one in zip(*columns, strict=True)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        cause = f"sample {len(found)}: {type(error).__name__} {ascii(str(error))[:70]}"
        raise RequestError(f"{path} is no info file of mmdet3d or CMT: {cause}") from None
    if not any(found.keys() >= set(split_tokens(nusc, split)) for split in splits):
        cause = f"its {len(found)} samples are not all those of {' or '.join(splits)}"
        raise RequestError(f"{path}: {cause}")
    missed, wanted = _missed(found, nusc)
    closer = (missed[0] < missed[1]).sum(), (missed[1] < missed[0]).sum()
    turned = closer[1] > closer[0]
    exact = (missed[int(turned)] == 0).sum()
    note = f"{path}: of {len(wanted)} boxes {exact} hold exactly the LiDAR points that it says; "
    note += f"{closer[0]} fit better as they are, {closer[1]} in the order of mmdet3d 0.17"
    if 2 * max(closer) <= 3 * min(closer) or missed.sum(axis=1).min() > MISSED_SHARE * wanted.sum():
        raise RequestError(f"{note}: it is of other data")
    if turned:
        found = {token: list(map(_turned, items)) for token, items in found.items()}
    return found, f"{note}{': turned' if turned else ''}"


def _samples(content: Any) -> Iterator[tuple[str, list[Any]]]:
    """Token of each sample, and boxes, classes, velocities, LiDAR and radar points of its instances."""
    columns = ("gt_boxes", "gt_names", "gt_velocity", "num_lidar_pts", "num_radar_pts")
    if "data_list" not in content:
        for info in content["infos"] if isinstance(content, dict) else content:
            yield info["token"], [info[name] for name in columns]
        return
    meta = content["metainfo"]
    names = dict(enumerate(meta.get("classes") or meta.get("CLASSES") or ()))
    names |= {label: name for name, label in meta.get("categories", {}).items()}
    keys = ("bbox_3d", "bbox_label_3d", "velocity", "num_lidar_pts", "num_radar_pts")
    for info in content["data_list"]:
        boxes, labels, *others = ([item[key] for item in info["instances"]] for key in keys)
        yield info["token"], [boxes, map(names.get, labels), *others]


def _instance(
    classes: Sequence[str], box: Any, name: Any, velocity: Any, points: int, radar: int
) -> dict[str, Any]:
    label = classes.index(name) if name in classes else -1
    if len(box) < 7 or not np.isfinite(box[:7]).all():
        raise ValueError("a box is not of seven finite numbers")
    return {
        "bbox_label": label,
        "bbox_3d": [float(number) for number in box[:7]],
        "bbox_3d_isvalid": points + radar > 0,
        "bbox_label_3d": label,
        "num_lidar_pts": int(points),
        "num_radar_pts": int(radar),
        "velocity": [float(velocity[0]), float(velocity[1])],
    }


def _turned(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance whose box had the order of mmdet3d 0.17."""
    x, y, z, width, length, height, yaw = instance["bbox_3d"]
    return {
        **instance,
        "bbox_3d": [x, y, z, length, width, height, math.remainder(-yaw - math.pi / 2, math.tau)],
    }


def _missed(found: Instances, nusc: Any) -> tuple[np.ndarray, np.ndarray]:
    """Points by which boxes as they are, and turned, miss their number [2, N], and that number [N].

    Boxes are those with points of some samples, spread over the file.
    """
    lidar = description_of(nusc).lidar
    known = {row["token"]: row["data"][lidar] for row in nusc.sample}
    tokens = [token for token, instances in found.items() if token in known and instances]
    missed, numbers = [np.zeros((2, 0))], [np.zeros(0)]
    for token in tokens[:: max(1, len(tokens) // _COUNTED_SAMPLES)]:
        points = read_points(nusc.get_sample_data_path(known[token]))[:, :3]
        items = [item for item in found[token] if item["num_lidar_pts"] > 0]
        wanted = np.array([item["num_lidar_pts"] for item in items])
        orders = [[item["bbox_3d"] for item in order] for order in (items, map(_turned, items))]
        inside = [inside_boxes(points, np.array(boxes).reshape(-1, 7)) for boxes in orders]
        missed.append(np.abs(np.array([mask.sum(axis=1) for mask in inside]) - wanted))
        numbers.append(wanted)
    return np.concatenate(missed, axis=1), np.concatenate(numbers)
