"""What somebody asks `aqr-exp analyze softmax`, checked before anything is computed."""

import math
from dataclasses import dataclass

from aqr_exp.errors import RequestError

MOST_WEIGHTS = 16
MOST_SCALES = 100
MOST_WINDOWS = 8
MOST_KEYS = 10**9
LARGEST = 1e6


@dataclass(frozen=True, kw_only=True)
class SoftmaxRequest:
    """A request that can be answered.

    Attributes:
        weights: One weight a key; at least two.
        scales: Bias scales, 0 or more.
        windows: Keys of a window, each from 1 to `keys` - 1.
        keys: Keys a query attends to in all.
    """

    weights: tuple[float, ...]
    scales: tuple[float, ...]
    windows: tuple[int, ...]
    keys: int


def softmax_request(weights: str, scales: str, windows: str, keys: int) -> SoftmaxRequest:
    """Read and check what was typed.

    Args:
        weights: Numbers with commas between.
        scales: Numbers with commas between.
        windows: Whole numbers with commas between.
        keys: Keys in all.

    Returns:
        The request.

    Raises:
        RequestError: One line for each fault.
    """
    faults: list[str] = []
    weight_list = _numbers("--weights", weights, faults, least=2, most=MOST_WEIGHTS)
    scale_list = _numbers("--scales", scales, faults, least=1, most=MOST_SCALES)
    window_list = _numbers("--window-keys", windows, faults, least=1, most=MOST_WINDOWS)
    faults += [f"--scales: {scale:g} must be 0 or more" for scale in scale_list if scale < 0]
    for option, numbers in (("--weights", weight_list), ("--scales", scale_list)):
        faults += [f"{option}: {x:g} is beyond {LARGEST:g}" for x in numbers if abs(x) > LARGEST]
    if not 2 <= keys <= MOST_KEYS:
        faults.append(f"--keys={keys}: must be from 2 to {MOST_KEYS}")
    else:
        faults += [
            f"--window-keys: {size:g} must be a whole number from 1 to {keys - 1}, below --keys"
            for size in window_list
            if size != math.floor(size) or not 1 <= size < keys
        ]
    if faults:
        raise RequestError("\n".join(faults))
    return SoftmaxRequest(
        weights=tuple(weight_list),
        scales=tuple(scale_list),
        windows=tuple(map(int, window_list)),
        keys=keys,
    )


def _numbers(option: str, typed: str, faults: list[str], *, least: int, most: int) -> list[float]:
    """The finite numbers that were typed; empty after a fault, so that it is told once."""
    words = [word.strip() for word in typed.split(",")]
    shown = f"{option}='{typed}'"
    if not any(words):
        faults.append(f"{shown}: needs numbers with commas between")
        return []
    numbers = [_number(word) for word in words]
    for word, number in zip(words, numbers, strict=True):
        if number is None:
            faults.append(f"{shown}: '{word}' is no finite number")
            return []
    if not least <= len(numbers) <= most:
        faults.append(f"{shown}: needs from {least} to {most} numbers, got {len(numbers)}")
        return []
    return [number for number in numbers if number is not None]


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
