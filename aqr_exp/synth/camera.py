"""Cameras: drawing of a scene, and the effects of weather on the finished picture."""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from aqr_exp.synth.actors import Actor, footprints
from aqr_exp.synth.plan import Weather
from aqr_exp.synth.polygons import (
    NEAR_M,
    Polygons,
    clip_polygon,
    cuboid_precedence,
    guard_planes,
    rectangle_precedence,
    sort_by_precedence,
    turn_and_shift,
)
from aqr_exp.synth.rig import Mount
from aqr_exp.synth.road import Road, sample_ground

_REFERENCE_WIDTH_PX = 480.0


def noise_tile(height: int, width: int, condition: Weather, rng: np.random.Generator) -> np.ndarray:
    """Pixel noise for a whole scene, a little larger than an image; int16 [H + 64, W + 64, 3]."""
    # Sums of uniforms: nearly normal, and exact on every platform.
    draws = rng.integers(-32, 33, (3, height + 64, width + 64, 3), dtype=np.int16).sum(axis=0)
    deviation = np.sqrt(3.0 * (65.0**2 - 1.0) / 12.0)
    return np.round(draws * (condition.image_noise / deviation)).astype(np.int16)


def _drops(image: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Drops on the lens: round spots that show the surroundings smeared and lightened."""
    height, width = image.shape[:2]
    smeared = cv2.GaussianBlur(image, (0, 0), 6.0 * width / _REFERENCE_WIDTH_PX)
    smeared = cv2.convertScaleAbs(smeared, alpha=0.9, beta=22)
    mask = np.zeros((height, width), dtype=np.uint8)
    for _ in range(count):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = max(2, round(float(rng.uniform(4.0, 13.0)) * width / _REFERENCE_WIDTH_PX))
        cv2.circle(mask, centre, radius, 255, -1)
    image[mask > 0] = smeared[mask > 0]
    return image


def through_lens(
    image: np.ndarray, noise: np.ndarray, condition: Weather, rng: np.random.Generator
) -> np.ndarray:
    """Add weather and noise to a picture [H, W, 3] uint8; `noise` is from `noise_tile`."""
    height, width = image.shape[:2]
    if condition.contrast < 1.0:
        image = cv2.convertScaleAbs(
            image, alpha=condition.contrast, beta=150.0 * (1.0 - condition.contrast)
        )
    if condition.blur_px > 0.0:
        image = cv2.GaussianBlur(image, (0, 0), condition.blur_px * width / _REFERENCE_WIDTH_PX)
    if condition.drops:
        image = _drops(image, condition.drops, rng)
    top, left = (int(value) for value in rng.integers(0, 64, 2))
    shifted = image.astype(np.int16) + noise[top : top + height, left : left + width]
    return np.clip(shifted, 0, 255).astype(np.uint8)


_SKY = {"clear": (225, 190, 150), "night": (40, 25, 20), "rain": (190, 185, 180)}
_HAZE = {"clear": (215, 205, 190), "night": (26, 18, 15), "rain": (180, 178, 175)}
_HAZE_LENGTH_M = {"clear": 160.0, "night": 160.0, "rain": 60.0}
_FARTHEST_M = 150.0
_SUB_PIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """Precomputed values of a camera that are the same in every frame.

    Attributes:
        intrinsic: [3, 3] camera matrix, pixels.
        ego2cam: [4, 4].
        position: [3] the camera in the ego frame.
        planes: [5, 4] clipping planes in the camera frame.
        top_row: First image row that shows ground.
        ground_xy: [H - top_row, W, 2] ego x, y of the ground at each pixel.
        ground_light: [H - top_row, W, 1] light on it.
        ground_haze: [H - top_row, W, 1] share of its colour left by the haze.
        sky: [H, W, 3] picture without anything.
    """

    intrinsic: np.ndarray
    ego2cam: np.ndarray
    position: np.ndarray
    planes: np.ndarray
    top_row: int
    ground_xy: np.ndarray
    ground_light: np.ndarray
    ground_haze: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawn image and what is on it.

    Attributes:
        image: [H, W, 3] uint8 BGR.
        owners: [H, W] int16, index of the actor at each pixel, -1 for none.
        drawn: [N] pixels each actor covered before nearer ones were drawn.
    """

    image: np.ndarray
    owners: np.ndarray
    drawn: np.ndarray


def light_at(xy: np.ndarray, condition: Weather) -> np.ndarray:
    """[...] brightness at places [..., 2] of the ego frame: ambient light and headlights."""
    if condition.name != "night":
        return np.full(xy.shape[:-1], condition.ambient)
    forward, left = xy[..., 0] - 3.5, xy[..., 1]
    distance = np.hypot(forward, left)
    angle = np.arctan2(left, forward)
    beam = np.exp(-((angle / 0.45) ** 2)) * np.exp(-distance / 22.0) * (forward > 0)
    return np.minimum(condition.ambient + 0.95 * beam, 1.05)


def build_view(mount: Mount, width: int, height: int, condition: Weather) -> CameraView:
    """Prepare a camera for a scene.

    Raises:
        ValueError: The mount is no camera's.
    """
    if mount.intrinsic is None:
        raise ValueError(f"{mount.name} is no camera")
    cam2ego = mount.sensor2ego
    position = cam2ego[:3, 3]
    column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([column, row, np.ones_like(row)], axis=-1)
    rays = pixels @ np.linalg.inv(mount.intrinsic).T @ cam2ego[:3, :3].T
    falls = np.minimum(rays[..., 2], -1e-9)
    reach = np.minimum(position[2] / -falls, 1e6)
    ground = position[:2] + reach[..., None] * rays[..., :2]
    level = np.linalg.norm(ground - position[:2], axis=-1)
    seen = (rays[..., 2] < 0) & (level < _FARTHEST_M)
    rows_with_ground = np.flatnonzero(seen.any(axis=1))
    top = int(rows_with_ground[0]) if len(rows_with_ground) else height
    haze_length = _HAZE_LENGTH_M[condition.name]
    # The sky fades into the haze towards the horizon.
    up = np.clip(rays[..., 2] / np.linalg.norm(rays, axis=-1) / 0.25, 0.0, 1.0)[..., None]
    sky = np.asarray(_HAZE[condition.name]) * (1 - up) + np.asarray(_SKY[condition.name]) * up
    haze = np.where(seen, np.exp(-level / haze_length), 0.0)
    return CameraView(
        intrinsic=mount.intrinsic,
        ego2cam=np.linalg.inv(cam2ego),
        position=position,
        planes=guard_planes(mount.intrinsic, width, height),
        top_row=top,
        ground_xy=ground[top:].astype(np.float32),
        ground_light=light_at(ground[top:], condition)[..., None].astype(np.float32),
        ground_haze=haze[top:, :, None].astype(np.float32),
        sky=sky.astype(np.uint8),
    )


def _background(
    view: CameraView, ground: np.ndarray, road: Road, ego: np.ndarray, condition: Weather
) -> np.ndarray:
    """Draw sky and ground."""
    image = view.sky.copy()
    x, y = view.ground_xy[..., 0], view.ground_xy[..., 1]
    # Plain floats keep the pixel arrays in single precision, which is ample here and twice as fast.
    ego_x, ego_y, heading = ego.tolist()
    cos, sin = math.cos(heading), math.sin(heading)
    s, d = road.from_global(ego_x + cos * x - sin * y, ego_y + sin * x + cos * y)
    colours = sample_ground(ground, s, d) * view.ground_light
    haze = np.asarray(_HAZE[condition.name], dtype=np.float32)
    image[view.top_row :] = haze + (colours - haze) * view.ground_haze
    return image


def _shade(
    polygons: Polygons, corners: np.ndarray, normals: np.ndarray, condition: Weather
) -> np.ndarray:
    """[P, 3] colours as they appear, from the ego's place."""
    sun = np.array([0.35, 0.5, 0.79])
    tilt = np.clip(normals @ sun, 0.0, 1.0)
    facing = 0.62 + 0.43 * tilt if condition.name == "clear" else 0.8 + 0.15 * tilt
    middle = corners[:, :, :2].mean(axis=1)
    light = light_at(middle, condition) * facing
    colours = polygons.colour * np.where(polygons.glows, 1.0, light)[:, None]
    left = np.exp(-np.linalg.norm(middle, axis=-1) / _HAZE_LENGTH_M[condition.name])[:, None]
    return np.asarray(
        np.clip(colours * left + np.asarray(_HAZE[condition.name]) * (1 - left), 0, 255)
    )


def _ranks(
    actors: tuple[Actor, ...], poses: np.ndarray, visible: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Drawing rank of each visible actor, and the order of the blocks within each."""
    corners = np.stack([footprints(poses[index], actors[index].size) for index in visible])
    precedence = rectangle_precedence(corners, position[:2])
    distance = np.linalg.norm(poses[visible, :2] - position[:2], axis=-1)
    rank = np.zeros(len(actors), dtype=np.int64)
    rank[visible[sort_by_precedence(precedence, distance)]] = np.arange(len(visible))
    blocks: dict[int, list[int]] = {}
    for index in visible:
        parts = actors[index].blocks
        if len(parts) == 1:
            blocks[int(index)] = [0]
            continue
        cos, sin = np.cos(poses[index, 2]), np.sin(poses[index, 2])
        dx, dy = position[:2] - poses[index, :2]
        local = np.array([cos * dx + sin * dy, cos * dy - sin * dx, position[2]])
        low = np.array([part.low for part in parts])
        high = np.array([part.high for part in parts])
        away = np.linalg.norm((low + high) / 2 - local, axis=-1)
        order = sort_by_precedence(cuboid_precedence(low, high, local), away)
        blocks[int(index)] = np.argsort(order).tolist()
    return rank, blocks


def _pixels(corners: np.ndarray, intrinsic: np.ndarray) -> np.ndarray:
    """Camera-frame corners [..., 3] to OpenCV's fixed-point pixels [..., 2]."""
    flat = corners[..., :2] / corners[..., 2:]
    focal, centre = intrinsic[[0, 1], [0, 1]], intrinsic[:2, 2]
    # OpenCV counts from pixel centres, the camera matrix from the image's corner.
    return np.round((flat * focal + centre - 0.5) * (1 << _SUB_PIXEL_BITS)).astype(np.int32)


def _candidates(
    view: CameraView, in_camera: np.ndarray, facing: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Polygons that may be seen: their indices, and which of them have to be clipped."""
    depth = in_camera[..., 2]
    possible = np.flatnonzero(facing & (depth.max(axis=1) > NEAR_M))
    heights = np.einsum("pck,lk->plc", in_camera[possible], view.planes[:, :3])
    heights += view.planes[:, 3][:, None]
    possible_kept = (heights.max(axis=-1) > 0).all(axis=-1)
    clipped = (heights.min(axis=-1) < 0).any(axis=-1)
    possible, clipped = possible[possible_kept], clipped[possible_kept]
    height, width = size
    pixels = _pixels(in_camera[possible][~clipped], view.intrinsic) >> _SUB_PIXEL_BITS
    on_image = np.ones(len(possible), dtype=bool)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    on_image[~clipped] = (
        (high[:, 0] >= -1) & (low[:, 0] <= width) & (high[:, 1] >= -1) & (low[:, 1] <= height)
    )
    return possible[on_image], clipped[on_image]


def draw(
    view: CameraView,
    actors: tuple[Actor, ...],
    polygons: Polygons,
    poses: np.ndarray,
    ground: np.ndarray,
    road: Road,
    ego: np.ndarray,
    condition: Weather,
) -> Picture:
    """Draw a camera's image, without weather on the lens.

    Args:
        poses: [N, 3] x, y, heading of the actors in the ego frame.
        ground: From `paint_ground`.
        ego: [3] global x, y, heading of the ego.
    """
    image = _background(view, ground, road, ego, condition)
    size = image.shape[:2]
    owners = np.full(size, -1, dtype=np.int16)
    drawn = np.zeros(len(actors), dtype=np.int64)
    owner_poses = poses[polygons.owner]
    corners = turn_and_shift(polygons.corners, owner_poses)
    directions = owner_poses * np.array([0.0, 0.0, 1.0])
    normals = turn_and_shift(polygons.normal[:, None], directions)[:, 0]
    facing = np.einsum("pk,pk->p", normals, view.position - corners[:, 0]) > 0
    in_camera = corners @ view.ego2cam[:3, :3].T + view.ego2cam[:3, 3]
    chosen, clipped = _candidates(view, in_camera, facing, (size[0], size[1]))
    if len(chosen) == 0:
        return Picture(image=image, owners=owners, drawn=drawn)
    visible = np.unique(polygons.owner[chosen])
    rank, blocks = _ranks(actors, poses, visible, view.position)
    block_rank = [blocks[polygons.owner[index]][polygons.block[index]] for index in chosen]
    order = np.lexsort((chosen, block_rank, rank[polygons.owner[chosen]]))
    colours = _shade(polygons, corners, normals, condition)
    chosen, clipped = chosen[order], clipped[order]
    whole = iter(_pixels(in_camera[chosen[~clipped]], view.intrinsic))
    shapes = zip(chosen, clipped, strict=True)
    for owner, group in itertools.groupby(shapes, lambda pair: int(polygons.owner[pair[0]])):
        for index, cut in group:
            if cut:
                shape = clip_polygon(in_camera[index], view.planes)
                if len(shape) < 3:
                    continue
                pixels = _pixels(shape, view.intrinsic)
            else:
                pixels = next(whole)
            colour = colours[index].tolist()
            cv2.fillConvexPoly(image, pixels, colour, cv2.LINE_8, _SUB_PIXEL_BITS)
            if polygons.is_face[index]:
                cv2.fillConvexPoly(owners, pixels, owner, cv2.LINE_8, _SUB_PIXEL_BITS)
        # All of the actor is drawn now, and nothing nearer.
        drawn[owner] = np.count_nonzero(owners == owner)
    return Picture(image=image, owners=owners, drawn=drawn)
