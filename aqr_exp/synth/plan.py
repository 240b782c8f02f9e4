"""Plan of a data set: weather, light, roads and times of its scenes."""

from dataclasses import dataclass

import numpy as np

from aqr_exp.synth.road import Road
from aqr_exp.synth.settings import TRAIN_SPLIT, VAL_SPLIT, SynthSettings, generator


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Effects of a scene's weather and light on the sensors.

    Attributes:
        name: `clear`, `night` or `rain`.
        words: Its words in the scene's description.
        ambient: Brightness of what no headlight reaches; 1 by day.
        image_noise: Standard deviation of the pixel noise, of 255.
        blur_px: Standard deviation of the image blur at 480 pixels width.
        drops: Rain drops on each lens.
        contrast: Contrast left by mist, 1 without.
        lidar_range_m: Farthest return.
        lidar_dropout: Share of returns lost at any range.
    """

    name: str
    words: str
    ambient: float
    image_noise: float
    blur_px: float = 0.0
    drops: int = 0
    contrast: float = 1.0
    lidar_range_m: float = 70.0
    lidar_dropout: float = 0.02


CLEAR = Weather(name="clear", words="Clear day", ambient=1.0, image_noise=2.5)
NIGHT = Weather(name="night", words="Night", ambient=0.12, image_noise=8.0, blur_px=0.5)
RAIN = Weather(
    name="rain",
    words="Rain",
    ambient=0.75,
    image_noise=3.5,
    blur_px=1.1,
    drops=14,
    contrast=0.8,
    lidar_range_m=45.0,
    lidar_dropout=0.35,
)


def assign_conditions(
    scenes: int, night_fraction: float, rain_fraction: float, rng: np.random.Generator
) -> list[Weather]:
    """Weather of every scene of a split, in random order."""
    night = min(round(scenes * night_fraction), scenes)
    rain = min(round(scenes * rain_fraction), scenes - night)
    conditions = [NIGHT] * night + [RAIN] * rain + [CLEAR] * (scenes - night - rain)
    return [conditions[index] for index in rng.permutation(scenes)]


SCENES_PER_LOG = 9
CELL_M = 240.0
"""Scenes of a log lie on a 3 x 3 grid of squares of this side, in one map."""

_EPOCH_US = 1_735_689_600_000_000
_SCENE_US = 60_000_000
_STRAIGHT_SHARE = 0.45
_SHARPEST_RADIUS_M = 110.0


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """One scene before anything is drawn in it.

    Attributes:
        index: Counts all scenes, those for training first.
        log: Index of its log, vehicle and map.
        start_us: Timestamp of its first keyframe in microseconds.
    """

    index: int
    name: str
    split: str
    log: int
    condition: Weather
    road: Road
    start_us: int


def log_name(log: int) -> str:
    """Name of a log, the beginning of its file names."""
    return f"synthetic-n{log + 1:03d}"


def location_name(log: int) -> str:
    """Name of a log's place."""
    return f"synthetic-town-{log + 1:03d}"


def _road(settings: SynthSettings, index: int) -> Road:
    """The road of a scene, through its square of the log's map."""
    rng = generator(settings.seed, index, "road")
    slot = index % SCENES_PER_LOG
    curvature = 0.0
    if rng.random() > _STRAIGHT_SHARE:
        curvature = float(rng.choice([-1.0, 1.0])) / float(rng.uniform(_SHARPEST_RADIUS_M, 400.0))
    return Road(
        x=(slot % 3 + 0.5) * CELL_M + float(rng.uniform(-15.0, 15.0)),
        y=(slot // 3 + 0.5) * CELL_M + float(rng.uniform(-15.0, 15.0)),
        heading=float(rng.uniform(-np.pi, np.pi)),
        curvature=curvature,
    )


def plan_scenes(settings: SynthSettings) -> list[ScenePlan]:
    """All scenes of a data set; each split has its share of every condition."""
    conditions: list[Weather] = []
    for number, scenes in enumerate((settings.train_scenes, settings.val_scenes)):
        rng = generator(settings.seed, number, "conditions")
        conditions += assign_conditions(
            scenes, settings.night_fraction, settings.rain_fraction, rng
        )
    return [
        ScenePlan(
            index=index,
            name=f"scene-{index + 1:04d}",
            split=TRAIN_SPLIT if index < settings.train_scenes else VAL_SPLIT,
            log=index // SCENES_PER_LOG,
            condition=condition,
            road=_road(settings, index),
            start_us=_EPOCH_US + index * _SCENE_US,
        )
        for index, condition in enumerate(conditions)
    ]
