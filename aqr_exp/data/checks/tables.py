"""Checks of the tables: references, chains, timestamps, calibration and annotations."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias
from typing import Any

import msgspec
import numpy as np

from aqr_exp.config.data_files import DESCRIPTION
from aqr_exp.config.description import read_description
from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.info_files import WHOLE, Part
from aqr_exp.data.nuscenes_tables import (
    MAY_BE_EMPTY,
    ROW_TYPES,
    TARGETS,
    FullSampleData,
    Row,
    unknown_names,
)
from aqr_exp.errors import AqrExpError, RequestError
from aqr_exp.files.reading import read_content


@dataclass(frozen=True, kw_only=True, order=True)
class DataFault:
    """A fault of a data set.

    Attributes:
        file: The file it is in, relative to the data set's folder.
        kind: Category, the same words for all faults of one kind.
        cause: Description, with the row's token for a fault in a table.
    """

    file: str
    kind: str
    cause: str

    def __str__(self) -> str:
        return f"{self.file}: {self.cause}"


class RawTables:
    """All tables of one version that can be read, by the root and the version's folder.

    Attributes:
        rows: Rows by table and token; a table that cannot be read is not there.
        part: What the rows are left of; the whole at first.
        faults: Why tables cannot be read, tokens that two rows have, and what is wrong in `dataset.yaml`.
        description: Of the classes and sensors.
    """

    def __init__(self, root: Path, version: str) -> None:
        self.root = root
        self.version = version
        self.rows: dict[str, dict[str, Any]] = {}
        self.part = WHOLE
        self.faults: list[DataFault] = []
        self.description = NUSCENES
        for table in ROW_TYPES:
            self._read(table)
        self._describe()

    def file(self, table: str) -> str:
        """File of a table, relative to the data set's folder."""
        return f"{self.version}/{table}.json"

    def fault(self, table: str, kind: str, cause: str) -> DataFault:
        """A fault in a table."""
        return DataFault(file=self.file(table), kind=kind, cause=cause)

    def channel(self, row: FullSampleData) -> str:
        """Channel of a recording's sensor, such as `CAM_FRONT`; needs sound references."""
        calibration = self.rows["calibrated_sensor"][row.calibrated_sensor_token]
        return str(self.rows["sensor"][calibration.sensor_token].channel)

    def keyframes(self) -> dict[str, dict[str, FullSampleData]]:
        """The key recordings of every sample, by sample token and channel."""
        found: dict[str, dict[str, FullSampleData]] = {token: {} for token in self.rows["sample"]}
        for row in self.rows["sample_data"].values():
            if row.is_key_frame:
                found[row.sample_token][self.channel(row)] = row
        return found

    def narrow(self, part: Part) -> None:
        """Leave only the rows of a part of the data; needs sound references."""
        self.part = part
        tokens: set[str] = set()
        for table, column in (
            ("scene", ""),
            ("sample", "scene_token"),
            ("sample_data", "sample_token"),
        ):
            self.rows[table] = {
                token: row
                for token, row in self.rows[table].items()
                if (getattr(row, column) in tokens if column else part.has(row.name))
                and not (part.keyframes_only and table == "sample_data" and not row.is_key_frame)
            }
            tokens = set(self.rows[table])

    @property
    def recorded(self) -> set[str]:
        """Files of all recordings."""
        return {row.filename for row in self.rows["sample_data"].values()}

    def _describe(self) -> None:
        """Read the description, and compare its names with the tables'."""
        try:
            self.description = read_description(self.root) or NUSCENES
            needed = {"category": "name", "attribute": "name", "sensor": "channel"}
            if self.description != NUSCENES and needed.keys() <= self.rows.keys():
                names = {
                    table: [getattr(row, column) for row in self.rows[table].values()]
                    for table, column in needed.items()
                }
                if faults := list(unknown_names(self.description, names)):
                    raise RequestError(*faults)
        except RequestError as error:
            for fault in error.faults:
                cause = str(fault).removeprefix(f"{fault.where}: ")
                self.faults.append(DataFault(file=DESCRIPTION, kind="description", cause=cause))

    def _read(self, table: str) -> None:
        rows_of: Any = GenericAlias(list, (ROW_TYPES[table],))
        path = self.root / self.file(table)
        try:
            rows: list[Row] = msgspec.json.decode(read_content(path), type=rows_of)
        except AqrExpError as error:
            cause = str(error).removeprefix(f"{path} ").removeprefix("is damaged: ")
            there = os.path.lexists(path)
            kind = "damaged table" if there else "missing table"
            self.faults.append(self.fault(table, kind, cause if there else "the table is missing"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.faults.append(self.fault(table, "damaged table", f"no such table: {error}"))
        else:
            found = self.rows[table] = {}
            for row in rows:
                if row.token in found:
                    cause = f"two rows have the token {row.token}"
                    self.faults.append(self.fault(table, "double token", cause))
                found[row.token] = row


CHAINS = ("sample", "sample_annotation", "sample_data")
TIMED_CHAINS = ("sample", "sample_data")
# Cameras turn with the LiDAR's sweep: a keyframe's recordings lie within its tenth of a second.
KEYFRAME_WITHIN_S = 0.2


def dangling_tokens(tables: RawTables) -> Iterator[DataFault]:
    """Every reference to a row that does not exist; those to unreadable tables are passed over."""
    for table, rows in tables.rows.items():
        for column, other_table in TARGETS.items():
            target = other_table or table
            if column not in ROW_TYPES[table].__struct_fields__ or target not in tables.rows:
                continue
            known = tables.rows[target]
            for token, row in rows.items():
                value = getattr(row, column)
                for other in value if isinstance(value, list) else (value,):
                    if other not in known and (other or column not in MAY_BE_EMPTY):
                        cause = f"{column} of {token} is {other or 'empty'}, no {target}"
                        yield tables.fault(table, "dangling token", cause)


def unmapped_logs(tables: RawTables) -> Iterator[DataFault]:
    """Logs that no map names: the devkit cannot open such tables."""
    if "map" not in tables.rows or "log" not in tables.rows:
        return
    named = {token for row in tables.rows["map"].values() for token in row.log_tokens}
    for token in tables.rows["log"].keys() - named:
        yield tables.fault("map", "dangling token", f"no map names the log {token}")


def broken_chains(tables: RawTables) -> Iterator[DataFault]:
    """Faults of `prev`, `next` and times along chains; tokens must be sound."""
    for table in CHAINS:
        rows = tables.rows[table]
        for token, row in rows.items():
            if row.next and rows[row.next].prev != token:
                cause = f"next of {token} is {row.next}, whose prev is {rows[row.next].prev or '-'}"
                yield tables.fault(table, "broken chain", cause)
            elif row.next and table in TIMED_CHAINS and rows[row.next].timestamp <= row.timestamp:
                cause = f"timestamp of {row.next} is not later than that of {token} before it"
                yield tables.fault(table, "timestamp", cause)
            elif row.prev and rows[row.prev].next != token and rows[row.prev].next == "":
                yield tables.fault(table, "broken chain", f"{row.prev} does not lead to {token}")


def scene_ends(tables: RawTables) -> Iterator[DataFault]:
    """Scenes of one name, and whose chain has another length or last sample than their row says."""
    samples = tables.rows["sample"]
    seen: set[str] = set()
    for token, scene in tables.rows["scene"].items():
        if scene.name in seen:
            yield tables.fault("scene", "double name", f"two scenes have the name {scene.name}")
        seen.add(scene.name)
        at, last, count = scene.first_sample_token, "", 0
        while at and count <= len(samples):
            count, last, at = count + 1, at, samples[at].next
        if count != scene.nbr_samples or last != scene.last_sample_token:
            cause = (
                f"{scene.name} ({token}) says {scene.nbr_samples} samples, the chain has {count}"
            )
            yield tables.fault("scene", "broken chain", cause)


def incomplete_samples(tables: RawTables) -> Iterator[DataFault]:
    """Samples without one of the sensors, or whose recordings are of another moment."""
    samples = tables.rows["sample"]
    for token, found in tables.keyframes().items():
        lacking = [name for name in tables.description.sensors if name not in found]
        if lacking:
            cause = f"sample {token} has no keyframe of {', '.join(lacking)}"
            yield tables.fault("sample_data", "incomplete sample", cause)
        for channel, row in found.items():
            away_s = abs(row.timestamp - samples[token].timestamp) / 1e6
            if away_s > KEYFRAME_WITHIN_S:
                cause = f"{channel} {row.token} is {away_s:.3f} s away from its sample {token}"
                yield tables.fault("sample_data", "timestamp", cause)


NORM_TOLERANCE = 1e-3
# Further from the middle of the rear axle no sensor of a car is mounted.
MOUNTED_WITHIN_M = 10.0
# Where each nuScenes camera looks, counter-clockwise from forward.
AZIMUTH_DEG = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_LEFT": 55.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_RIGHT": -110.0,
    "CAM_FRONT_RIGHT": -55.0,
}
DIRECTION_WITHIN_DEG = 30.0


def bad_rotation(numbers: Sequence[float]) -> str | None:
    """Fault of a unit quaternion (w, x, y, z); None for a good one."""
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)):
        return f"rotation {list(numbers)} is no quaternion of four finite numbers"
    norm = math.sqrt(sum(number * number for number in numbers))
    if abs(norm - 1.0) > NORM_TOLERANCE:
        return f"rotation has norm {norm:.4g}, not 1"
    return None


def bad_translation(numbers: Sequence[float], *, within_m: float = math.inf) -> str | None:
    """Fault of a position in metres; None for a good one."""
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        return f"translation {list(numbers)} is not three finite numbers"
    if math.hypot(*numbers) > within_m:
        return f"translation is {math.hypot(*numbers):.4g} m long (at most {within_m:g} m)"
    return None


def bad_intrinsic(matrix: Sequence[Sequence[float]], size_px: tuple[int, int] | None) -> str | None:
    """Fault of a 3 x 3 camera matrix in pixels, for images of (width, height); None for a good one."""
    if [len(row) for row in matrix] != [3, 3, 3] or not np.isfinite(matrix).all():
        return f"camera_intrinsic {list(matrix)} is not 3 x 3 finite numbers"
    if matrix[0][0] <= 0 or matrix[1][1] <= 0:
        return f"camera_intrinsic has focal lengths {matrix[0][0]:g} and {matrix[1][1]:g} px"
    if list(matrix[2]) != [0, 0, 1] or matrix[1][0] != 0:
        return "camera_intrinsic is no upper triangle that ends in 0, 0, 1"
    at = (matrix[0][2], matrix[1][2])
    if size_px and not all(0 < place < size for place, size in zip(at, size_px, strict=True)):
        width, height = size_px
        return f"principal point ({at[0]:g}, {at[1]:g}) lies outside the {width} x {height} image"
    return None


def bad_direction(channel: str, rotation: Sequence[float]) -> str | None:
    """Fault of a camera that does not look in the direction of its name."""
    from pyquaternion import Quaternion

    ahead = Quaternion(list(rotation)).rotation_matrix[:, 2]
    azimuth = math.degrees(math.atan2(ahead[1], ahead[0]))
    away = abs((azimuth - AZIMUTH_DEG[channel] + 180.0) % 360.0 - 180.0)
    rise = abs(math.degrees(math.asin(max(-1.0, min(1.0, float(ahead[2]))))))
    if away > DIRECTION_WITHIN_DEG or rise > DIRECTION_WITHIN_DEG:
        nominal = f"{AZIMUTH_DEG[channel]:g} deg"
        return f"{channel} looks to {azimuth:.0f} deg (up {rise:.0f} deg), its name says {nominal}"
    return None


def calibration_faults(tables: RawTables) -> Iterator[DataFault]:
    """At most one fault a row of `calibrated_sensor`, `ego_pose`."""
    sizes = {
        row.calibrated_sensor_token: (row.width, row.height)
        for row in tables.rows["sample_data"].values()
        if isinstance(row.width, int) and isinstance(row.height, int) and row.width and row.height
    }
    for token, row in tables.rows["calibrated_sensor"].items():
        sensor = tables.rows["sensor"][row.sensor_token]
        cause = bad_rotation(row.rotation)
        cause = cause or bad_translation(row.translation, within_m=MOUNTED_WITHIN_M)
        if sensor.modality == "camera":
            cause = cause or bad_intrinsic(row.camera_intrinsic, sizes.get(token))
        if tables.description == NUSCENES and sensor.channel in AZIMUTH_DEG:
            cause = cause or bad_direction(sensor.channel, row.rotation)
        if cause:
            cause = f"{sensor.channel} {token}: {cause}"
            yield tables.fault("calibrated_sensor", "calibration", cause)
    for token, row in tables.rows["ego_pose"].items():
        cause = bad_rotation(row.rotation) or bad_translation(row.translation)
        if cause:
            yield tables.fault("ego_pose", "pose", f"{token}: {cause}")


def annotation_faults(tables: RawTables) -> Iterator[DataFault]:
    """At most one fault a row of `sample_annotation`."""
    for token, row in tables.rows["sample_annotation"].items():
        cause = _bad_box(row)
        if cause:
            yield tables.fault("sample_annotation", "annotation", f"{token}: {cause}")


def _bad_box(row: Any) -> str | None:
    if len(row.size) != 3 or not all(math.isfinite(size) and size > 0 for size in row.size):
        return f"size {list(row.size)} is not three lengths above 0"
    if row.num_lidar_pts < 0 or row.num_radar_pts < 0:
        return f"{row.num_lidar_pts} LiDAR and {row.num_radar_pts} radar points"
    if row.visibility_token and not row.visibility_token.isdecimal():
        return f"visibility_token {row.visibility_token} is no number"
    return bad_rotation(row.rotation) or bad_translation(row.translation)
