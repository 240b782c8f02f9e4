"""Info files on disk: content, epoch lengths, fingerprint of the data, and unfinished parts.

Light modules only: neither the devkit nor torch is needed to look at prepared data.
"""

import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aqr_exp.config.data_files import DESCRIPTION, content_fingerprint, record_data
from aqr_exp.config.description import read_description
from aqr_exp.config.inputs import identity_path, info_path, record_path
from aqr_exp.config.schema import DataConfig, RunConfig
from aqr_exp.config.schema.data import CountedBoxes, CountedPoints
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.errors import AqrExpError, RequestError, shown
from aqr_exp.files.atomic import replace_json
from aqr_exp.files.foreign import read_pickle
from aqr_exp.files.reading import read_json, type_fault

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


# A name below the data's folder that the system takes for one.
_BELOW = re.compile(r"(?!/)(?!(.*/)?\.\.(/|$))[^\x00-\x1f]{1,4096}")
# Bounds keep out infinities and NaN, too.
_Number = Annotated[float, Meta(ge=-1e12, le=1e12)]
_Length = Annotated[float, Meta(gt=0, le=1e6)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
_Row = Annotated[list[_Number], Meta(min_length=3, max_length=4)]
_Matrix = Annotated[list[_Row], Meta(min_length=3, max_length=4)]


class _Image(msgspec.Struct):
    img_path: str
    cam2img: _Matrix
    lidar2cam: _Matrix


class _Cloud(msgspec.Struct):
    lidar_path: str
    lidar2ego: _Matrix | None = None
    lidar2sensor: _Matrix | None = None


class _LidarSweep(msgspec.Struct):
    timestamp: _Number
    lidar_points: _Cloud


class _Instance(msgspec.Struct):
    bbox_3d: tuple[_Number, _Number, _Number, _Length, _Length, _Length, _Number]
    velocity: tuple[float, float]
    bbox_label_3d: int
    num_lidar_pts: _Count
    num_radar_pts: _Count


class _Sample(msgspec.Struct):
    """What is read of a sample of an info file; the rest may be anything."""

    token: str
    timestamp: _Number
    images: dict[str, _Image]
    lidar_points: _Cloud
    instances: list[_Instance]
    ego2global: _Matrix
    lidar_sweeps: list[_LidarSweep] = []


def read_info_file(path: Path) -> dict[str, Any]:
    """Content of an info file, read without executing anything in it.

    Raises:
        RequestError: It is missing, damaged or something else; names it and says what.
    """
    content = read_pickle(path)
    cameras = (read_description(path.parent.parent) or NUSCENES).cameras
    if not isinstance(content, dict) or set(content) != {"metainfo", "data_list"}:
        raise RequestError(f"{path} is no info file: it must hold metainfo and data_list")
    place = "metainfo.categories"
    try:
        labels = msgspec.convert(content["metainfo"], dict[str, Any]).get("categories")
        known = set(msgspec.convert(labels, dict[str, int]).values())
        place = "data_list"
        for index, entry in enumerate(msgspec.convert(content["data_list"], list[dict[str, Any]])):
            place = f"data_list[{index}]"
            for fault in _sample_faults(msgspec.convert(entry, _Sample), known, cameras):
                raise ValueError(fault)
    except ValueError as error:
        raise RequestError(f"{path} is damaged: {place}: {type_fault(error)}") from None
    return content


def _sample_faults(sample: _Sample, labels: set[int], cameras: Sequence[str]) -> Iterator[str]:
    """What is wrong with a sample whose every value is of the right type."""
    yield from (f"images: {name} is missing" for name in cameras if name not in sample.images)
    clouds = [sample.lidar_points, *(sweep.lidar_points for sweep in sample.lidar_sweeps)]
    images = [image.img_path for image in sample.images.values()]
    for name in (*images, *(cloud.lidar_path for cloud in clouds)):
        if not _BELOW.fullmatch(name):
            yield f"{shown(name)} is no file below the data's folder"
    for at, box in enumerate(sample.instances):
        if any(map(math.isinf, box.velocity)):
            yield f"instances[{at}].velocity: {shown(box.velocity)} is no velocity"
        if box.bbox_label_3d not in labels and box.bbox_label_3d != -1:
            yield f"instances[{at}].bbox_label_3d: {shown(box.bbox_label_3d)} is no category"


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
    logs = read_json(root / version / "log.json", list[dict[str, Any]])
    description = read_description(root)
    described = {"classes": list(description.names)} if description else {}
    replace_json(
        identity_path(root),
        {
            "fingerprint": content_fingerprint(root, version, infos, names),
            "version": version,
            "splits": samples,
            "synthetic": all("synthetic" in str(log.get("logfile")) for log in logs),
            **described,
            **msgspec.to_builtins(part),
        },
    )
    record_data(record_path(root), root, version, [*infos, identity_path(root)], names)


def _table_files(root: Path, version: str) -> list[Path]:
    tables = sorted((root / version).glob("[!.]*.json"))  # archives leave others between them
    return [*tables, *filter(Path.is_file, [root / DESCRIPTION])]


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
    holding = dict.fromkeys(config.data.described.names, 0)
    for info in content["data_list"]:
        for name in BoxRule.of(config.data).balanced(info["instances"], names):
            holding[name] += 1
    return draws_of(list(holding.values()))


@dataclass(frozen=True, kw_only=True)
class BoxRule:
    """The annotations that count; its fields are `DataConfig`'s.

    `names` gives the class of each label of a file; `classes` are those of the data.
    """

    classes: tuple[str, ...] = NUSCENES.names
    min_box_points: int = 1
    box_points: CountedPoints = "all"
    balance_by: CountedBoxes = "trained"

    @classmethod
    def of(cls, data: DataConfig) -> "BoxRule":
        """The rule of a data set."""
        own = {field.name: getattr(data, field.name) for field in fields(cls)[1:]}
        return cls(classes=data.described.names, **own)

    def trained_on(
        self, instances: Sequence[Mapping[str, Any]], names: Mapping[int, str]
    ) -> list[Mapping[str, Any]]:
        """The annotations of a sample that are trained on."""
        return [
            instance
            for instance in instances
            if names.get(instance["bbox_label_3d"]) in self.classes
            and self._points(instance) >= self.min_box_points
        ]

    def _points(self, instance: Mapping[str, Any]) -> int:
        radar = instance["num_radar_pts"] if self.box_points == "all" else 0
        return int(instance["num_lidar_pts"] + radar)

    def balanced(
        self, instances: Sequence[Mapping[str, Any]], names: Mapping[int, str]
    ) -> set[str]:
        """The classes for which class-balanced resampling may draw a sample."""
        trained = self.balance_by == "trained"
        counted = self.trained_on(instances, names) if trained else instances
        found = {names.get(instance["bbox_label_3d"], "") for instance in counted}
        return found & set(self.classes)


def draws_of(holding: Sequence[int]) -> int:
    """Draws of a class-balanced epoch, from the number of samples that hold each class."""
    present = [count for count in holding if count]
    return len(present) * (sum(present) // len(present)) if present else 0
