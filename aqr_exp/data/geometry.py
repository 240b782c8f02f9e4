"""Geometry of boxes and points: corners, containment, overlap, projection and merged sweeps.

Boxes are (x, y, z, length, width, height, yaw): centre and sizes in metres in the LiDAR frame, yaw
counter-clockwise from x in radians, length along the heading. Letters: G boxes, N points.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from pyquaternion import Quaternion

from aqr_exp.files.reading import read_content

# Of a cloud or an image; real ones have less than a hundredth.
_MOST_BYTES = 256 << 20
# Corners nearer than this to the camera's plane have no place in its image.
NEAREST_M = 0.1
_SIGNS = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) / 2

Numbers = NDArray[np.floating]


def footprints_m(boxes_m: Float[Numbers, "G 7"]) -> Float[Numbers, "G 4 2"]:
    """Corners (x, y) in metres of boxes from above: front left, front right, rear right, rear left."""
    cos, sin = np.cos(boxes_m[:, 6]), np.sin(boxes_m[:, 6])
    turn = np.stack((cos, sin, -sin, cos), axis=-1).reshape(-1, 2, 2)
    offsets = _SIGNS * boxes_m[:, None, 3:5]
    return np.asarray(boxes_m[:, None, :2] + offsets @ turn)


def corners_m(boxes_m: Float[Numbers, "G 7"]) -> Float[Numbers, "G 8 3"]:
    """The eight corners of boxes: four below in the order of `footprints_m`, four above."""
    ground = np.tile(footprints_m(boxes_m), (1, 2, 1))
    half = np.repeat(np.array([-0.5, 0.5]), 4) * boxes_m[:, 5:6]
    return np.concatenate((ground, (boxes_m[:, 2:3] + half)[..., None]), axis=-1)


def project(points_m: Float[Numbers, "*shape 3"], lidar2img: Float[Numbers, "4 4"]) -> Numbers:
    """Pixels (u, v) of points in the LiDAR frame (metres), also beyond the image; NaN behind the camera."""
    projected = points_m @ lidar2img[:3, :3].T + lidar2img[:3, 3]
    depth = projected[..., 2:]
    return np.asarray(projected[..., :2] / np.where(depth > NEAREST_M, depth, np.nan))


def depths_m(points_m: Float[Numbers, "*shape 3"], lidar2img: Float[Numbers, "4 4"]) -> Numbers:
    """Distances of points from a camera's plane, metres; negative behind it."""
    return np.asarray(points_m @ lidar2img[2, :3] + lidar2img[2, 3])


def inside_boxes(
    points_m: Float[Numbers, "N 3"], boxes_m: Float[Numbers, "G 7"]
) -> Bool[NDArray[np.bool_], "G N"]:
    """[G, N] mask of the points inside each box, borders included."""
    found = np.zeros((len(boxes_m), len(points_m)), dtype=bool)
    for index, (x, y, z, length, width, height, yaw) in enumerate(boxes_m):
        # Few points are near: only they are turned into the box's frame.
        reach = np.hypot(length, width) / 2
        near = np.flatnonzero(
            (np.abs(points_m[:, 0] - x) <= reach) & (np.abs(points_m[:, 1] - y) <= reach)
        )
        dx, dy, dz = (points_m[near].astype(np.float64) - (x, y, z)).T
        ahead = dx * np.cos(yaw) + dy * np.sin(yaw)
        left = dy * np.cos(yaw) - dx * np.sin(yaw)
        inside = (np.abs(ahead) <= length / 2) & (np.abs(left) <= width / 2)
        found[index, near] = inside & (np.abs(dz) <= height / 2)
    return found


def overlap(
    first: Float[Numbers, "*many 4 2"], second: Float[Numbers, "*more 4 2"], *, touching: bool
) -> Bool[NDArray[np.bool_], "*both"]:
    """Overlap of rectangles given by their corners, by the separating axis theorem.

    Rectangles that only touch overlap if `touching`.
    """
    apart = np.zeros(np.broadcast_shapes(first.shape[:-2], second.shape[:-2]), dtype=bool)
    beyond = np.less if touching else np.less_equal
    for corners in (first, second):
        for edge in (
            corners[..., 1, :] - corners[..., 0, :],
            corners[..., 3, :] - corners[..., 0, :],
        ):
            along_first = np.einsum("...ij,...j->...i", first, edge)
            along_second = np.einsum("...ij,...j->...i", second, edge)
            apart |= beyond(along_first.max(axis=-1), along_second.min(axis=-1))
            apart |= beyond(along_second.max(axis=-1), along_first.min(axis=-1))
    return ~apart


def overlaps_any(box_m: Float[Numbers, " 7"], others_m: Float[Numbers, "G 7"]) -> bool:
    """True if a box overlaps any other seen from above; touching borders do not overlap."""
    one, others = footprints_m(box_m[None]), footprints_m(others_m)
    return bool(overlap(one, others, touching=False).any())


POINT_FEATURES = 5
"""Numbers a stored point has: x, y, z, intensity, ring."""


def read_points(path: str | Path) -> np.ndarray:
    """A nuScenes `.pcd.bin` as float32 [N, 5] (x, y, z, intensity, ring).

    Raises:
        ValueError: The file's size is no multiple of a point's.
        AqrExpError: It is missing, no regular file, or longer than any cloud.
    """
    content = np.frombuffer(bytearray(read_content(Path(path), at_most=_MOST_BYTES)), np.uint8)
    if content.size % (4 * POINT_FEATURES):
        raise ValueError(f"{path}: {content.size} bytes are no multiple of {4 * POINT_FEATURES}")
    return content.view(np.float32).reshape(-1, POINT_FEATURES)


def read_image(path: str | Path, *, half: bool = False) -> np.ndarray:
    """An image as uint8 [H, W, 3], blue first; of `half` its height and width.

    Raises:
        ValueError: The file cannot be decoded.
        AqrExpError: It is missing, no regular file, or longer than any image.
    """
    content = np.frombuffer(read_content(Path(path), at_most=_MOST_BYTES), np.uint8)
    form = cv2.IMREAD_REDUCED_COLOR_2 if half else cv2.IMREAD_COLOR
    image = cv2.imdecode(content, form) if len(content) else None
    if image is None:
        raise ValueError(f"{path} is no image that can be decoded")
    return np.asarray(image)


def pose_matrix(rotation: Sequence[float], translation: Sequence[float]) -> np.ndarray:
    """[4, 4] from a frame to its parent, by a quaternion (w, x, y, z) and metres."""
    matrix = np.eye(4)
    matrix[:3, :3] = Quaternion(list(rotation)).rotation_matrix
    matrix[:3, 3] = translation
    return matrix


def is_ego(points: np.ndarray, half_side_m: float = 1.0) -> np.ndarray:
    """Mask of the points in the square around the sensor in which the ego vehicle itself is seen."""
    return np.asarray((np.abs(points[:, 0]) < half_side_m) & (np.abs(points[:, 1]) < half_side_m))


def without_ego(points: np.ndarray) -> np.ndarray:
    """The points that are not the ego vehicle's."""
    return points[~is_ego(points)]


def to_keyframe(points: np.ndarray, lidar2sensor: np.ndarray) -> np.ndarray:
    """Move a sweep's points [N, 5] into the keyframe's LiDAR frame.

    `lidar2sensor` [4, 4] leads from the keyframe's LiDAR frame to the sweep's, as info files store it.
    """
    sensor2lidar = np.linalg.inv(lidar2sensor)
    moved = points.copy()
    moved[:, :3] = points[:, :3] @ sensor2lidar[:3, :3].T + sensor2lidar[:3, 3]
    return moved


def merged_sweeps(
    sample: Mapping[str, Any],
    sweeps: int,
    change: Callable[[np.ndarray, str], np.ndarray] | None = None,
    *,
    ego_points: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The points of a keyframe and its newest earlier sweeps in the keyframe's LiDAR frame.

    Args:
        sample: `timestamp`, `lidar_points` and `lidar_sweeps` as in an info file, with whole paths.
        sweeps: Number of earlier sweeps, newest first; fewer where a scene begins.
        change: Called with a file's points [N, 5], as stored, and its path; returns what they become.
        ego_points: Keep the points of the vehicle itself in the sweeps.

    Returns:
        Points [N, 5] (x, y, z in metres, intensity, seconds before the keyframe) and the sweep [N]
        each is of (0 the keyframe).
    """
    clouds: list[np.ndarray] = []
    for entry in (sample, *sample.get("lidar_sweeps", [])[:sweeps]):
        path = entry["lidar_points"]["lidar_path"]
        points = read_points(path) if change is None else change(read_points(path), path)
        if clouds:
            moved = np.asarray(entry["lidar_points"]["lidar2sensor"], float)
            points = to_keyframe(points if ego_points else without_ego(points), moved)
        points[:, 4] = sample["timestamp"] - entry["timestamp"] if clouds else 0.0
        clouds.append(points)
    numbers = np.repeat(np.arange(len(clouds)), [len(cloud) for cloud in clouds])
    return np.concatenate(clouds), numbers


def lidar_to_image(camera: Mapping[str, Any]) -> np.ndarray:
    """[4, 4] from the LiDAR frame to pixels of a stored image (u d, v d, d, 1).

    `camera` has `cam2img` and `lidar2cam`, as in an info file.
    """
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = np.asarray(camera["cam2img"])[:3, :3]
    return intrinsics @ np.asarray(camera["lidar2cam"], dtype=np.float64)
