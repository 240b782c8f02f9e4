"""Which splits a nuScenes version has."""

import json
from pathlib import Path

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
