"""The GT database on disk: plain arrays and packed bytes, no pickle.

A folder `<split>.objects` holds, in the order of the scenes, one pack of bytes a scene (points and JPEG
patches), three arrays of fixed-size records that loader workers map into memory, and `index.json`,
written last: a folder with it is complete.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.data.info_files import MAX_SWEEPS
from aqr_exp.errors import AqrExpError, shown
from aqr_exp.files.reading import open_regular, read_json

FORM = 1
POINT_COLUMNS = 6
"""x, y, z (m, LiDAR frame of the object's keyframe), intensity, seconds before it, sweep number."""

OBJECT = np.dtype(
    [
        ("label", np.int8),  # place among the classes
        ("frame", np.int32),  # row of the frames' array
        ("scene", np.int32),  # which pack
        ("box", np.float64, 9),  # centre, length, width, height, yaw, velocity (NaN unknown)
        ("points", np.int32, MAX_SWEEPS + 1),  # per sweep index, 0 for the keyframe
        ("offset", np.int64),  # of the points in the pack
        ("first_patch", np.int32),
        ("patches", np.int8),
    ]
)
PATCH = np.dtype(
    [
        ("view", np.int8),
        ("left", np.int16),  # of the patch in the stored image, pixels
        ("top", np.int16),
        ("offset", np.int64),  # of the JPEG in the pack
        ("size", np.int32),
    ]
)
VIEWS = len(NUSCENES.cameras)
"""Views of a database whose index does not say how many."""


def arrays_of(views: int) -> dict[str, np.dtype]:
    """Types of the arrays' records, for data of so many cameras."""
    frame = np.dtype([("lidar2img", np.float64, (views, 4, 4))])
    return {"objects": OBJECT, "patches": PATCH, "frames": frame}


@dataclass(frozen=True, kw_only=True, eq=False)
class Patch:
    """View of an object by one camera.

    Attributes:
        view: Index of the camera.
        left: Column of the patch's left edge in its image.
        top: Row of its upper edge.
        image: [height, width, 3] BGR.
        lidar2img: [4, 4] of that camera at that moment.
    """

    view: int
    left: int
    top: int
    image: np.ndarray
    lidar2img: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class GtObject:
    """An object of the database.

    Attributes:
        label: Place among the classes.
        box: [9] centre, length, width, height, yaw, velocity in the LiDAR frame; metres, m/s.
        points: [n, 6] (`POINT_COLUMNS`).
        patches: One for each camera that saw it.
    """

    label: int
    box: np.ndarray
    points: np.ndarray
    patches: tuple[Patch, ...]


def pack_name(scene: int) -> str:
    """File name of a scene's bytes."""
    return f"{scene:05d}.pack"


class GtDatabase:
    """The objects of one split, in a complete `<split>.objects`, read one by one.

    Attributes:
        index: The content of `index.json`.

    Raises:
        AqrExpError: The folder is missing, incomplete, damaged or of another form.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index: dict[str, Any] = read_json(folder / "index.json")
        if self.index.get("form") != FORM:
            found = self.index.get("form")
            raise AqrExpError(
                f"{folder} has form {found!r}, not {FORM}: run `aqr-exp data prepare`"
            )
        views = self.index.get("views", VIEWS)
        if not isinstance(views, int) or not 1 <= views <= 127:
            raise AqrExpError(f"{folder}/index.json is damaged: views is {shown(views)}")
        self._kinds = arrays_of(views)
        self.objects = self._array("objects")
        self.patches = self._array("patches")
        self.frames = self._array("frames")

    def _array(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        try:
            open_regular(path).close()
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise AqrExpError(f"{path} is damaged: {error}") from None
        if array.dtype != self._kinds[name] or len(array) != self.index[name]:
            raise AqrExpError(f"{path} is damaged: it does not fit index.json")
        return array

    def pools(self, *, sweeps: int, min_points: int) -> list[np.ndarray]:
        """Places of each class's objects with `min_points` in the keyframe and `sweeps` sweeps."""
        points = self.objects["points"][:, : sweeps + 1].sum(axis=1)
        labels = self.objects["label"]
        return [
            np.flatnonzero((labels == label) & (points >= min_points)).astype(np.int32)
            for label in range(len(self.index["classes"]))
        ]

    def read(self, place: int, *, sweeps: int) -> GtObject:
        """Read one object with the points of the keyframe and `sweeps` earlier sweeps.

        Raises:
            AqrExpError: The pack is missing or too short.
        """
        row = self.objects[place]
        path = self.folder / pack_name(int(row["scene"]))
        first = int(row["first_patch"])
        patches = self.patches[first : first + int(row["patches"])]
        size = int(row["points"].sum()) * POINT_COLUMNS * 4
        with open_regular(path) as file:
            raw = _read(file.fileno(), path, int(row["offset"]), size)
            encoded = [
                _read(file.fileno(), path, int(patch["offset"]), int(patch["size"]))
                for patch in patches
            ]
        points = np.frombuffer(raw, np.float32).reshape(-1, POINT_COLUMNS)
        matrices = self.frames[int(row["frame"])]["lidar2img"]
        return GtObject(
            label=int(row["label"]),
            box=np.array(row["box"]),
            points=points[points[:, 5] <= sweeps],
            patches=tuple(
                Patch(
                    view=int(patch["view"]),
                    left=int(patch["left"]),
                    top=int(patch["top"]),
                    image=_decoded(content, path),
                    lidar2img=np.array(matrices[int(patch["view"])]),
                )
                for patch, content in zip(patches, encoded, strict=True)
            ),
        )


def _read(descriptor: int, path: Path, offset: int, size: int) -> bytes:
    content = os.pread(descriptor, size, offset)
    if len(content) != size:
        raise AqrExpError(f"{path} is damaged: it ends at byte {offset + len(content)}")
    return content


def _decoded(content: bytes, path: Path) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise AqrExpError(f"{path} is damaged: a patch cannot be decoded")
    return image
