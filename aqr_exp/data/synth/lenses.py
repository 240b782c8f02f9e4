"""What weather does to a finished picture: mist, blur, drops, noise."""

import cv2
import numpy as np

from aqr_exp.data.synth.conditions import Condition

_REFERENCE_WIDTH_PX = 480.0


def noise_tile(
    height: int, width: int, condition: Condition, rng: np.random.Generator
) -> np.ndarray:
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
    image: np.ndarray, noise: np.ndarray, condition: Condition, rng: np.random.Generator
) -> np.ndarray:
    """The picture as the camera delivers it.

    Args:
        image: [H, W, 3] uint8, without weather.
        noise: From `noise_tile`.
        condition: What to add.
        rng: Where drops fall and which part of the noise is used.

    Returns:
        [H, W, 3] uint8.
    """
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
