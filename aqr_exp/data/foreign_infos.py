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

from aqr_exp.data.classes import LIDAR_NAME
from aqr_exp.data.geometry import inside_boxes, read_points
from aqr_exp.data.infos import FILE_CLASSES, split_tokens
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
    found: Instances = {}
    try:
        for token, instances in _samples(read_pickle(path)):
            found[token] = [_instance(*fields) for fields in instances]
    except FileNotFoundError:
        raise RequestError(f"--infos {path}: no such file") from None
    except OSError as error:
        raise RequestError(f"--infos {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"--infos {path}: {error}") from None
    except (LookupError, TypeError, AttributeError) as error:
        cause = f"sample {len(found)}: {type(error).__name__} {ascii(str(error))[:60]}"
        raise RequestError(f"--infos {path}: is no info file of mmdet3d or CMT: {cause}") from None
    if not any(found.keys() >= set(split_tokens(nusc, split)) for split in splits):
        cause = f"its {len(found)} samples are not all those of {' or '.join(splits)}"
        raise RequestError(f"--infos {path}: {cause}")
    missed, wanted = _missed(found, nusc)
    closer = (missed[0] < missed[1]).sum(), (missed[1] < missed[0]).sum()
    turned = closer[1] > closer[0]
    exact = (missed[int(turned)] == 0).sum()
    note = f"{path}: of {len(wanted)} boxes {exact} hold exactly the LiDAR points that it says; "
    note += f"{closer[0]} fit better as they are, {closer[1]} in the order of mmdet3d 0.17"
    if 2 * max(closer) <= 3 * min(closer) or missed.sum(axis=1).min() > MISSED_SHARE * wanted.sum():
        raise RequestError(f"--infos {note}: it is of other data")
    if turned:
        return {
            token: list(map(_turned, items)) for token, items in found.items()
        }, f"{note}: turned"
    return found, note


def _samples(content: Any) -> Iterator[tuple[str, Iterator[tuple[Any, ...]]]]:
    """Token of each sample, and box, class, velocity and numbers of points of its instances."""
    if isinstance(content, dict) and "data_list" in content:
        meta = content["metainfo"]
        classes = meta.get("classes") or meta.get("CLASSES") or ()
        names = {label: name for name, label in meta.get("categories", {}).items()}
        names = names or dict(enumerate(classes))
        keys = ("velocity", "num_lidar_pts", "num_radar_pts")
        for info in content["data_list"]:
            yield (
                info["token"],
                (
                    (
                        item["bbox_3d"],
                        names.get(item["bbox_label_3d"]),
                        *(item[key] for key in keys),
                    )
                    for item in info["instances"]
                ),
            )
        return
    columns = ("gt_boxes", "gt_names", "gt_velocity", "num_lidar_pts", "num_radar_pts")
    for info in content["infos"] if isinstance(content, dict) else content:
        yield info["token"], zip(*(info[name] for name in columns), strict=True)


def _instance(box: Any, name: Any, velocity: Any, points: Any, radar: Any) -> dict[str, Any]:
    label = FILE_CLASSES.index(name) if name in FILE_CLASSES else -1
    points, radar = int(points), int(radar)
    numbers = [float(number) for number in box[:7]]
    if len(numbers) != 7 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a box is {numbers}, not seven finite numbers")
    return {
        "bbox_label": label,
        "bbox_3d": numbers,
        "bbox_3d_isvalid": points + radar > 0,
        "bbox_label_3d": label,
        "num_lidar_pts": points,
        "num_radar_pts": radar,
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
    known = {row["token"]: row["data"][LIDAR_NAME] for row in nusc.sample}
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
