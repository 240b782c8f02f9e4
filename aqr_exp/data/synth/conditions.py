"""Weather and light: what makes one sensor less reliable than the other."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How one kind of scene changes what the sensors see.

    Attributes:
        name: `clear`, `night` or `rain`.
        words: What the scene's description says of it.
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
    blur_px: float
    drops: int
    contrast: float
    lidar_range_m: float
    lidar_dropout: float


CLEAR = Condition(
    name="clear",
    words="Clear day",
    ambient=1.0,
    image_noise=2.5,
    blur_px=0.0,
    drops=0,
    contrast=1.0,
    lidar_range_m=70.0,
    lidar_dropout=0.02,
)
NIGHT = Condition(
    name="night",
    words="Night",
    ambient=0.12,
    image_noise=8.0,
    blur_px=0.5,
    drops=0,
    contrast=1.0,
    lidar_range_m=70.0,
    lidar_dropout=0.02,
)
RAIN = Condition(
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
) -> list[Condition]:
    """A condition for every scene of a split, in random order.

    Args:
        scenes: How many scenes.
        night_fraction: Share at night.
        rain_fraction: Share in rain.
        rng: Where the order comes from.
    """
    night, rain = round(scenes * night_fraction), round(scenes * rain_fraction)
    night = min(night, scenes)
    rain = min(rain, scenes - night)
    conditions = [NIGHT] * night + [RAIN] * rain + [CLEAR] * (scenes - night - rain)
    return [conditions[index] for index in rng.permutation(scenes)]
