"""nuScenes tables: the one schema that the checks and the evaluation read them by, and splits.

Each column that is read is typed here once; other columns are skipped. The evaluation decodes only
the columns that the benchmark needs, which is faster; the `Full...` rows add what training needs.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from aqr_exp.config.data_files import DESCRIPTION
from aqr_exp.config.schema.description import DataDescription
from aqr_exp.errors import AqrExpError, Fault, RequestError, shown
from aqr_exp.files.reading import read_json
from aqr_exp.files.suggest import did_you_mean

Vector = tuple[float, ...]
Triple = tuple[float, float, float]


class Row(msgspec.Struct, gc=False):
    """A row of any table; all that is read of `visibility`."""

    token: str


class Named(Row, gc=False):
    """A row of `attribute` or `category`."""

    name: str


class Log(Row, gc=False):
    """A row of `log`."""

    logfile: str


class Map(Row, gc=False):
    """A row of `map`."""

    log_tokens: list[str]
    filename: str


class Sensor(Row, gc=False):
    """A row of `sensor`."""

    channel: str


class FullSensor(Sensor, gc=False):
    """A row of `sensor`; `modality` is `camera`, `lidar` or `radar`."""

    modality: str


class Scene(Named, gc=False):
    """A row of `scene` with the description, which names its conditions."""

    description: str


class FullScene(Scene, gc=False):
    """A row of `scene` with its log and its chain of samples."""

    log_token: str
    first_sample_token: str
    last_sample_token: str
    nbr_samples: int


class Sample(Row, gc=False):
    """A row of `sample`; `timestamp` in microseconds."""

    scene_token: str
    timestamp: int


class FullSample(Sample, gc=False):
    """A row of `sample` with its neighbours."""

    prev: str
    next: str


class SampleData(Row, gc=False):
    """A row of `sample_data`."""

    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class FullSampleData(SampleData, gc=False):
    """A row of `sample_data` with its file and neighbours; sizes in pixels, of images only."""

    filename: str
    timestamp: int
    prev: str
    next: str
    height: int | str | None = None
    width: int | str | None = None


class ExactPose(Row, gc=False):
    """A row of `ego_pose`, decoded only with three coordinates in metres."""

    translation: Triple


class FullPose(Row, gc=False):
    """A row of `ego_pose`: metres and a quaternion (w, x, y, z)."""

    translation: Vector
    rotation: Vector


class Calibration(Row, gc=False):
    """A row of `calibrated_sensor`."""

    sensor_token: str


class FullCalibration(Calibration, gc=False):
    """A row of `calibrated_sensor`; `camera_intrinsic` is 3 x 3, empty for other sensors."""

    translation: Vector
    rotation: Vector
    camera_intrinsic: list[list[float]]


class Instance(Row, gc=False):
    """A row of `instance`."""

    category_token: str


class FullInstance(Instance, gc=False):
    """A row of `instance` with the ends of its track."""

    first_annotation_token: str
    last_annotation_token: str


class Annotation(Row, gc=False):
    """A row of `sample_annotation`; `size` is (width, length, height) in metres.

    `prev` and `next` are empty at a track's ends.
    """

    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: Vector
    size: Vector
    rotation: Vector
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int


class ExactAnnotation(Annotation, gc=False):
    """A row of `sample_annotation`, decoded only with vectors of the right lengths."""

    translation: Triple
    size: Triple
    rotation: tuple[float, float, float, float]


class FullAnnotation(Annotation, gc=False):
    """A row of `sample_annotation` with its visibility."""

    visibility_token: str


ROW_TYPES: dict[str, type[Row]] = {
    "attribute": Named,
    "calibrated_sensor": FullCalibration,
    "category": Named,
    "ego_pose": FullPose,
    "instance": FullInstance,
    "log": Log,
    "map": Map,
    "sample": FullSample,
    "sample_annotation": FullAnnotation,
    "sample_data": FullSampleData,
    "scene": FullScene,
    "sensor": FullSensor,
    "visibility": Row,
}
"""The 13 tables and the rows that `data check` reads them by."""

# Of the columns that hold tokens, the table that they point into; None is the column's own.
TARGETS: dict[str, str | None] = {
    "sensor_token": "sensor",
    "category_token": "category",
    "first_annotation_token": "sample_annotation",
    "last_annotation_token": "sample_annotation",
    "scene_token": "scene",
    "sample_token": "sample",
    "ego_pose_token": "ego_pose",
    "calibrated_sensor_token": "calibrated_sensor",
    "instance_token": "instance",
    "visibility_token": "visibility",
    "attribute_tokens": "attribute",
    "log_token": "log",
    "first_sample_token": "sample",
    "last_sample_token": "sample",
    "prev": None,
    "next": None,
}
MAY_BE_EMPTY = frozenset({"visibility_token", "prev", "next"})

EVALUATED_TABLES = tuple(name for name in ROW_TYPES if name not in {"log", "map", "visibility"})
"""Tables that the evaluation reads, besides `splits.json`."""

PREDEFINED_SPLITS = {
    "train": "trainval",
    "val": "trainval",
    "train_detect": "trainval",
    "train_track": "trainval",
    "mini_train": "mini",
    "mini_val": "mini",
    "test": "test",
}
"""nuScenes' own splits, and how the name of the version that holds them ends."""

NO_USE = "nothing can be trained or scored on it (use v1.0-trainval or v1.0-mini)"

SPLITS_OF_VERSION: dict[str, tuple[str, str]] = {
    "v1.0-mini": ("mini_train", "mini_val"),
    "v1.0-trainval": ("train", "val"),
}

# Keyframes of the official splits, and what class-balanced resampling of the training split draws an epoch
# in the published runs (mmdet3d's CBGS over the official info files).
OFFICIAL_SAMPLES = {"mini_train": 323, "mini_val": 81, "train": 28_130, "val": 6_019}
PUBLISHED_DRAWS = 123_580

_Row = TypeVar("_Row")


def unknown_names(
    description: DataDescription, vocabulary: Mapping[str, Collection[str]]
) -> Iterator[Fault]:
    """Categories, attributes and channels of a description that the tables do not have.

    Args:
        vocabulary: The names in `category`, `attribute` and `sensor`.
    """
    named = [("racks", "category", description.racks)] if description.racks else []
    for at, each in enumerate(description.classes):
        for key, table in (("categories", "category"), ("attributes", "attribute")):
            names = enumerate(getattr(each, key))
            named += [(f"classes[{at}].{key}[{place}]", table, name) for place, name in names]
    named += [(f"cameras[{at}]", "sensor", name) for at, name in enumerate(description.cameras)]
    for key, table, name in [*named, ("lidar", "sensor", description.lidar)]:
        if name not in vocabulary[table]:
            guess = did_you_mean(name, vocabulary[table])
            yield Fault(key, shown(name), f"is not in {table}.json", guess, DESCRIPTION)


class Tables:
    """The tables of one version, each read when it is needed."""

    def __init__(self, root: Path, version: str) -> None:
        self.folder = root / version
        self.version = version

    def path(self, table: str) -> Path:
        """File of a table."""
        return self.folder / f"{table}.json"

    def rows(self, table: str, kind: type[_Row]) -> list[_Row]:
        """Rows of a table, decoded as `kind`.

        Raises:
            AqrExpError: The file is missing or no such table; names it and the place.
        """
        return read_json(self.path(table), list[kind])  # type: ignore[valid-type]

    def split_scenes(self, split: str) -> list[str]:
        """Names of the scenes of a split: one of nuScenes' own or of the version's `splits.json`.

        Raises:
            RequestError: There is no such split in this version.
            AqrExpError: `splits.json` is damaged.
        """
        if split in PREDEFINED_SPLITS:
            ending = PREDEFINED_SPLITS[split]
            if not self.version.endswith(ending):
                raise RequestError(f"split {split} is of v1.0-{ending}, not of {self.version}")
            from nuscenes.utils.splits import create_splits_scenes

            return list(create_splits_scenes()[split])
        path = self.path("splits")
        if not path.is_file():
            raise RequestError(f"split {split} is none of nuScenes' own, and {path} is missing")
        splits = read_json(path, dict[str, list[str]])
        if split not in splits:
            raise RequestError(f"no split {split} in {path}: it holds {', '.join(sorted(splits))}")
        return splits[split]

    def lookup(self, table: str, rows: dict[str, _Row], token: str) -> _Row:
        """Row that another table refers to.

        Raises:
            AqrExpError: There is none.
        """
        try:
            return rows[token]
        except KeyError:
            raise AqrExpError(f"{self.path(table)} lacks the token {token}") from None


def splits_of(root: Path, version: str) -> list[str]:
    """The splits of a version: nuScenes' own, or those of its `splits.json`; training first.

    Raises:
        AqrExpError: The version has no annotations, or is none of nuScenes' own and says no splits.
    """
    if version in SPLITS_OF_VERSION:
        return list(SPLITS_OF_VERSION[version])
    if version == f"v1.0-{PREDEFINED_SPLITS['test']}":
        raise RequestError(f"{version} has no annotations: {NO_USE}")
    path = Tables(root, version).path("splits")
    if not path.is_file():
        own = ", ".join(SPLITS_OF_VERSION)
        raise AqrExpError(f"{path} is missing: a version other than {own} needs one")
    splits = read_json(path, dict[str, list[str]])
    if not splits:
        raise AqrExpError(f"{path} is damaged: it must name the scenes of each split")
    known = {scene.name for scene in Tables(root, version).rows("scene", Named)}
    for split, scenes in splits.items():
        if lost := set(scenes) - known:
            raise AqrExpError(f"splits.json: {split} names {min(lost)}, which scene.json lacks")
        if split in PREDEFINED_SPLITS or not re.fullmatch(r"\w[\w.-]*", split):
            rule = "letters, digits, _-., and none of nuScenes' own names"
            raise AqrExpError(f"splits.json: {split!r:.40} is no split's name (allowed: {rule})")
    return sorted(splits, key=lambda split: (not is_training(split), split))


def is_training(split: str) -> bool:
    """True for a split that is trained on, from which the GT database is built."""
    return split.endswith("train")
