"""Which splits a nuScenes version has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import info_path
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.data.info_files import read_info_file
from aqr_exp.errors import AqrExpError

# v1.0-test has no annotations: nothing can be trained or scored on it here.
PREDEFINED: dict[str, tuple[str, str]] = {
    "v1.0-mini": ("mini_train", "mini_val"),
    "v1.0-trainval": ("train", "val"),
}

# Keyframes of the official splits, and what class-balanced resampling of the training split draws an epoch
# in the published runs (mmdet3d's CBGS over the official info files).
OFFICIAL_SAMPLES = {"mini_train": 323, "mini_val": 81, "train": 28_130, "val": 6_019}
PUBLISHED_DRAWS = 123_580


def splits_of(root: Path, version: str) -> list[str]:
    """The splits of a version: nuScenes' own, or those of its `splits.json`; training first.

    Args:
        root: The data set's folder.
        version: Its version folder.

    Raises:
        AqrExpError: The version is none of nuScenes' own and says no splits.
    """
    if version in PREDEFINED:
        return list(PREDEFINED[version])
    path = root / version / "splits.json"
    try:
        splits = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        own = ", ".join(PREDEFINED)
        raise AqrExpError(f"{path} is missing: a version other than {own} needs one") from None
    except (OSError, ValueError) as error:
        raise AqrExpError(f"{path} is damaged: {error}") from None
    named = isinstance(splits, dict) and all(isinstance(names, list) for names in splits.values())
    if not named or not splits:
        raise AqrExpError(f"{path} is damaged: it must name the scenes of each split")
    return sorted(splits, key=lambda split: (not is_training(split), split))


def is_training(split: str) -> bool:
    """Whether a split is trained on: objects for ground-truth sampling are taken from it."""
    return split.endswith("train")


def epoch_samples(config: RunConfig, split_samples: int) -> int:
    """Samples of a training epoch: the split's, or the draws of class-balanced resampling.

    Args:
        config: The run; with `schedule.cbgs` its info file is read.
        split_samples: Samples of the training split.

    Raises:
        AqrExpError: The info file is missing or damaged.
    """
    if not config.schedule.cbgs:
        return split_samples
    path = info_path(Path(config.data.root), config.data.train_split)
    try:
        content = read_info_file(path)
    except FileNotFoundError:
        raise AqrExpError(f"{path} is missing") from None
    except (OSError, ValueError) as error:
        raise AqrExpError(f"{path}: {error}") from None
    names = {label: name for name, label in content["metainfo"]["categories"].items()}
    holding = dict.fromkeys(CLASS_NAMES, 0)
    for info in content["data_list"]:
        kept = trained_on(info["instances"], names, config.data.min_box_points)
        for name in {names[instance["bbox_label_3d"]] for instance in kept}:
            holding[name] += 1
    return draws_of(list(holding.values()))


def trained_on(
    instances: Sequence[Mapping[str, Any]], names: Mapping[int, str], min_points: int
) -> list[Mapping[str, Any]]:
    """The annotations of a sample that are trained on.

    Args:
        instances: As an info file has them.
        names: The class of each of the file's labels.
        min_points: Boxes with fewer LiDAR and radar points are left out.
    """
    return [
        instance
        for instance in instances
        if names.get(instance["bbox_label_3d"]) in CLASS_NAMES
        and instance["num_lidar_pts"] + instance["num_radar_pts"] >= min_points
    ]


def draws_of(holding: Sequence[int]) -> int:
    """How many samples an epoch of class-balanced resampling draws.

    Args:
        holding: For each class, how many samples hold one of it.
    """
    present = [count for count in holding if count]
    return len(present) * (sum(present) // len(present)) if present else 0
