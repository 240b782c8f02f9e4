"""Checks of sensor files: presence, sizes, readable images and points, and calibration."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aqr_exp.data.checks.tables import DataFault, RawTables
from aqr_exp.data.geometry import POINT_FEATURES, pose_matrix, read_image, read_points
from aqr_exp.data.nuscenes_tables import FullSampleData
from aqr_exp.errors import AqrExpError
from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.files.reading import open_regular

POINT_BYTES = POINT_FEATURES * 4
# A cloud with fewer points than this share of the usual one was cut short; rain takes far less away.
SHORTEST_SHARE = 0.05
# Of the points around the vehicle, each of six cameras sees a tenth or more.
SEEN_SHARE = 0.002


class SensorFiles:
    """The files that training and evaluation read: keyframes of all sensors and LiDAR sweeps.

    Attributes:
        rows: The recordings by channel.
        size_bytes: Size of every file that is there, by name.
    """

    def __init__(self, tables: RawTables) -> None:
        self.root = tables.root
        self.lidar, self.cameras = tables.description.lidar, tables.description.cameras
        self.rows: dict[str, list[FullSampleData]] = {
            name: [] for name in (self.lidar, *self.cameras)
        }
        for row in tables.rows["sample_data"].values():
            channel = tables.channel(row)
            if channel == self.lidar or (channel in self.rows and row.is_key_frame):
                self.rows[channel].append(row)
        self.size_bytes = self._sizes()

    def _sizes(self) -> dict[str, int]:
        """Sizes by name, from one listing per folder: far faster than half a million calls of `stat`."""
        names = {row.filename for rows in self.rows.values() for row in rows}
        sizes: dict[str, int] = {}
        for folder in sorted({os.path.dirname(name) for name in names}):  # noqa: PTH120
            with contextlib.suppress(OSError), os.scandir(self.root / folder) as entries:
                for entry in entries:
                    name = f"{folder}/{entry.name}"
                    if name in names and entry.is_file():
                        sizes[name] = entry.stat().st_size
        return sizes

    def present(self, channel: str) -> list[FullSampleData]:
        """A channel's recordings whose files are there."""
        return [row for row in self.rows[channel] if row.filename in self.size_bytes]

    @property
    def counts(self) -> dict[str, int]:
        """Keyframes by channel, and the LiDAR's other recordings as `sweeps`."""
        counts = {name: sum(row.is_key_frame for row in rows) for name, rows in self.rows.items()}
        return {**counts, "sweeps": sum(not row.is_key_frame for row in self.rows[self.lidar])}


def missing_files(files: SensorFiles) -> Iterator[DataFault]:
    """Every file that a table names and that is not there."""
    for channel, rows in files.rows.items():
        for row in rows:
            if row.filename not in files.size_bytes:
                cause = f"the file of {channel} {row.token} is missing"
                yield DataFault(file=row.filename, kind="missing file", cause=cause)


def missing_maps(tables: RawTables) -> Iterator[DataFault]:
    """Every map image that is not there: the devkit cannot open the tables then."""
    for token, row in tables.rows["map"].items():
        if not (tables.root / row.filename).is_file():
            cause = f"the map of {token} is missing"
            yield DataFault(file=row.filename, kind="missing file", cause=cause)


def short_clouds(files: SensorFiles) -> Iterator[DataFault]:
    """LiDAR files that are empty, end within a point or hold far fewer points than the others."""
    rows = files.present(files.lidar)
    points = [files.size_bytes[row.filename] // POINT_BYTES for row in rows]
    usual = float(np.median(points)) if points else 0.0
    for row, count in zip(rows, points, strict=True):
        size = files.size_bytes[row.filename]
        cause = None
        if size == 0:
            cause = "empty"
        elif size % POINT_BYTES:
            cause = f"{size} bytes are no multiple of a point's {POINT_BYTES}: cut short"
        elif count < SHORTEST_SHARE * usual:
            cause = f"{count} points, where the usual cloud has {usual:.0f}"
        if cause:
            yield DataFault(file=row.filename, kind="damaged points", cause=cause)


def chosen(rows: Sequence[FullSampleData], count: int | None) -> list[FullSampleData]:
    """At most `count` rows, spread over all of them; all when None."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]


def broken_images(
    files: SensorFiles, count: int | None, progress: Progress = no_progress
) -> Iterator[DataFault]:
    """Images that cannot be decoded, end early or have another size than their table says.

    The ends of every image are looked at. At most `count` images of each camera are read whole, spread
    over the data set; None reads all.
    """
    rows = [row for name in files.cameras for row in files.present(name)]
    whole = {row.token for name in files.cameras for row in chosen(files.present(name), count)}
    for index, row in enumerate(rows):
        path = files.root / row.filename
        try:
            cause = cut_image(path) or (bad_image(path, row) if row.token in whole else None)
        except OSError as error:
            cause = f"unreadable: {error.strerror}"
        progress(index + 1, len(rows))
        if cause:
            yield DataFault(file=row.filename, kind="broken image", cause=cause)


def cut_image(path: Path) -> str | None:
    """Fault of an image file whose ends show it; None for a good one."""
    with open_regular(path) as file:
        head = file.read(2)
        file.seek(max(0, file.seek(0, os.SEEK_END) - 64))
        tail = file.read()
    if not head:
        return "empty"
    # Some decoders fill what is missing with grey and say nothing.
    return "the JPEG ends early" if head == b"\xff\xd8" and b"\xff\xd9" not in tail else None


def bad_image(path: Path, row: FullSampleData) -> str | None:
    """Fault of an image file that exists; None for a good one."""
    try:
        image = read_image(path)
    except (AqrExpError, ValueError) as error:
        return str(error).removeprefix(f"{path} ").removeprefix("is ")
    height, width = image.shape[:2]
    if (width, height) != (row.width, row.height):
        return f"{width} x {height} px, the table says {row.width} x {row.height}"
    return None


def odd_points(
    files: SensorFiles, count: int | None, progress: Progress = no_progress
) -> Iterator[DataFault]:
    """Clouds with numbers that are not finite; arguments as in `broken_images`."""
    damaged = {fault.file for fault in short_clouds(files)}
    sound = [row for row in files.present(files.lidar) if row.filename not in damaged]
    rows = chosen(sound, count)
    for index, row in enumerate(rows):
        cause = None
        try:
            points = read_points(files.root / row.filename)
        except OSError as error:
            cause = f"unreadable: {error.strerror}"
        else:
            if bad := int((~np.isfinite(points)).any(axis=1).sum()):
                cause = f"{bad} of {len(points)} points hold numbers that are not finite"
        progress(index + 1, len(rows))
        if cause:
            yield DataFault(file=row.filename, kind="damaged points", cause=cause)


NEAREST_M = 1.0
# Several recordings of each calibration: in a single one a lorry may block the view.
KEYFRAMES_PER_CAMERA = 3


def _to_global(tables: RawTables, row: FullSampleData) -> np.ndarray:
    pose = tables.rows["ego_pose"][row.ego_pose_token]
    mount = tables.rows["calibrated_sensor"][row.calibrated_sensor_token]
    return pose_matrix(pose.rotation, pose.translation) @ pose_matrix(
        mount.rotation, mount.translation
    )


def seen_share(
    tables: RawTables, camera: FullSampleData, lidar: FullSampleData, xyz: np.ndarray
) -> float:
    """Share of a keyframe's points [N, 3] (LiDAR frame, m) that land in a camera's image."""
    lidar2cam = np.linalg.inv(_to_global(tables, camera)) @ _to_global(tables, lidar)
    in_camera = xyz @ lidar2cam[:3, :3].T + lidar2cam[:3, 3]
    in_camera = in_camera[in_camera[:, 2] > NEAREST_M]
    intrinsic = tables.rows["calibrated_sensor"][camera.calibrated_sensor_token].camera_intrinsic
    pixels = in_camera @ np.asarray(intrinsic).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = ((pixels >= 0) & (pixels < [camera.width, camera.height])).all(axis=1)
    return float(inside.sum() / max(1, len(xyz)))


def blind_cameras(tables: RawTables, files: SensorFiles) -> Iterator[DataFault]:
    """Calibrations of cameras that see next to none of the points of their keyframes."""
    keyframes = tables.keyframes()
    for channel in files.cameras:
        by_calibration: dict[str, list[FullSampleData]] = {}
        for row in files.rows[channel]:
            by_calibration.setdefault(row.calibrated_sensor_token, []).append(row)
        for token, rows in by_calibration.items():
            shares = []
            for row in chosen(rows, KEYFRAMES_PER_CAMERA):
                lidar = keyframes[row.sample_token][files.lidar]
                if lidar.filename in files.size_bytes and isinstance(row.width, int):
                    xyz = read_points(files.root / lidar.filename)[:, :3].astype(float)
                    shares.append(seen_share(tables, row, lidar, xyz))
            if shares and max(shares) < SEEN_SHARE:
                cause = (
                    f"{channel} {token}: {max(shares):.2%} of the LiDAR points land in its image"
                )
                yield tables.fault("calibrated_sensor", "calibration", cause)
