"""The tables of `aqr-exp analyze softmax`."""

from collections.abc import Sequence

from aqr_exp.analyze.softmax import (
    SATURATION_BIASES,
    ScaleResponse,
    bias_for_mass,
    sigmoid,
    slope,
    verdict,
    window_mass,
)
from aqr_exp.results.tables.cells import Cell, Table, count_cell, number_cell, text_cell

PROBABILITY_DECIMALS = 6


def response_table(weights: Sequence[float], found: Sequence[ScaleResponse]) -> Table:
    """One line a scale: probabilities by key, entropy, maximum, verdict.

    Args:
        weights: One weight a key.
        found: Their responses.

    Returns:
        The table.
    """
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
        columns=columns,
        numeric=frozenset(columns) - {"verdict"},
        rows=rows,
        notes=(
            "|largest bias|: responsive up to 2, safe up to 3, edge up to 5, saturated beyond.",
            f"Entropy is at most log {len(weights)}, where all keys are even.",
        ),
    )


def saturation_table(biases: Sequence[float] = SATURATION_BIASES) -> Table:
    """How much a probability still follows its bias: p (1 - p) at each |bias|."""
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
        columns=columns,
        numeric=frozenset(columns) - {"verdict"},
        rows=rows,
    )


def mass_table(biases: Sequence[float], window_keys: Sequence[int], keys: int) -> Table:
    """The share of the attention a window of n of N keys gets at each bias, with even scores.

    Args:
        biases: Biases of the window's keys.
        window_keys: n, keys in the window; one column each.
        keys: N, all keys.

    Returns:
        The table.
    """
    columns = ("bias", *(f"window of {count} (%)" for count in window_keys))
    rows = tuple(
        (_plain_number(bias), *(_percent(window_mass(bias, n, keys)) for n in window_keys))
        for bias in biases
    )
    halves = ", ".join(f"{bias_for_mass(0.5, n, keys):.2f} for {n}" for n in window_keys)
    return Table(
        title=f"Mass in the window: its share of the attention over {keys:,} keys, even scores",
        columns=columns,
        numeric=frozenset(columns),
        rows=rows,
        notes=(f"Half of the mass needs a bias of {halves}: log((N - n) / n).",),
    )


def mass_biases(found: Sequence[ScaleResponse]) -> list[float]:
    """Biases worth a line of the mass table: the usual ones and the largest of each scale, rising."""
    return sorted({*SATURATION_BIASES, *(response.largest_bias + 0.0 for response in found)})


def _plain_number(value: float) -> Cell:
    """A number as it was typed, or as short as it can be said with ten digits."""
    text = f"{value + 0.0:.10g}"
    number = float(text)
    return Cell(text=text, value=number) if number % 1 else _whole(text, number)


def _whole(text: str, number: float) -> Cell:
    return count_cell(int(number)) if text.lstrip("-").isdigit() else Cell(text=text, value=number)


def _probability(value: float) -> Cell:
    return number_cell(value, decimals=PROBABILITY_DECIMALS)


def _percent(share: float) -> Cell:
    return number_cell(100 * share, decimals=3)
