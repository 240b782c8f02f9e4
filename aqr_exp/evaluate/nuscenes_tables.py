"""nuScenes' tables: only the columns that the benchmark needs, checked while they are read."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.evaluate.protocol import PREDEFINED_SPLITS

TABLES = (
    "attribute",
    "calibrated_sensor",
    "category",
    "ego_pose",
    "instance",
    "sample",
    "sample_annotation",
    "sample_data",
    "scene",
    "sensor",
)
"""The tables that are read, besides `splits.json`."""

Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]


class Named(msgspec.Struct):
    """A row of `category` or `attribute`."""

    token: str
    name: str


class Scene(msgspec.Struct):
    """A row of `scene`."""

    token: str
    name: str
    description: str


class Sample(msgspec.Struct):
    """A row of `sample`; `timestamp` in microseconds."""

    token: str
    scene_token: str
    timestamp: int


class SampleData(msgspec.Struct):
    """A row of `sample_data`."""

    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class Pose(msgspec.Struct):
    """A row of `ego_pose`; metres."""

    token: str
    translation: Triple


class Calibration(msgspec.Struct):
    """A row of `calibrated_sensor`."""

    token: str
    sensor_token: str


class Sensor(msgspec.Struct):
    """A row of `sensor`."""

    token: str
    channel: str


class Instance(msgspec.Struct):
    """A row of `instance`."""

    token: str
    category_token: str


class Annotation(msgspec.Struct):
    """A row of `sample_annotation`; `prev` and `next` are empty at a track's ends."""

    token: str
    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: Triple
    size: Triple
    rotation: Quaternion
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int


_Row = TypeVar("_Row")


class Tables:
    """The tables of one version, each read when it is asked for.

    Args:
        root: The data set's folder.
        version: Its version folder.
    """

    def __init__(self, root: Path, version: str) -> None:
        self.folder = root / version
        self.version = version

    def path(self, table: str) -> Path:
        """Where a table lies."""
        return self.folder / f"{table}.json"

    def rows(self, table: str, kind: type[_Row]) -> list[_Row]:
        """A table's rows.

        Args:
            table: Its name.
            kind: What a row must be.

        Raises:
            AqrExpError: The file is missing or no such table; names it and the place.
        """
        return self._read(table, list[kind])  # type: ignore[valid-type]

    def split_scenes(self, split: str) -> list[str]:
        """Names of a split's scenes.

        Args:
            split: One of nuScenes' own or of the version's `splits.json`.

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
        splits: dict[str, list[str]] = self._read("splits", dict[str, list[str]])
        if split not in splits:
            raise RequestError(f"no split {split} in {path}: it holds {', '.join(sorted(splits))}")
        return splits[split]

    def lookup(self, table: str, rows: dict[str, _Row], token: str) -> _Row:
        """The row another table names.

        Raises:
            AqrExpError: There is none.
        """
        try:
            return rows[token]
        except KeyError:
            raise AqrExpError(f"{self.path(table)} lacks the token {token}") from None

    def _read(self, table: str, kind: Any) -> Any:
        path = self.path(table)
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            raise AqrExpError(f"{path} is missing") from None
        except OSError as error:
            raise AqrExpError(f"{path} cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise AqrExpError(f"{path} is damaged: {error}") from None
