"""Effects of the corruptions on images, on points, and in time.

Images are [H, W, 3] uint8, blue first, in the order of `CAMERA_NAMES`, as they are stored: before resizing
and normalisation. No function changes its arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from aqr_exp.data.classes import CAMERA_NAMES, Modality
from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.data.geometry import inside_boxes

Images = Sequence[np.ndarray]
Generator = np.random.Generator
CorruptImages = Callable[[Images, CorruptionCase, Generator], Images]

DIRT_BGR = (20, 30, 40)
DISCS = {"1": 10, "2": 20, "3": 40}
RADII = (0.02, 0.10)
"""Of the image's height."""
GAIN = {"1": 0.4, "2": 0.2, "3": 0.1}
TRANSMISSION = {"1": 0.6, "2": 0.4, "3": 0.2}
FOG_LEVEL = 200.0
BLUR_PX = {"1": 2.0, "2": 4.0, "3": 8.0}
BLUR_HEIGHT_PX = 900
NOISE_SD = {"1": 20.0, "2": 40.0, "3": 80.0}
_LEVELS = np.arange(256)


def drop_all(images: Images, _case: CorruptionCase, _rng: Generator) -> Images:
    """All images 0."""
    return [np.zeros_like(image) for image in images]


def drop_views(images: Images, case: CorruptionCase, rng: Generator) -> Images:
    """The named images, or each with the severity as probability, 0."""
    if case.views:
        gone = [name in case.views for name in CAMERA_NAMES]
    else:
        gone = (rng.random(len(images)) < float(case.severity)).tolist()
    return [
        np.zeros_like(image) if lost else image for image, lost in zip(images, gone, strict=True)
    ]


def occlude(images: Images, case: CorruptionCase, rng: Generator) -> Images:
    """Discs of dirt: a pixel is covered when its centre is not farther than the radius."""
    return [_with_dirt(image, rng.random((DISCS[case.severity], 3))) for image in images]


def _with_dirt(image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Paint discs; `drawn` is [discs, 3] in [0, 1): x, y and radius."""
    height, width = image.shape[:2]
    dirty = image.copy()
    low, high = RADII
    for x, y, size in drawn * (width, height, 1.0):
        radius = (low + (high - low) * size) * height
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        patch = dirty[top : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.ogrid[: patch.shape[0], : patch.shape[1]]
        squared = (columns + left + 0.5 - x) ** 2 + (rows + top + 0.5 - y) ** 2
        patch[squared <= radius**2] = DIRT_BGR
    return dirty


def darken(images: Images, case: CorruptionCase, _rng: Generator) -> Images:
    """Scale all values down."""
    return _by_level(images, GAIN[case.severity] * _LEVELS)


def fog(images: Images, case: CorruptionCase, _rng: Generator) -> Images:
    """Light grey mixed in, the same at every pixel: stored images have no depth."""
    clear = TRANSMISSION[case.severity]
    return _by_level(images, clear * _LEVELS + (1 - clear) * FOG_LEVEL)


def _by_level(images: Images, levels: np.ndarray) -> Images:
    """Every value replaced by its own level, rounded."""
    table = np.rint(levels).astype(np.uint8)
    return [table[image] for image in images]


def blur(images: Images, case: CorruptionCase, _rng: Generator) -> Images:
    """A Gaussian filter; borders are mirrored."""
    sigma = BLUR_PX[case.severity]
    return [
        np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * image.shape[0] / BLUR_HEIGHT_PX))
        for image in images
    ]


def add_noise(images: Images, case: CorruptionCase, rng: Generator) -> Images:
    """Normal noise on every value."""
    noisy = []
    for image in images:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * NOISE_SD[case.severity]
        noisy.append(np.clip(np.rint(image + noise), 0, 255).astype(np.uint8))
    return noisy


IMAGE_CORRUPTIONS: dict[str, CorruptImages] = {
    "camera_drop": drop_all,
    "view_drop": drop_views,
    "occlusion": occlude,
    "dark": darken,
    "fog": fog,
    "blur": blur,
    "noise": add_noise,
}


MISALIGNED = {"1": (0.2, 1.0), "2": (0.4, 2.0), "3": (0.6, 3.0)}
"""Probability for a frame, and degrees about each axis."""
SHIFT_M = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """Merged points [N, 5], and the boxes [G, 7] of all annotated objects."""

    points: np.ndarray
    boxes_m: np.ndarray


CorruptPoints = Callable[[Cloud, CorruptionCase, Generator], np.ndarray]


def drop(cloud: Cloud, case: CorruptionCase, _rng: Generator) -> np.ndarray:
    """Move all points to the origin, or remove them."""
    if case.severity == "empty":
        return cloud.points[:0]
    moved = cloud.points.copy()
    moved[:, :3] = 0.0
    return moved


def drop_points(cloud: Cloud, case: CorruptionCase, rng: Generator) -> np.ndarray:
    """An exact share of the points, drawn evenly; the others keep their order."""
    total = len(cloud.points)
    order = np.argsort(rng.random(total), kind="stable")
    gone = round(float(case.severity) * total)
    return cloud.points[np.sort(order[gone:])]


def limit_view(cloud: Cloud, case: CorruptionCase, _rng: Generator) -> np.ndarray:
    """Points within an angle of the forward direction."""
    x, y = cloud.points[:, 0].astype(np.float64), cloud.points[:, 1].astype(np.float64)
    return cloud.points[np.abs(np.degrees(np.arctan2(x, y))) <= float(case.severity)]


def drop_objects(cloud: Cloud, case: CorruptionCase, rng: Generator) -> np.ndarray:
    """The points in all boxes of a drawn frame."""
    if rng.random() >= float(case.severity):
        return cloud.points
    return cloud.points[~inside_boxes(cloud.points[:, :3], cloud.boxes_m).any(axis=0)]


def misalign(cloud: Cloud, case: CorruptionCase, rng: Generator) -> np.ndarray:
    """A drawn frame's points, turned about the three axes and moved."""
    rate, degrees = MISALIGNED[case.severity]
    drawn = rng.random(5)
    if drawn[0] >= rate:
        return cloud.points
    turn = rotation(np.radians(np.where(drawn[1:4] < 0.5, -degrees, degrees)))
    azimuth = 2 * np.pi * drawn[4]
    shift = SHIFT_M * np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    moved = cloud.points.copy()
    moved[:, :3] = cloud.points[:, :3].astype(np.float64) @ turn.T + shift
    return moved


def rotation(angles: np.ndarray) -> np.ndarray:
    """[3, 3] rotation by angles [3] in radians about x, then y, then z."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        about = np.eye(3)
        about[[one, other], [one, other]] = np.cos(angle)
        about[one, other], about[other, one] = -np.sin(angle), np.sin(angle)
        turn = about @ turn
    return turn


POINT_CORRUPTIONS: dict[str, CorruptPoints] = {
    "lidar_drop": drop,
    "points_drop": drop_points,
    "limited_fov": limit_view,
    "object_failure": drop_objects,
    "spatial_misalignment": misalign,
}


LONGEST_GAP_S = 1.0
"""Keyframes are half a second apart: a longer gap is one between scenes."""

STUCK = {"stuck_lidar": Modality.LIDAR, "stuck_cameras": Modality.CAMERA}
TEMPORAL = "temporal_misalignment"
FRAME_CORRUPTIONS = (TEMPORAL, *STUCK)


@dataclass(frozen=True, kw_only=True)
class Stale:
    """Replacement of a sensor's data by those of the keyframe at an earlier position."""

    sensor: Modality
    sample: int


def previous_keyframes(infos: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """For each sample, the position of the one before it in its scene; None for the first.

    Infos have a `timestamp` (s) and perhaps a `scene_token`. Without scenes, a keyframe at most a
    second older is taken to be of the same scene.
    """
    order = sorted(range(len(infos)), key=lambda index: infos[index]["timestamp"])
    found: list[int | None] = [None] * len(infos)
    last: dict[Any, int] = {}
    for index in order:
        scene = infos[index].get("scene_token")
        before = last.get(scene)
        if before is not None:
            gap_s = infos[index]["timestamp"] - infos[before]["timestamp"]
            if scene is not None or gap_s <= LONGEST_GAP_S:
                found[index] = before
        last[scene] = index
    return found


def stale_data(
    case: CorruptionCase, sample: int, token: str, previous: Sequence[int | None]
) -> Stale | None:
    """Effect of a corruption in time on a sample; None leaves it unchanged.

    `sample` is the sample's position, and `previous` comes from `previous_keyframes`.
    """
    if case.corruption == TEMPORAL:
        drawn = case.rng(token).random(2)
        before = previous[sample]
        if before is None or drawn[0] >= float(case.severity):
            return None
        return Stale(sensor=Modality.LIDAR if drawn[1] < 0.5 else Modality.CAMERA, sample=before)
    if case.corruption not in STUCK:
        return None
    chain = [sample]
    while (before := previous[chain[-1]]) is not None:
        chain.append(before)
    late = (len(chain) - 1) % int(case.severity)
    return Stale(sensor=STUCK[case.corruption], sample=chain[late]) if late else None


def with_stale_files(
    info: dict[str, Any], stale: Stale, other: Mapping[str, Any]
) -> dict[str, Any]:
    """The sample with the files of the keyframe `other` for the sensor that is late.

    Returns:
        A new dict: images with other paths, or `lidar_source`, the keyframe the points are of.
    """
    if stale.sensor is Modality.LIDAR:
        return {**info, "lidar_source": other}
    images = {
        name: {**camera, "img_path": other["images"][name]["img_path"]}
        for name, camera in info["images"].items()
    }
    return {**info, "images": images}
