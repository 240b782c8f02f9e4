"""Generation of one scene: simulate it, write its images and points, return its table rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyquaternion import Quaternion

from aqr_exp.data.classes import CAMERA_NAMES, LIDAR_NAME
from aqr_exp.synth.annotations import FrameView, annotate
from aqr_exp.synth.camera import CameraView, build_view, draw, noise_tile, through_lens
from aqr_exp.synth.lidar import Returns, Solids, poses_at, relative_poses, scan, stack_solids
from aqr_exp.synth.plan import ScenePlan, Weather, location_name, log_name
from aqr_exp.synth.polygons import Polygons, stack_polygons
from aqr_exp.synth.rig import Mount, build_rig
from aqr_exp.synth.road import paint_ground
from aqr_exp.synth.settings import SynthSettings, generator, token
from aqr_exp.synth.traffic import KEYFRAME_INTERVAL_S, World, build_world

Rows = dict[str, list[dict[str, Any]]]
"""nuScenes table rows by table name."""


@dataclass
class _Recorder:
    """Writer of the files and collector of the rows of one scene."""

    root: Path
    settings: SynthSettings
    plan: ScenePlan
    mounts: dict[str, Mount]
    world: World
    rows: Rows = field(default_factory=dict)
    channels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def token(self, *parts: object) -> str:
        """A token of this scene."""
        return token(self.settings.seed, self.plan.index, *parts)

    def ego_at(self, time_s: float) -> np.ndarray:
        """Global x, y, heading of the ego frame."""
        pose: np.ndarray = self.world.ego.poses(self.plan.road, np.array([time_s]))[0]
        return pose

    def file_name(self, channel: str, time_us: int, *, keyframe: bool) -> str:
        """Path of a sensor's file below the root, as nuScenes names them."""
        folder = "samples" if keyframe else "sweeps"
        ending = "pcd.bin" if channel == LIDAR_NAME else "jpg"
        return f"{folder}/{channel}/{log_name(self.plan.log)}__{channel}__{time_us}.{ending}"

    def add_sample_data(self, channel: str, step: int, time_s: float, *, keyframe: bool) -> Path:
        """Add rows of `sample_data` and `ego_pose` for one recording; return its file's path."""
        time_us = self.plan.start_us + round(time_s * 1e6)
        name = self.file_name(channel, time_us, keyframe=keyframe)
        x, y, heading = self.ego_at(time_s)
        own = self.token("sample_data", channel, step)
        pose = {
            "token": own,
            "timestamp": time_us,
            "rotation": Quaternion(axis=(0.0, 0.0, 1.0), radians=float(heading)).elements.tolist(),
            "translation": [float(x), float(y), 0.0],
        }
        steps = self.settings.sweeps_between + 1
        camera = channel != LIDAR_NAME
        # A sweep belongs to the keyframe that follows it.
        sample = -(-step // steps)
        row = {
            "token": own,
            "sample_token": self.token("sample", sample),
            "ego_pose_token": own,
            "calibrated_sensor_token": calibration_token(self.settings, self.plan.log, channel),
            "timestamp": time_us,
            "fileformat": "jpg" if camera else "pcd",
            "is_key_frame": keyframe,
            "height": self.settings.image_height if camera else 0,
            "width": self.settings.image_width if camera else 0,
            "filename": name,
            "prev": "",
            "next": "",
        }
        self.rows.setdefault("ego_pose", []).append(pose)
        self.rows.setdefault("sample_data", []).append(row)
        line = self.channels.setdefault(channel, [])
        if line:
            line[-1]["next"], row["prev"] = own, line[-1]["token"]
        line.append(row)
        return self.root / name


def calibration_token(settings: SynthSettings, log: int, channel: str) -> str:
    """Token of a sensor's calibration on the vehicle of a log."""
    return token("calibrated_sensor", settings.seed, log, channel)


def write_points(path: Path, returns: Returns, mount: Mount) -> None:
    """Store a scan in the LiDAR's own frame, which is turned on the vehicle."""
    points = returns.points.copy()
    points[:, :3] = points[:, :3] @ mount.rotation.rotation_matrix.astype(np.float32)
    path.write_bytes(points.tobytes())


def write_image(path: Path, image: np.ndarray, quality: int) -> None:
    """Store an image as JPEG.

    Raises:
        OSError: Encoding failed.
    """
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError(f"{path}: the image cannot be encoded as JPEG")
    path.write_bytes(data.tobytes())


@dataclass(frozen=True, kw_only=True)
class _SceneAssets:
    """Arrays and views prepared once for a scene."""

    views: dict[str, CameraView]
    solids: Solids
    polygons: Polygons
    ground: np.ndarray
    noise: np.ndarray


@lru_cache(maxsize=24)
def _view(settings: SynthSettings, log: int, name: str, condition: Weather) -> CameraView:
    """A camera's view; a worker needs the same one in several scenes."""
    width, height = settings.image_width, settings.image_height
    return build_view(build_rig(settings, log)[name], width, height, condition)


def _prepare(settings: SynthSettings, plan: ScenePlan, world: World) -> _SceneAssets:
    width, height = settings.image_width, settings.image_height
    rng = generator(settings.seed, plan.index, "ground")
    crossing = float(rng.uniform(-30.0, 60.0))
    return _SceneAssets(
        views={name: _view(settings, plan.log, name, plan.condition) for name in CAMERA_NAMES},
        solids=stack_solids(world.actors),
        polygons=stack_polygons(world.actors),
        ground=paint_ground(crossing, rng),
        noise=noise_tile(
            height, width, plan.condition, generator(settings.seed, plan.index, "noise")
        ),
    )


def _scan(recorder: _Recorder, assets: _SceneAssets, step: int, time_s: float) -> Returns:
    """The LiDAR's points at one time."""
    mount = recorder.mounts[LIDAR_NAME]
    ego = recorder.ego_at(time_s)
    poses = relative_poses(poses_at(recorder.world.actors, recorder.plan.road, time_s), ego)
    poses[:, :2] -= mount.place_m[:2]
    return scan(
        assets.solids,
        poses,
        mount.place_m[2],
        recorder.settings.azimuth_steps,
        recorder.plan.condition,
        generator(recorder.settings.seed, recorder.plan.index, f"lidar {step}"),
    )


def _keyframe(recorder: _Recorder, assets: _SceneAssets, number: int, points: Returns) -> FrameView:
    """Write the images of a keyframe; return the pixels and points of each actor."""
    settings, plan, actors = recorder.settings, recorder.plan, recorder.world.actors
    time_s = number * KEYFRAME_INTERVAL_S
    ego = recorder.ego_at(time_s)
    poses = poses_at(actors, plan.road, time_s)
    seen = np.zeros(len(actors), dtype=np.int64)
    drawn = np.zeros(len(actors), dtype=np.int64)
    rng = generator(settings.seed, plan.index, f"lens {number}")
    for name in CAMERA_NAMES:
        picture = draw(
            assets.views[name],
            actors,
            assets.polygons,
            relative_poses(poses, ego),
            assets.ground,
            plan.road,
            ego,
            plan.condition,
        )
        image = through_lens(picture.image, assets.noise, plan.condition, rng)
        step = number * (settings.sweeps_between + 1)
        write_image(
            recorder.add_sample_data(name, step, time_s, keyframe=True),
            image,
            settings.jpeg_quality,
        )
        seen += np.bincount(picture.owners[picture.owners >= 0], minlength=len(actors))
        drawn += picture.drawn
    hits = np.bincount(points.owner[points.owner >= 0], minlength=len(actors))
    return FrameView(poses=poses, ego=ego, lidar_points=hits, seen_px=seen, drawn_px=drawn)


def _times(settings: SynthSettings) -> Iterator[tuple[int, float, bool]]:
    """Step, seconds and keyframe flag of every LiDAR turn of a scene.

    A few turns lead in, so that the first keyframe has earlier sweeps like any other.
    """
    steps = settings.sweeps_between + 1
    for step in range(-settings.sweeps_between, (settings.keyframes - 1) * steps + 1):
        yield step, step * KEYFRAME_INTERVAL_S / steps, step % steps == 0


def _sample_rows(recorder: _Recorder) -> list[dict[str, Any]]:
    count = recorder.settings.keyframes
    tokens = ["", *(recorder.token("sample", number) for number in range(count)), ""]
    return [
        {
            "token": tokens[number + 1],
            "timestamp": recorder.plan.start_us + round(number * KEYFRAME_INTERVAL_S * 1e6),
            "prev": tokens[number],
            "next": tokens[number + 2],
            "scene_token": recorder.token("scene"),
        }
        for number in range(count)
    ]


def _scene_row(recorder: _Recorder) -> dict[str, Any]:
    plan, count = recorder.plan, recorder.settings.keyframes
    bend = "bend" if plan.road.curvature else "straight road"
    words = f"{plan.condition.words}, {bend}, works, {location_name(plan.log)} (synthetic)"
    return {
        "token": recorder.token("scene"),
        "log_token": token("log", recorder.settings.seed, plan.log),
        "nbr_samples": count,
        "first_sample_token": recorder.token("sample", 0),
        "last_sample_token": recorder.token("sample", count - 1),
        "name": plan.name,
        "description": words,
    }


def generate_scene(root: Path, settings: SynthSettings, plan: ScenePlan) -> Rows:
    """Write one scene's files below `root`, whose folders exist, and return its rows.

    Returns:
        Rows of `scene`, `sample`, `sample_data`, `ego_pose`, `instance`, `sample_annotation`.
    """
    cv2.setNumThreads(1)
    rig = build_rig(settings, plan.log)
    rng = generator(settings.seed, plan.index, "traffic")
    world = build_world(plan.road, settings.keyframes, rng)
    recorder = _Recorder(root=root, settings=settings, plan=plan, mounts=rig, world=world)
    assets = _prepare(settings, plan, world)
    frames: list[FrameView] = []
    for step, time_s, is_keyframe in _times(settings):
        points = _scan(recorder, assets, step, time_s)
        path = recorder.add_sample_data(LIDAR_NAME, step, time_s, keyframe=is_keyframe)
        write_points(path, points, rig[LIDAR_NAME])
        if is_keyframe:
            frames.append(_keyframe(recorder, assets, len(frames), points))
    instances, annotations = annotate(world.actors, frames, recorder.token)
    return {
        "scene": [_scene_row(recorder)],
        "sample": _sample_rows(recorder),
        "instance": instances,
        "sample_annotation": annotations,
        **recorder.rows,
    }
