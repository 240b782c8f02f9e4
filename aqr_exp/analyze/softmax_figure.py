"""The figure of `aqr-exp analyze softmax`: probabilities, slope and window mass as curves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aqr_exp.analyze.softmax import SATURATION_BIASES, bias_for_mass, responses, slope, window_mass
from aqr_exp.analyze.verdict_regions import shade_verdicts
from aqr_exp.results.plots.canvas import (
    INK,
    colour,
    dashes,
    legend,
    new_figure,
    plain_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_POINTS = 201
LARGEST_BIAS_SHOWN = 10.0


def softmax_figure(
    weights: Sequence[float], scales: Sequence[float], windows: Sequence[int], keys: int
) -> "Figure":
    """Draw what the tables say, between their lines too.

    Args:
        weights: One weight a key.
        scales: Bias scales, marked on the curves.
        windows: Keys of a window, one curve each.
        keys: Keys in all.

    Returns:
        The figure: probability by scale; slope by bias; window mass by bias.
    """
    figure = new_figure(15.0, 4.6)
    figure.suptitle("How attention answers to a score bias", fontsize=13, color=INK)
    probability, saturation, mass = figure.subplots(1, 3)
    _draw_probabilities(probability, weights, scales)
    _draw_slope(saturation)
    _draw_mass(mass, windows, keys)
    return figure


def _draw_probabilities(axes: "Axes", weights: Sequence[float], scales: Sequence[float]) -> None:
    plain_axes(
        axes,
        title="Probability of each key",
        x="bias scale s (bias = s x weight)",
        y="probability",
    )
    end = max(scales) * 1.04 or 1.0
    strongest = max(map(abs, weights))
    curve = np.linspace(0.0, end, CURVE_POINTS)
    found = np.stack([item.probabilities for item in responses(weights, curve.tolist())])
    marked = np.stack([item.probabilities for item in responses(weights, scales)])
    if strongest > 0:
        shade_verdicts(axes, end, unit=1.0 / strongest)
    for index, weight in enumerate(weights):
        (line,) = axes.plot(curve, found[:, index], color=colour(index), linestyle=dashes(index))
        line.set_label(f"weight {weight:g}")
        axes.plot(scales, marked[:, index], "o", color=colour(index), markersize=5)
    axes.set_xlim(0.0, end)
    axes.set_ylim(0.0, 1.09)
    legend(axes, "center right")


def _draw_slope(axes: "Axes") -> None:
    plain_axes(
        axes,
        title="How a probability follows its bias",
        x="bias of a key at even odds",
        y="slope p (1 - p)",
    )
    curve = np.linspace(0.0, LARGEST_BIAS_SHOWN, CURVE_POINTS)
    shade_verdicts(axes, LARGEST_BIAS_SHOWN)
    axes.plot(curve, [slope(float(bias)) for bias in curve], color=colour(0))
    for bias in SATURATION_BIASES:
        axes.plot(bias, slope(bias), "o", color=colour(0), markersize=5, clip_on=False)
        axes.annotate(
            f"{slope(bias):.3g}", (bias, slope(bias)), xytext=(6, 4), textcoords="offset points"
        )
    axes.set_xlim(0.0, LARGEST_BIAS_SHOWN)
    axes.set_ylim(0.0, 0.2875)


def _draw_mass(axes: "Axes", windows: Sequence[int], keys: int) -> None:
    plain_axes(
        axes,
        title=f"Attention on a window ({keys:,} keys)",
        x="bias of the window's keys (other scores even)",
        y="share of the attention",
    )
    curve = np.linspace(0.0, LARGEST_BIAS_SHOWN, CURVE_POINTS)
    shade_verdicts(axes, LARGEST_BIAS_SHOWN)
    for index, window in enumerate(windows):
        half = bias_for_mass(0.5, window, keys)
        shares = [window_mass(float(bias), window, keys) for bias in curve]
        label = f"window of {window}: half at {half:.2f}"
        axes.plot(curve, shares, color=colour(index), linestyle=dashes(index), label=label)
        if 0 <= half <= LARGEST_BIAS_SHOWN:
            axes.plot(half, 0.5, "o", color=colour(index), markersize=5)
    axes.set_xlim(0.0, LARGEST_BIAS_SHOWN)
    axes.set_ylim(0.0, 1.09)
    legend(axes, "center left")
