"""`aqr-exp analyze softmax`: the request, the numbers and their tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aqr_exp.errors import RequestError
from aqr_exp.report.tables.cells import (
    Cell,
    Table,
    count_cell,
    make_columns,
    number_cell,
    text_cell,
)

MOST_WEIGHTS = 16
MOST_SCALES = 100
MOST_WINDOWS = 8
MOST_KEYS = 10**9
LARGEST = 1e6


@dataclass(frozen=True, kw_only=True)
class SoftmaxRequest:
    """A checked request.

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
    """Parse and check the options, which are comma-separated numbers.

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
        raise RequestError(*faults)
    return SoftmaxRequest(
        weights=tuple(weight_list),
        scales=tuple(scale_list),
        windows=tuple(map(int, window_list)),
        keys=keys,
    )


def _numbers(option: str, typed: str, faults: list[str], *, least: int, most: int) -> list[float]:
    """The finite numbers of an option; empty after a fault, which is reported once."""
    words = [word.strip() for word in typed.split(",")]
    shown = f"{option}='{typed}'"
    if not any(words):
        faults.append(f"{shown}: needs numbers with commas between")
        return []
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            faults.append(f"{shown}: '{word}' is no finite number")
            return []
    if not least <= len(numbers) <= most:
        faults.append(f"{shown}: needs from {least} to {most} numbers, got {len(numbers)}")
        return []
    return numbers


SATURATION_BIASES = (0.0, 1.0, 2.0, 3.0, 5.0)
# A product such as 0.1 * 30 must not leave its region by its last bit.
_ROUNDING = 1e-9


class SoftmaxRegion(str, Enum):
    """Effect of a bias of some size on a softmax."""

    RESPONSIVE = "responsive"
    SAFE = "safe"
    EDGE = "edge"
    SATURATED = "saturated"


# Up to which |bias| a verdict reaches; beyond the last it is saturated.
VERDICT_LIMITS = (
    (SoftmaxRegion.RESPONSIVE, 2.0),
    (SoftmaxRegion.SAFE, 3.0),
    (SoftmaxRegion.EDGE, 5.0),
)


@dataclass(frozen=True, kw_only=True)
class ScaleResponse:
    """Effect of one scale on the weights.

    Attributes:
        scale: The bias scale s.
        probabilities: [K], softmax of scale * weights; sums to one.
        entropy_nats: Their entropy, from 0 (one key takes all) to log K (even).
        maximum: The largest of them.
        largest_bias: The bias scale * weight of greatest size, with its sign.
        verdict: The region that a bias of that size reaches.
    """

    scale: float
    probabilities: Float[NDArray[Any], " keys"]
    entropy_nats: float
    maximum: float
    largest_bias: float
    verdict: SoftmaxRegion


def softmax(scores: Float[NDArray[Any], " keys"]) -> Float[NDArray[Any], " keys"]:
    """Softmax that neither overflows nor divides by zero, for any finite scores."""
    # Two far ends of the number range may lie further apart than it reaches: minus infinity is right.
    with np.errstate(over="ignore"):
        powers = np.exp(scores - scores.max())
    return np.asarray(powers / powers.sum())


def entropy_nats(probabilities: Float[NDArray[Any], " keys"]) -> float:
    """Shannon entropy in nats; a probability of zero adds nothing."""
    positive = probabilities[probabilities > 0]
    # A sum of nothing but 1 log 1 is minus zero.
    return abs(float((positive * np.log(positive)).sum()))


def verdict(bias: float) -> SoftmaxRegion:
    """Region of softmax that a bias of this size reaches: up to 2 responsive, 3 safe, 5 the edge."""
    for name, limit in VERDICT_LIMITS:
        if abs(bias) <= limit * (1 + _ROUNDING):
            return name
    return SoftmaxRegion.SATURATED


def responses(weights: Sequence[float], scales: Sequence[float]) -> list[ScaleResponse]:
    """Softmax over keys whose scores are scale * weight, for each scale."""
    return [_response(np.asarray(weights, dtype=np.float64), scale) for scale in scales]


def _response(weights: Float[NDArray[Any], " keys"], scale: float) -> ScaleResponse:
    biases = scale * weights
    probabilities = softmax(biases)
    largest = float(biases[np.abs(biases).argmax()])
    return ScaleResponse(
        scale=scale,
        probabilities=probabilities,
        entropy_nats=entropy_nats(probabilities),
        maximum=float(probabilities.max()),
        largest_bias=largest,
        verdict=verdict(largest),
    )


def sigmoid(score: float) -> float:
    """1 / (1 + e^-score), for any finite score."""
    return float(np.exp(-np.logaddexp(0.0, -score)))


def slope(bias: float) -> float:
    """Rate at which a probability follows its bias: p (1 - p) with p = sigmoid(bias); even in the bias."""
    return sigmoid(bias) * sigmoid(-bias)


def window_mass(bias: float, window_keys: int, keys: int) -> float:
    """Share of the attention of a window when all scores are even but for its bias.

    n e^b / (n e^b + N - n), for n of N keys with the bias b.
    """
    return sigmoid(bias - _even_mass_bias(window_keys, keys))


def bias_for_mass(share: float, window_keys: int, keys: int) -> float:
    """The bias at which a window gets a share of the attention: log((N - n) / n) for a half."""
    return _even_mass_bias(window_keys, keys) + float(np.log(share) - np.log1p(-share))


def _even_mass_bias(window_keys: int, keys: int) -> float:
    if not 1 <= window_keys < keys:
        raise ValueError(f"a window of {window_keys} keys must hold from 1 to {keys - 1} of {keys}")
    return float(np.log((keys - window_keys) / window_keys))


PROBABILITY_DECIMALS = 6


def response_table(weights: Sequence[float], found: Sequence[ScaleResponse]) -> Table:
    """One line per scale: probabilities by key, entropy, maximum, verdict."""
    keys = tuple(f"p{number} (w={weight:g})" for number, weight in enumerate(weights, start=1))
    columns = ("scale", *keys, "entropy (nats)", "maximum", "largest bias", "verdict")
    rows = tuple(
        (
            _plain_number(response.scale),
            *(_probability(float(value)) for value in response.probabilities),
            number_cell(response.entropy_nats),
            _probability(response.maximum),
            _plain_number(response.largest_bias),
            text_cell(response.verdict.value),
        )
        for response in found
    )
    return Table(
        title="softmax(scale x weights)",
        columns=make_columns(columns, numeric={*columns} - {"verdict"}),
        rows=rows,
        notes=(
            "|largest bias|: responsive up to 2, safe up to 3, edge up to 5, saturated beyond.",
            f"Entropy is at most log {len(weights)}, where all keys are even.",
        ),
    )


def saturation_table(biases: Sequence[float] = SATURATION_BIASES) -> Table:
    """Slope p (1 - p) of a probability at each |bias|."""
    columns = ("|bias|", "p", "p (1 - p)", "of its largest (%)", "verdict")
    rows = tuple(
        (
            _plain_number(bias),
            _probability(sigmoid(bias)),
            _probability(slope(bias)),
            _percent(slope(bias) / slope(0.0)),
            text_cell(verdict(bias).value),
        )
        for bias in biases
    )
    return Table(
        title="Saturation: how a probability follows its bias, p = 1 / (1 + e^-bias)",
        columns=make_columns(columns, numeric={*columns} - {"verdict"}),
        rows=rows,
    )


def mass_table(biases: Sequence[float], window_keys: Sequence[int], keys: int) -> Table:
    """Share of the attention of windows of n of N keys at each bias, with even scores."""
    columns = ("bias", *(f"window of {count} (%)" for count in window_keys))
    rows = tuple(
        (_plain_number(bias), *(_percent(window_mass(bias, n, keys)) for n in window_keys))
        for bias in biases
    )
    halves = ", ".join(f"{bias_for_mass(0.5, n, keys):.2f} for {n}" for n in window_keys)
    return Table(
        title=f"Mass in the window: its share of the attention over {keys:,} keys, even scores",
        columns=make_columns(columns, numeric=columns),
        rows=rows,
        notes=(f"Half of the mass needs a bias of {halves}: log((N - n) / n).",),
    )


def mass_biases(found: Sequence[ScaleResponse]) -> list[float]:
    """Biases of the mass table: the usual ones and the largest of each scale, rising."""
    return sorted({*SATURATION_BIASES, *(response.largest_bias + 0.0 for response in found)})


def _plain_number(value: float) -> Cell:
    """A number as typed, or with at most ten digits."""
    text = f"{value + 0.0:.10g}"
    if text.lstrip("-").isdigit():
        return count_cell(int(text))
    return Cell(text=text, value=float(text))


def _probability(value: float) -> Cell:
    return number_cell(value, decimals=PROBABILITY_DECIMALS)


def _percent(share: float) -> Cell:
    return number_cell(100 * share, decimals=3)
