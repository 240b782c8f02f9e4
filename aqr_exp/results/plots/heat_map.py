"""Two swept parameters as a heat map: each cell with its value and how many seeds it rests on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from aqr_exp.results.plots.canvas import INK, words
from aqr_exp.results.plots.means import Means
from aqr_exp.results.plots.paper import SMALL_PT, TEXT_PT, metric_label
from aqr_exp.results.plots.swept import Swept, SweptSeries, Value, order, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Its lightness rises steadily: the order of values survives in grey and for every kind of colour vision.
COLOUR_MAP = "cividis"
# Up to this share of the colours white letters are the ones that can be read.
WHITE_BELOW = 0.6
NO_RUN = "-"
SAME = 1e-3


def draw_heat_map(
    figure: "Figure",
    found: Swept,
    parameters: Sequence[str],
    metric: str,
    means: Means,
    *,
    best: tuple[int, int] | None,
) -> None:
    """Draw one map a series, on one scale of colours.

    Args:
        figure: An empty figure.
        found: Arms by two parameters.
        parameters: The parameter along y, then the one along x.
        metric: A metric's name.
        means: Gives the arms' means.
        best: Series and place of the best point, which is framed.
    """
    values = [
        mean
        for series in found.series
        for point in series.points
        if (mean := means.of(point.group, metric).mean) is not None
    ]
    low, high = min(values, default=0.0), max(values, default=1.0)
    # Equal values get the middle of the colours, where letters can be read.
    limits = (low, high) if high > low else (low - SAME, high + SAME)
    all_axes = figure.subplots(len(found.series), 1, squeeze=False)[:, 0]
    for at, (axes, series) in enumerate(zip(all_axes, found.series, strict=True)):
        place = best[1] if best is not None and best[0] == at else None
        image = _draw_map(axes, series, metric, means, limits, best=place)
        axes.set_ylabel(words(parameters[0]), fontsize=TEXT_PT, color=INK)
        axes.set_xlabel(words(parameters[1]), fontsize=TEXT_PT, color=INK)
        title = words(series.label) if len(found.series) > 1 else ""
        axes.set_title(title, loc="left", fontsize=TEXT_PT, color=INK)
    bar = figure.colorbar(image, ax=list(all_axes), shrink=0.9, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL_PT)
    bar.set_label(metric_label(metric), fontsize=TEXT_PT, color=INK)
    lines = [_reference_words(group, metric, means) for group in found.references]
    lines += ["frame: best, selected on val"] if best is not None else []
    figure.supxlabel("\n".join(lines), fontsize=SMALL_PT, color=INK)


def _reference_words(group: Any, metric: str, means: Means) -> str:
    interval = means.of(group, metric)
    if interval.mean is None:
        return words(f"{group[0].variant}: no {metric}")
    ends = "" if interval.low is None else f" [{interval.low:.4f}, {interval.high:.4f}]"
    return words(f"{group[0].variant}: {interval.mean:.4f}{ends}, n = {interval.n}")


def _draw_map(
    axes: "Axes",
    series: SweptSeries,
    metric: str,
    means: Means,
    limits: tuple[float, float],
    *,
    best: int | None,
) -> Any:
    down = _rising([point.values[0] for point in series.points])
    across = _rising([point.values[1] for point in series.points])
    grid = np.full((len(down), len(across)), np.nan)
    texts = {}
    for number, point in enumerate(series.points):
        cell = (down.index(point.values[0]), across.index(point.values[1]))
        interval = means.of(point.group, metric)
        if interval.mean is not None:
            grid[cell] = interval.mean
            texts[cell] = f"{interval.mean:.3f}\nn = {interval.n}"
        if number == best:
            _frame(axes, cell)
    low, high = limits
    image = axes.imshow(
        grid,
        cmap=COLOUR_MAP,
        vmin=low,
        vmax=high,
        aspect="auto",
    )
    for row in range(len(down)):
        for column in range(len(across)):
            dark = grid[row, column] < low + WHITE_BELOW * (high - low)
            axes.text(
                column,
                row,
                texts.get((row, column), NO_RUN),
                ha="center",
                va="center",
                fontsize=SMALL_PT - 1,
                color="white" if dark else INK,
            )
    axes.set_xticks(range(len(across)), [words(text(value)) for value in across])
    axes.set_yticks(range(len(down)), [words(text(value)) for value in down])
    axes.tick_params(labelsize=SMALL_PT, length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def _rising(values: Sequence[Value]) -> list[Value]:
    return sorted(dict.fromkeys(values), key=lambda value: order([value]))


def _frame(axes: "Axes", cell: tuple[int, int]) -> None:
    from matplotlib.patches import Rectangle

    corner = (cell[1] - 0.5, cell[0] - 0.5)
    axes.add_patch(
        Rectangle(
            corner,
            1.0,
            1.0,
            fill=False,
            edgecolor="#D55E00",
            linewidth=1.8,
            clip_on=False,
            zorder=3,
        )
    )
