"""Figure of softmax's response to a bias, with its regions tinted behind the curves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aqr_exp.analyze.softmax import (
    SATURATION_BIASES,
    VERDICT_LIMITS,
    SoftmaxRegion,
    bias_for_mass,
    responses,
    slope,
    window_mass,
)
from aqr_exp.report.figures.style import INK, colour, dashes, legend, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How much of an axes' width a letter of a region's name takes, at most.
LETTER_SHARE = 0.0145
# From no tint at all to a warning.
VERDICT_TINTS = {
    SoftmaxRegion.RESPONSIVE: "#E4F3E6",
    SoftmaxRegion.SAFE: "#F4F5DA",
    SoftmaxRegion.EDGE: "#FBE9D2",
    SoftmaxRegion.SATURATED: "#F7DCDA",
}


def shade_verdicts(axes: "Axes", end: float, unit: float = 1.0) -> None:
    """Tint the regions of softmax along x from 0 to `end`, and name them on top.

    `unit` is the x at which |bias| is 1.
    """
    edges = [0.0, *(min(limit * unit, end) for _, limit in VERDICT_LIMITS), end]
    for verdict, low, high in zip(SoftmaxRegion, edges, edges[1:], strict=False):
        if high <= low:
            continue
        axes.axvspan(low, high, color=VERDICT_TINTS[verdict], zorder=0, linewidth=0)
        # A name that is wider than its region stays away.
        if high - low > LETTER_SHARE * len(verdict.value) * end:
            axes.annotate(
                verdict.value, ((low + high) / 2, 1.0), xycoords=("data", "axes fraction"),
                xytext=(0, -2), textcoords="offset points", ha="center", va="top", fontsize=8,
                color="#777777",
            )  # fmt: skip


CURVE_POINTS = 201
LARGEST_BIAS_SHOWN = 10.0


def softmax_figure(
    weights: Sequence[float], scales: Sequence[float], windows: Sequence[int], keys: int
) -> "Figure":
    """Draw the curves of the tables: probability by scale; slope by bias; window mass by bias."""
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
