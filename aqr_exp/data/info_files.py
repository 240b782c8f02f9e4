"""Info files on disk: content, epoch lengths, fingerprint of the data, and unfinished parts.

Light modules only: neither the devkit nor torch is needed to look at prepared data.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aqr_exp.config.data_files import content_fingerprint, record_data
from aqr_exp.config.inputs import identity_path, info_path, record_path
from aqr_exp.config.schema import RunConfig
from aqr_exp.data.classes import CLASS_NAMES
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.atomic import read_json, replace_json
from aqr_exp.files.foreign import read_pickle

INFO_VERSION = "1.1"
MAX_SWEEPS = 10
"""Earlier sweeps listed for a keyframe, newest first."""

_PART_FORM = 1


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The part of a version that is prepared; stored in `fingerprint.json`.

    Attributes:
        scenes: Names of the scenes; None is all.
        keyframes_only: Without the LiDAR sweeps between keyframes.
    """

    scenes: tuple[str, ...] | None = None
    keyframes_only: bool = False

    def __str__(self) -> str:
        """Such as `12 scenes only, keyframes only`; empty for the whole."""
        scenes = [] if self.scenes is None else [f"{len(self.scenes)} scenes only"]
        return ", ".join([*scenes, *["keyframes only"] * self.keyframes_only])

    def has(self, scene: str) -> bool:
        """True if the scene of that name belongs to it."""
        return self.scenes is None or scene in self.scenes


WHOLE = Part()


def prepared_part(root: Path) -> Part:
    """The part that was prepared below `root`, the whole where nothing was; fails as `read_json`."""
    path = identity_path(root)
    return read_json(path, Part) if path.is_file() else WHOLE


def read_info_file(path: Path) -> dict[str, Any]:
    """Content of an info file, read without executing anything in it.

    Raises:
        RequestError: It is missing, damaged or something else; names it and says what.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or set(content) != {"metainfo", "data_list"}:
        raise RequestError(f"{path} is no info file: it must hold metainfo and data_list")
    return content


def write_fingerprint(
    root: Path,
    version: str,
    samples: dict[str, int],
    names: set[str] | None = None,
    part: Part = WHOLE,
) -> None:
    """Write `<root>/aqr_infos/fingerprint.json` with the number of samples by split, and the record.

    `names` are the images and points that count; all that are there by default.
    """
    infos = [info_path(root, split) for split in samples]
    logs = json.loads((root / version / "log.json").read_text(encoding="utf-8"))
    replace_json(
        identity_path(root),
        {
            "fingerprint": content_fingerprint(root, version, infos, names),
            "version": version,
            "splits": samples,
            "synthetic": all("synthetic" in log["logfile"] for log in logs),
            **msgspec.to_builtins(part),
        },
    )
    record_data(record_path(root), root, version, [*infos, identity_path(root)], names)


def _table_files(root: Path, version: str) -> list[Path]:
    return sorted((root / version).glob("[!.]*.json"))  # archives leave others between them


def table_stamp(root: Path, version: str) -> dict[str, Any]:
    """Sizes and times of change of a version's tables; parts made from other ones are discarded."""
    stats = [(path.name, path.stat()) for path in _table_files(root, version)]
    tables = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return {"form": _PART_FORM, "info_version": INFO_VERSION, "tables": tables}


def fresh_parts(folder: Path, stamp: dict[str, Any]) -> None:
    """Make a folder for finished parts, emptied if its parts have another stamp."""
    marker = folder / "stamp.json"
    try:
        current = read_json(marker) == stamp
    except AqrExpError:
        current = False
    if not current:
        remove(folder)
    folder.mkdir(parents=True, exist_ok=True)
    replace_json(marker, stamp)


def remove(*paths: Path) -> None:
    """Remove files and whole folders, those that are there."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def epoch_samples(config: RunConfig, split_samples: int) -> int:
    """Samples of a training epoch: the split's, or the draws of class-balanced resampling.

    With `schedule.cbgs` the info file of the training split is read.

    Raises:
        RequestError: The info file is missing or damaged.
    """
    if not config.schedule.cbgs:
        return split_samples
    content = read_info_file(info_path(Path(config.data.root), config.data.train_split))
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

    `names` gives the class of each label of the file. Boxes with fewer than `min_points` LiDAR and
    radar points are left out.
    """
    return [
        instance
        for instance in instances
        if names.get(instance["bbox_label_3d"]) in CLASS_NAMES
        and instance["num_lidar_pts"] + instance["num_radar_pts"] >= min_points
    ]


def draws_of(holding: Sequence[int]) -> int:
    """Draws of a class-balanced epoch, from the number of samples that hold each class."""
    present = [count for count in holding if count]
    return len(present) * (sum(present) // len(present)) if present else 0
