"""MultiCorrupt (Beemelmanns et al., IV 2024), by what its published code does.

Levels are 0 to 2. Images are [H, W, 3] uint8, blue first; the benchmark keeps them as JPEG, so they are
coded and decoded here. Points are one file's [N, 5]: x, y, z (m), intensity, ring.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np
from scipy.constants import speed_of_light
from scipy.integrate import simpson
from scipy.ndimage import zoom

from aqr_exp.data.corruptions.snowfall import snow_over

Generator = np.random.Generator
ChangeImage = Callable[[np.ndarray, int, Generator], np.ndarray]
ChangeFile = Callable[[np.ndarray, int, Generator, bool], np.ndarray]  # True for a keyframe's

RATE = (0.2, 0.4, 0.6)
BLUR = (0.06, 0.10, 0.13)  # sd of the LiDAR's shift (m) and of the images' smear (100 pixels)


def as_stored(values: np.ndarray) -> np.ndarray:
    """An image of values 0 to 255, cut to integers, written as JPEG and read again."""
    _, content = cv2.imencode(".jpg", values.astype(np.uint8))
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR))


def brighten(image: np.ndarray, level: int, _rng: Generator) -> np.ndarray:
    """Raise the value (of hue, saturation, value); a black pixel becomes grey."""
    pixels = image / 255.0
    value = pixels.max(axis=2, keepdims=True)
    raised = np.clip(value + (0.5, 0.6, 0.7)[level], 0, 1)
    return np.asarray(raised * (1 - (value - pixels) / np.where(value > 0, value, 1)) * 255)


def smear(image: np.ndarray, width: int, sigma: float, degrees: float) -> np.ndarray:
    """Half a Gaussian of `width` pixels along a direction; borders are repeated."""
    steps = np.arange(width)
    weights = np.exp(-(steps**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    weights = weights / weights.sum()
    down = np.ceil(steps * np.sin(np.deg2rad(degrees)) - 0.5).astype(int) + width
    right = np.ceil(steps * np.cos(np.deg2rad(degrees)) - 0.5).astype(int) + width
    wide = cv2.copyMakeBorder(image, width, width, width, width, cv2.BORDER_REPLICATE)
    height, breadth = image.shape[:2]
    smeared = np.zeros(image.shape)
    for first in range(0, height, 16):  # so many rows stay in a processor's cache
        part = smeared[first : first + 16]
        for weight, top, left in zip(weights, down + first, right, strict=True):
            part += weight * wide[top : top + len(part), left : left + breadth]
    return smeared


def darken(image: np.ndarray, level: int, rng: Generator) -> np.ndarray:
    """Stretch the values, square them, scale them down; then photon and read-out noise."""
    low, high = int(image.min()), int(image.max())
    share, photons, sd = ((0.6, 250, 0.008), (0.4, 120, 0.018), (0.3, 50, 0.026))[level]
    values = ((np.arange(256) - low) / max(high - low, 1)) ** 2 * share
    caught = rng.poisson(photons * values[image]) / photons
    noise = sd * rng.standard_normal(image.shape)
    return np.asarray(np.clip(np.clip(caught, 0, 1) + noise, 0, 1) * 255)


def plasma(size: int, rng: Generator) -> np.ndarray:
    """A fractal of diamonds and squares, [size, size] in 0 to 1; `size` is a power of 2."""
    heights, step, reach = np.zeros((size, size), dtype=np.float32), size, 100.0
    while step >= 2:
        half, shape = step // 2, (3, size // step, size // step)
        drawn = reach**2 * (rng.random(shape, dtype=np.float32) * 2 - 1)
        corners, centres = heights[::step, ::step], heights[half::step, half::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres[:] = (pairs + np.roll(pairs, -1, axis=1)) / 4 + drawn[0]
        upright = centres + np.roll(centres, 1, axis=0) + corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = upright / 4 + drawn[1]
        heights[half::step, ::step] = (centres + np.roll(centres, 1, axis=1) + pairs) / 4 + drawn[2]
        step, reach = half, reach / 1.7
    heights -= heights.min()
    return np.asarray(heights / heights.max())


def fog(image: np.ndarray, level: int, rng: Generator) -> np.ndarray:
    """Clouds of plasma, and grey that grows with the distance from the road in the picture."""
    height, width = image.shape[:2]
    size = 1 << (max(height, width) - 1).bit_length()
    haze, thinner, thicker = (plasma(size, rng)[:height, :width] for _ in range(3))
    haze = (2 + level) * haze * (1 - 0.8 * thinner) * (1 + 0.5 * thicker)
    brightest = float(image.max()) / 255
    lit = (image.astype(np.float32) / 255 + haze[..., None]) * (brightest / (brightest + 2 + level))
    rows, columns = np.ogrid[:height, :width]
    above = np.maximum(0, np.maximum(rows - int(0.99 * height), int(0.65 * height) - rows))
    aside = np.maximum(0, np.maximum(columns - int(0.85 * width), int(0.1 * width) - columns))
    far = 2 * np.hypot(above, aside) * (1 + rng.random((height, width)) / 4)
    far += np.sqrt(max(height, width))
    clear = np.exp(-(0.0005, 0.001, 0.002)[level] * far)[..., None].astype(np.float32)
    return np.asarray((np.clip(lit, 0, 1) * clear + 0.5 * (1 - clear)) * 255)


def snow(image: np.ndarray, level: int, rng: Generator) -> np.ndarray:
    """Flakes of enlarged noise, smeared downwards, twice; paler and darker colours behind."""
    factor, clear, radius = 5 - level, 0.9 - 0.05 * level, (7, 8, 10)[level]
    height, width = image.shape[:2]
    coarse = rng.normal(0.3 + 0.1 * level, 0.3, (-(-height // factor), -(-width // factor)))
    flakes = zoom(coarse, factor, order=1)
    flakes = np.minimum(np.where(flakes < clear, 0, flakes), 1)
    flakes = smear(flakes, 2 * radius + 1, radius, rng.uniform(-135, -45))
    flakes = np.round(flakes * 255)[:height, :width, None] / 255
    pixels = image.astype(np.float32) / 255
    pale = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[..., None] * 1.5 + 0.5
    behind = 0.9 * (clear * pixels + (1 - clear) * np.maximum(pixels, pale))
    return np.asarray(np.clip(behind + flakes + flakes[::-1, ::-1], 0, 1) * 255)


IMAGES: dict[str, ChangeImage] = {
    "mc_brightness": brighten,
    "mc_dark": darken,
    "mc_fog": fog,
    "mc_missingcamera": lambda image, level, rng: image * (rng.random() >= RATE[level]),
    "mc_motionblur": lambda one, level, rng: smear(
        one, 31, 100 * BLUR[level], rng.uniform(-45, 45)
    ),
    "mc_snow": snow,
    "mc_temporalmisalignment": lambda image, _level, _rng: image,
}


def thin_out(points: np.ndarray, level: int, rng: Generator, _keyframe: bool) -> np.ndarray:
    """A share of the points, in a drawn order."""
    kept = round(len(points) * (0.3, 0.2, 0.1)[level])
    return np.asarray(points[rng.permutation(len(points))[:kept]])


def shake(points: np.ndarray, level: int, rng: Generator, _keyframe: bool) -> np.ndarray:
    """Shift the file's points together, and each by a little more."""
    sd = BLUR[level]
    each = rng.standard_normal((len(points), 3)) * sd * (0.15, 0.2, 0.12)
    moved = points.copy()
    moved[:, :3] += rng.normal(0, sd, 3) + np.clip(each, -3 * sd, 3 * sd)
    return moved


def displace(points: np.ndarray, level: int, rng: Generator, _keyframe: bool) -> np.ndarray:
    """At the level's rate, turn the points about z, then y, then x, and move them 2 m along x."""
    if rng.random() >= RATE[level]:
        return points
    moved = points.copy()
    moved[:, :3] = points[:, :3] @ rotation(np.full(3, np.radians(level + 1))) + (2.0, 0.0, 0.0)
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


PULSE_S = 2e-8
FOG = ((0.02, 0.008), (0.03, 0.008), (0.06, 0.05))  # attenuation (1/m), backscattering (1/sr)


@functools.cache
def fog_echo(attenuation: float) -> tuple[np.ndarray, np.ndarray]:
    """Echo of fog alone (Hahner et al., ICCV 2021): ranges [R] in metres, and its strength at each."""
    ranges = np.linspace(0, 200, 2000)[:200]  # it is weaker from 5 m on
    times = np.linspace(0, 2 * PULSE_S, 2000)
    seen = ranges[:, None] - speed_of_light * times / 2
    captured = np.clip((seen - 0.9) / 0.1, 0, 1) / np.maximum(seen, 0.9) ** 2
    pulse = np.sin(np.pi * times / (2 * PULSE_S)) ** 2 * np.exp(-2 * attenuation * seen)
    return ranges, simpson(pulse * captured, x=times, axis=1)


def fog_over(points: np.ndarray, level: int, rng: Generator, _keyframe: bool) -> np.ndarray:
    """Weaken the echoes; where that of the fog is stronger, the point moves to the fog."""
    attenuation, backscattering = FOG[level]
    ranges = np.linalg.norm(points[:, :3], axis=1)
    foggy = points.copy()
    foggy[:, 3] = np.round(np.exp(-2 * attenuation * ranges) * points[:, 3])
    places, strength = fog_echo(attenuation)  # it rises to one peak
    within = np.searchsorted(places, np.round(ranges, 1).astype(np.float64), side="right") - 1
    at = np.clip(within, 0, strength.argmax())
    echo = strength[at] * points[:, 3] * ranges**2 * backscattering * np.pi / 1e-6
    hidden = echo > foggy[:, 3]
    drawn = ranges[hidden] + rng.uniform(-10.0, 10.0, hidden.sum())
    foggy[hidden, :3] *= (places[at[hidden]] / drawn)[:, None]
    foggy[hidden, 3] = echo[hidden]
    return foggy


FILES: dict[str, ChangeFile] = {
    "mc_fog": fog_over,
    "mc_motionblur": shake,
    "mc_pointsreducing": thin_out,
    "mc_snow": snow_over,
    "mc_spatialmisalignment": displace,
}
