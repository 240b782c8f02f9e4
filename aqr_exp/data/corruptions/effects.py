"""Effects of the corruptions on images, on points, and in time.

Images are [H, W, 3] uint8, blue first, in the order of the views, as they are stored: before resizing
and normalisation. No function changes its arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from aqr_exp.config.schema.description import view_name
from aqr_exp.data.classes import Modality
from aqr_exp.data.corruptions import multicorrupt
from aqr_exp.data.corruptions.cases import RINGS, CorruptionCase
from aqr_exp.data.geometry import inside_boxes

Images = Sequence[np.ndarray]
Generator = np.random.Generator
CorruptImages = Callable[[Images, CorruptionCase, Generator], Images]

DIRT_BGR = (20, 30, 40)
_LEVELS = np.arange(256)


def drop_views(images: Images, case: CorruptionCase, rng: Generator) -> Images:
    """The named images, or each with the severity as probability, 0."""
    if case.views:
        gone = [view_name(name) in case.views for name in case.sensors[1:]]
    else:
        gone = (rng.random(len(images)) < float(case.severity)).tolist()
    return [
        np.zeros_like(image) if lost else image for image, lost in zip(images, gone, strict=True)
    ]


def occlude(image: np.ndarray, level: int, rng: Generator) -> np.ndarray:
    """Discs of dirt: a pixel is covered when its centre is not farther than the radius."""
    height, width = image.shape[:2]
    dirty = image.copy()
    for x, y, size in rng.random(((10, 20, 40)[level], 3)) * (width, height, 1.0):
        radius = (0.02 + (0.10 - 0.02) * size) * height
        top, left = max(0, int(y - radius)), max(0, int(x - radius))
        patch = dirty[top : int(y + radius) + 2, left : int(x + radius) + 2]
        rows, columns = np.ogrid[: patch.shape[0], : patch.shape[1]]
        squared = (columns + left + 0.5 - x) ** 2 + (rows + top + 0.5 - y) ** 2
        patch[squared <= radius**2] = DIRT_BGR
    return dirty


def darken(image: np.ndarray, level: int, _rng: Generator) -> np.ndarray:
    """Scale all values down."""
    return np.asarray(np.rint((0.4, 0.2, 0.1)[level] * _LEVELS).astype(np.uint8)[image])


def fog(image: np.ndarray, level: int, _rng: Generator) -> np.ndarray:
    """Light grey mixed in, the same at every pixel: stored images have no depth."""
    clear = (0.6, 0.4, 0.2)[level]
    return np.asarray(np.rint(clear * _LEVELS + (1 - clear) * 200.0).astype(np.uint8)[image])


def blur(image: np.ndarray, level: int, _rng: Generator) -> np.ndarray:
    """A Gaussian filter; borders are mirrored."""
    sigma = (2.0, 4.0, 8.0)[level] * image.shape[0] / 900
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma))


def add_noise(image: np.ndarray, level: int, rng: Generator) -> np.ndarray:
    """Normal noise on every value."""
    noise = rng.standard_normal(image.shape, dtype=np.float32) * (20.0, 40.0, 80.0)[level]
    return np.asarray(np.clip(np.rint(image + noise), 0, 255).astype(np.uint8))


def _of_each(change: multicorrupt.ChangeImage, *, stored: bool = False) -> CorruptImages:
    """A change of every image of a sample; `stored` as MultiCorrupt stores them."""
    after = multicorrupt.as_stored if stored else np.asarray
    return lambda images, case, rng: [after(change(one, case.level, rng)) for one in images]


IMAGE_CORRUPTIONS: dict[str, CorruptImages] = {
    "camera_drop": lambda images, _case, _rng: [np.zeros_like(image) for image in images],
    "view_drop": drop_views,
    "occlusion": _of_each(occlude),
    "dark": _of_each(darken),
    "fog": _of_each(fog),
    "blur": _of_each(blur),
    "noise": _of_each(add_noise),
    **{name: _of_each(change, stored=True) for name, change in multicorrupt.IMAGES.items()},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cloud:
    """Merged points [N, 5], and the boxes [G, 7] of all annotated objects."""

    points: np.ndarray
    boxes_m: np.ndarray


CorruptPoints = Callable[[Cloud, CorruptionCase, Generator], np.ndarray]


def dropped(points: np.ndarray, form: str) -> np.ndarray:
    """Points of a LiDAR that delivers nothing: none (`empty`), or all with every column 0 (`origin`)."""
    return points[:0] if form == "empty" else np.zeros_like(points)


def drop(cloud: Cloud, case: CorruptionCase, _rng: Generator) -> np.ndarray:
    """The points `dropped`, in the form that the severity names."""
    return dropped(cloud.points, case.severity)


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
    drawn, degrees = rng.random(5), 1.0 + case.level
    if drawn[0] >= multicorrupt.RATE[case.level]:
        return cloud.points
    turn = multicorrupt.rotation(np.radians(np.where(drawn[1:4] < 0.5, -degrees, degrees)))
    azimuth = 2 * np.pi * drawn[4]
    shift = 2.0 * np.array([np.sin(azimuth), np.cos(azimuth), 0.0])
    moved = cloud.points.copy()
    moved[:, :3] = cloud.points[:, :3].astype(np.float64) @ turn.T + shift
    return moved


POINT_CORRUPTIONS: dict[str, CorruptPoints] = {
    "lidar_drop": drop,
    "points_drop": drop_points,
    "limited_fov": limit_view,
    "object_failure": drop_objects,
    "spatial_misalignment": misalign,
}


def reduce_beams(points: np.ndarray, level: int, _rng: Generator, _keyframe: bool) -> np.ndarray:
    """The points of the rings that a level keeps."""
    return np.asarray(points[np.isin(points[:, 4], list(RINGS.values())[level])])


def lose_beams(points: np.ndarray, level: int, rng: Generator, keyframe: bool) -> np.ndarray:
    """A keyframe's points without drawn rings, some of which are drawn twice."""
    lost = rng.integers(2, 29, size=24)[: 8 * (level + 1) * keyframe]
    return np.asarray(points[~np.isin(points[:, 4], lost)])


def cross_sensor(points: np.ndarray, level: int, _rng: Generator, keyframe: bool) -> np.ndarray:
    """Every second point of a keyframe's rings that a smaller sensor has."""
    lost = np.arange(1, 32, (4, 2, 1.33)[level]).astype(int)
    return np.asarray(points[~np.isin(points[:, 4], lost)][::2]) if keyframe else points


def crosstalk(points: np.ndarray, level: int, rng: Generator, keyframe: bool) -> np.ndarray:
    """Normal noise on place and intensity of a drawn share of a keyframe's points."""
    share = (0.03, 0.07, 0.12)[level] * keyframe
    hit = rng.permutation(len(points))[: int(share * len(points))]
    noisy = points.copy()
    noisy[hit, :4] += 3.0 * rng.standard_normal((len(hit), 4))
    return noisy


FILE_CORRUPTIONS: dict[str, multicorrupt.ChangeFile] = {
    "beams": reduce_beams,
    "mc_beamsreducing": reduce_beams,
    **multicorrupt.FILES,
    "r3d_beam_missing": lose_beams,
    "r3d_cross_sensor": cross_sensor,
    "r3d_crosstalk": crosstalk,
}


def displaced_cameras(info: dict[str, Any], case: CorruptionCase) -> dict[str, Any]:
    """A sample whose cameras are not where its calibration, `lidar2cam`, says."""
    rng = case.rng(info["token"])
    images: dict[str, Any] = {}
    for name, camera in info["images"].items():
        if case.severity == "single" or not images:
            error, axis = np.eye(4), rng.standard_normal(3)
            angle = np.radians(rng.uniform(1, 5) / 2) * rng.choice([-1, 1])
            error[:3, :3] = cv2.Rodrigues(axis / np.linalg.norm(axis) * angle)[0]
            error[:3, 3] = rng.uniform(0.005, 0.01, 3) * rng.choice([-1, 1], 3)
        mount = np.asarray(camera["cam2ego"], dtype=np.float64)
        change = np.linalg.inv(error @ mount) @ mount
        images[name] = {**camera, "lidar2cam": change @ np.asarray(camera["lidar2cam"])}
    return {**info, "images": images}


LONGEST_GAP_S = 1.0
"""Keyframes are half a second apart: a longer gap is one between scenes."""

STUCK = {"stuck_lidar": Modality.LIDAR, "stuck_cameras": Modality.CAMERA}
DRAWN_STUCK = {f"nr_{name}": sensor for name, sensor in STUCK.items()}
TEMPORAL, PUBLISHED_TEMPORAL = "temporal_misalignment", "mc_temporalmisalignment"
POSES = "nr_extrinsics"
FRAME_CORRUPTIONS = (POSES, TEMPORAL, PUBLISHED_TEMPORAL, *STUCK, *DRAWN_STUCK)


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


def _sensors(case: CorruptionCase, kind: Modality) -> tuple[str, ...]:
    return case.sensors[:1] if kind is Modality.LIDAR else case.sensors[1:]


def stale_data(
    case: CorruptionCase, sample: int, token: str, previous: Sequence[int | None]
) -> dict[str, int]:
    """Position of the earlier sample whose data a sensor delivers, by the late sensor's channel.

    `sample` is the sample's position, and `previous` comes from `previous_keyframes`.
    """
    if case.corruption == PUBLISHED_TEMPORAL:
        # The entry before, of whatever scene; the second entry's LiDAR is spared, as its authors do.
        hit = case.rng(token).random(len(case.sensors)) < multicorrupt.RATE[case.level]
        sensors = zip(case.sensors, hit, (2, *[1] * (len(hit) - 1)), strict=True)
        return {name: sample - 1 for name, drawn, first in sensors if drawn and sample >= first}
    before = previous[sample]
    if before is None:
        return {}
    if case.corruption == TEMPORAL:
        chance, side = case.rng(token).random(2)
        sensor = Modality.LIDAR if side < 0.5 else Modality.CAMERA
        return (
            dict.fromkeys(_sensors(case, sensor), before) if chance < float(case.severity) else {}
        )
    if case.corruption in DRAWN_STUCK:
        names, total = _sensors(case, DRAWN_STUCK[case.corruption]), len(previous)
        orders = {name: case.rng(name).permutation(total) for name in names}
        stuck = total * int(case.severity) // 100
        return {name: before for name, order in orders.items() if sample in order[:stuck]}
    chain = [sample]
    while (earlier := previous[chain[-1]]) is not None:
        chain.append(earlier)
    late = (len(chain) - 1) % int(case.severity)
    return dict.fromkeys(_sensors(case, STUCK[case.corruption]), chain[late]) if late else {}


def with_stale_files(
    info: dict[str, Any], stale: dict[str, int], read: Callable[[int], Mapping[str, Any]]
) -> dict[str, Any]:
    """The sample with late images and `lidar_source`, the info of late points; `read` gives one."""
    late = {name: read(sample) for name, sample in stale.items()}
    images = {
        name: {**camera, "img_path": late.get(name, info)["images"][name]["img_path"]}
        for name, camera in info["images"].items()
    }
    clouds = [other for name, other in late.items() if name not in info["images"]]
    source = {"lidar_source": clouds[0]} if clouds else {}
    return {**info, "images": images, **source}
