"""Settings of a data set, and its tokens and random generators, functions of the seed alone."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np


def token(*parts: object) -> str:
    """A nuScenes token: 32 hex digits, the same for the same parts."""
    text = "/".join(["aqr-exp synthetic", *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def generator(seed: int, scene: int, purpose: str) -> np.random.Generator:
    """A random generator for one purpose in one scene, independent of other purposes."""
    words = np.frombuffer(hashlib.sha256(purpose.encode()).digest()[:8], dtype="<u4")
    return np.random.default_rng([seed, scene, *(int(word) for word in words)])


VERSION = "v1.0-synth"
"""The nuScenes version folder of every synthetic data set."""

TRAIN_SPLIT = "synth_train"
VAL_SPLIT = "synth_val"

GENERATOR_REVISION = 2
"""Raised whenever the same settings give other files than before."""


@dataclass(frozen=True, kw_only=True)
class SynthSettings:
    """All settings that the content depends on; the number of workers does not count.

    Attributes:
        seed: Seed of every random draw.
        train_scenes: Scenes of the split `synth_train`.
        val_scenes: Scenes of the split `synth_val`.
        keyframes: Annotated samples in a scene, two a second.
        sweeps_between: LiDAR sweeps between two keyframes, evenly spaced in time.
        image_width: Stored width of every image in pixels.
        image_height: Stored height of every image in pixels.
        azimuth_steps: LiDAR columns in a full turn; each has 32 beams.
        jpeg_quality: JPEG quality of the images, 1 to 100.
        night_fraction: Share of scenes at night.
        rain_fraction: Share of scenes in rain.
    """

    seed: int = 0
    train_scenes: int = 60
    val_scenes: int = 20
    keyframes: int = 8
    sweeps_between: int = 2
    image_width: int = 480
    image_height: int = 270
    azimuth_steps: int = 480
    jpeg_quality: int = 85
    night_fraction: float = 0.25
    rain_fraction: float = 0.25

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: Names every field outside its range, its value and the range.
        """
        ranges: dict[str, tuple[float, float]] = {
            "seed": (0, 2**32 - 1),
            "train_scenes": (1, 10_000),
            "val_scenes": (1, 10_000),
            "keyframes": (1, 80),
            "sweeps_between": (0, 9),
            "image_width": (64, 1600),
            "image_height": (36, 900),
            "azimuth_steps": (36, 2160),
            "jpeg_quality": (1, 100),
            "night_fraction": (0.0, 1.0),
            "rain_fraction": (0.0, 1.0),
        }
        faults = [
            f"{name}={getattr(self, name)} (allowed: {low} to {high})"
            for name, (low, high) in ranges.items()
            if not low <= getattr(self, name) <= high
        ]
        if self.night_fraction + self.rain_fraction > 1.0:
            faults.append(
                f"night_fraction + rain_fraction={self.night_fraction + self.rain_fraction} "
                "(allowed: up to 1)"
            )
        if faults:
            raise ValueError("synthetic data: " + ", ".join(faults))

    @property
    def scenes(self) -> int:
        """All scenes, the training scenes first."""
        return self.train_scenes + self.val_scenes

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the generator's revision."""
        return {**dataclasses.asdict(self), "generator_revision": GENERATOR_REVISION}

    def identity(self) -> str:
        """16 hex digits of the settings and the generator's revision."""
        text = json.dumps(self.as_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
