"""Settings of a data set, and its tokens and random generators, functions of the seed alone."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import numpy as np

from aqr_exp.config.schema.constraints import Range


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
        set: Which objects and cameras, of `synth.sets.SETS`.
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

    set: str = "synth"
    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    train_scenes: Annotated[int, Range(1, 10_000)] = 60
    val_scenes: Annotated[int, Range(1, 10_000)] = 20
    keyframes: Annotated[int, Range(1, 80)] = 8
    sweeps_between: Annotated[int, Range(0, 9)] = 2
    image_width: Annotated[int, Range(64, 1600)] = 480
    image_height: Annotated[int, Range(36, 900)] = 270
    azimuth_steps: Annotated[int, Range(36, 2160)] = 480
    jpeg_quality: Annotated[int, Range(1, 100)] = 85
    night_fraction: Annotated[float, Range(0.0, 1.0)] = 0.25
    rain_fraction: Annotated[float, Range(0.0, 1.0)] = 0.25

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: Names every field outside its range, its value and the range.
        """
        hints = get_type_hints(SynthSettings, include_extras=True)
        faults = [
            f"{name}={getattr(self, name)} (allowed: {span.low} to {span.high})"
            for name, span in (
                (name, hint.__metadata__[0]) for name, hint in hints.items() if name != "set"
            )
            if not span.low <= getattr(self, name) <= span.high
        ]
        if self.night_fraction + self.rain_fraction > 1.0:
            faults.append(
                f"night_fraction + rain_fraction={self.night_fraction + self.rain_fraction} "
                "(allowed: up to 1)"
            )
        if faults:
            raise ValueError("synthetic data: " + ", ".join(faults))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with the generator's revision."""
        kept = dataclasses.asdict(self)
        if self.set == "synth":  # as it was before there were others
            del kept["set"]
        return {**kept, "generator_revision": GENERATOR_REVISION}

    @property
    def origin(self) -> int | str:
        """What tells its tokens from those of other data."""
        return self.seed if self.set == "synth" else f"{self.set} {self.seed}"
