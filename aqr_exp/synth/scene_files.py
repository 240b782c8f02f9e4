"""Generation of one scene: simulate it, write its images and points, return its table rows."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyquaternion import Quaternion

from aqr_exp.synth.annotations import FrameView, annotate
from aqr_exp.synth.camera import CameraView, build_view, draw, noise_tile, through_lens
from aqr_exp.synth.lidar import Returns, poses_at, relative_poses, scan, stack_solids
from aqr_exp.synth.plan import ScenePlan, Weather, location_name, log_name
from aqr_exp.synth.polygons import stack_polygons
from aqr_exp.synth.rig import Mount, build_rig
from aqr_exp.synth.road import paint_ground
from aqr_exp.synth.sets import SETS
from aqr_exp.synth.settings import SynthSettings, generator, token
from aqr_exp.synth.traffic import KEYFRAME_INTERVAL_S, build_world

Rows = dict[str, list[dict[str, Any]]]
"""nuScenes table rows by table name."""


def calibration_token(settings: SynthSettings, log: int, channel: str) -> str:
    """Token of a sensor's calibration on the vehicle of a log."""
    return token("calibrated_sensor", settings.origin, log, channel)


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


@lru_cache(maxsize=24)
def _view(settings: SynthSettings, log: int, name: str, condition: Weather) -> CameraView:
    """A camera's view; a worker needs the same one in several scenes."""
    width, height = settings.image_width, settings.image_height
    return build_view(build_rig(settings, log)[name], width, height, condition)


class _Scene:
    """A simulated scene: its objects as the sensors need them, and the rows of what they recorded."""

    def __init__(self, root: Path, settings: SynthSettings, plan: ScenePlan) -> None:
        self.root, self.settings, self.plan = root, settings, plan
        self.rig = build_rig(settings, plan.log)
        objects = SETS[settings.set]
        self.lidar, self.cameras = objects.described.lidar, objects.described.cameras
        self.world = build_world(plan.road, settings.keyframes, self.generator("traffic"), objects)
        self.solids, self.polygons = (
            stack_solids(self.world.actors),
            stack_polygons(self.world.actors),
        )
        rng = self.generator("ground")
        self.ground = paint_ground(float(rng.uniform(-30.0, 60.0)), rng)
        size = settings.image_height, settings.image_width
        self.noise = noise_tile(*size, plan.condition, self.generator("noise"))
        self.rows: Rows = {"ego_pose": [], "sample_data": []}
        self.latest: dict[str, dict[str, Any]] = {}

    def token(self, *parts: object) -> str:
        """A token of this scene."""
        return token(self.settings.origin, self.plan.index, *parts)

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator for one purpose in this scene."""
        return generator(self.settings.seed, self.plan.index, purpose)

    def ego_at(self, time_s: float) -> np.ndarray:
        """Global x, y, heading of the ego frame."""
        pose: np.ndarray = self.world.ego.poses(self.plan.road, np.array([time_s]))[0]
        return pose

    def add_sample_data(self, channel: str, step: int, time_s: float, *, keyframe: bool) -> Path:
        """Add rows of `sample_data` and `ego_pose` for one recording; return its file's path."""
        settings, log, camera = self.settings, self.plan.log, channel != self.lidar
        time_us = self.plan.start_us + round(time_s * 1e6)
        folder = "samples" if keyframe else "sweeps"
        ending = "jpg" if camera else "pcd.bin"
        name = f"{folder}/{channel}/{log_name(log)}__{channel}__{time_us}.{ending}"
        x, y, heading = self.ego_at(time_s)
        own = self.token("sample_data", channel, step)
        pose = {
            "token": own,
            "timestamp": time_us,
            "rotation": Quaternion(axis=(0.0, 0.0, 1.0), radians=float(heading)).elements.tolist(),
            "translation": [float(x), float(y), 0.0],
        }
        before = self.latest.get(channel)
        row = {
            "token": own,
            # A sweep belongs to the keyframe that follows it.
            "sample_token": self.token("sample", -(-step // (settings.sweeps_between + 1))),
            "ego_pose_token": own,
            "calibrated_sensor_token": calibration_token(settings, log, channel),
            "timestamp": time_us,
            "fileformat": "jpg" if camera else "pcd",
            "is_key_frame": keyframe,
            "height": settings.image_height if camera else 0,
            "width": settings.image_width if camera else 0,
            "filename": name,
            "prev": before["token"] if before else "",
            "next": "",
        }
        if before:
            before["next"] = own
        self.latest[channel] = row
        self.rows["ego_pose"].append(pose)
        self.rows["sample_data"].append(row)
        return self.root / name

    def scan(self, step: int, time_s: float) -> Returns:
        """The LiDAR's points at one time."""
        place = self.rig[self.lidar].place_m
        poses = poses_at(self.world.actors, self.plan.road, time_s)
        poses = relative_poses(poses, self.ego_at(time_s))
        poses[:, :2] -= place[:2]
        rng = self.generator(f"lidar {step}")
        steps = self.settings.azimuth_steps
        return scan(self.solids, poses, place[2], steps, self.plan.condition, rng)

    def keyframe(self, number: int, points: Returns) -> FrameView:
        """Write the images of a keyframe; return the pixels and points of each actor."""
        settings, plan, actors = self.settings, self.plan, self.world.actors
        time_s = number * KEYFRAME_INTERVAL_S
        ego = self.ego_at(time_s)
        poses = poses_at(actors, plan.road, time_s)
        seen = np.zeros(len(actors), dtype=np.int64)
        drawn = np.zeros(len(actors), dtype=np.int64)
        rng = self.generator(f"lens {number}")
        for name in self.cameras:
            picture = draw(
                _view(settings, plan.log, name, plan.condition),
                actors,
                self.polygons,
                relative_poses(poses, ego),
                self.ground,
                plan.road,
                ego,
                plan.condition,
            )
            image = through_lens(picture.image, self.noise, plan.condition, rng)
            step = number * (settings.sweeps_between + 1)
            path = self.add_sample_data(name, step, time_s, keyframe=True)
            write_image(path, image, settings.jpeg_quality)
            seen += np.bincount(picture.owners[picture.owners >= 0], minlength=len(actors))
            drawn += picture.drawn
        hits = np.bincount(points.owner[points.owner >= 0], minlength=len(actors))
        return FrameView(poses=poses, ego=ego, lidar_points=hits, seen_px=seen, drawn_px=drawn)

    def sample_rows(self) -> list[dict[str, Any]]:
        """Rows of `sample`."""
        count = self.settings.keyframes
        tokens = ["", *(self.token("sample", number) for number in range(count)), ""]
        return [
            {
                "token": tokens[number + 1],
                "timestamp": self.plan.start_us + round(number * KEYFRAME_INTERVAL_S * 1e6),
                "prev": tokens[number],
                "next": tokens[number + 2],
                "scene_token": self.token("scene"),
            }
            for number in range(count)
        ]

    def scene_row(self) -> dict[str, Any]:
        """Row of `scene`."""
        plan, count = self.plan, self.settings.keyframes
        bend = "bend" if plan.road.curvature else "straight road"
        words = f"{plan.condition.words}, {bend}, works, {location_name(plan.log)} (synthetic)"
        return {
            "token": self.token("scene"),
            "log_token": token("log", self.settings.origin, plan.log),
            "nbr_samples": count,
            "first_sample_token": self.token("sample", 0),
            "last_sample_token": self.token("sample", count - 1),
            "name": plan.name,
            "description": words,
        }


def generate_scene(root: Path, settings: SynthSettings, plan: ScenePlan) -> Rows:
    """Write one scene's files below `root`, whose folders exist, and return its rows.

    Returns:
        Rows of `scene`, `sample`, `sample_data`, `ego_pose`, `instance`, `sample_annotation`.
    """
    cv2.setNumThreads(1)
    scene = _Scene(root, settings, plan)
    frames: list[FrameView] = []
    steps = settings.sweeps_between + 1
    # A few turns lead in, so that the first keyframe has earlier sweeps like any other.
    for step in range(-settings.sweeps_between, (settings.keyframes - 1) * steps + 1):
        time_s, is_keyframe = step * KEYFRAME_INTERVAL_S / steps, step % steps == 0
        points = scene.scan(step, time_s)
        path = scene.add_sample_data(scene.lidar, step, time_s, keyframe=is_keyframe)
        write_points(path, points, scene.rig[scene.lidar])
        if is_keyframe:
            frames.append(scene.keyframe(len(frames), points))
    instances, annotations = annotate(scene.world.actors, frames, scene.token)
    return {
        "scene": [scene.scene_row()],
        "sample": scene.sample_rows(),
        "instance": instances,
        "sample_annotation": annotations,
        **scene.rows,
    }
