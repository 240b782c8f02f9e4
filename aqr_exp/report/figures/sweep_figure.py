"""A metric over one or two swept parameters: curves with intervals, or a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from aqr_exp.report.figures.style import (
    BAND_ALPHA,
    COLOURS,
    COLUMN_IN,
    INK,
    REFERENCE_INK,
    SMALL_PT,
    TEXT_PT,
    Means,
    colour,
    line_style,
    marker,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
    seeds_words,
    words,
)
from aqr_exp.report.figures.swept import (
    Swept,
    SweptSeries,
    Value,
    numbered,
    order,
    swept,
    text,
)
from aqr_exp.report.tables.request import read_quantity
from aqr_exp.statistics.grouping import Group, check_metric_names, further_arms
from aqr_exp.statistics.metrics import in_points, lower_is_better
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.trend import LEAST_VALUES, Curve, over_values
from aqr_exp.store.collect import RunRow, with_settings
from aqr_exp.store.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Its lightness rises steadily: the order of values survives in grey and for every kind of colour vision.
COLOUR_MAP = "cividis"
# Up to this share of the colours white letters are the ones that can be read.
WHITE_BELOW = 0.6
NO_RUN = "-"
SAME = 1e-3


def _draw_heat_map(
    figure: "Figure", found: Swept, parameters: Sequence[str], metric: str, means: Means
) -> None:
    """Draw one map a series, on one scale of colours."""
    best = best_point(found, metric, means)
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
    lines += ["frame: best, selected on val"] * (best is not None)
    figure.supxlabel("\n".join(lines), fontsize=SMALL_PT, color=INK)


def _reference_words(group: Any, metric: str, means: Means) -> str:
    interval = means.of(group, metric)
    if interval.mean is None:
        return words(f"{group[0].variant}: no {metric}")
    decimals = 2 if in_points(metric) else 4
    mean, *ends = (
        "" if value is None else f"{value:.{decimals}f}"
        for value in (interval.mean, interval.low, interval.high)
    )
    between = "" if interval.low is None else f" [{', '.join(ends)}]"
    return words(f"{group[0].variant}: {mean}{between}, n = {interval.n}")


def _draw_map(
    axes: "Axes",
    series: SweptSeries,
    metric: str,
    means: Means,
    limits: tuple[float, float],
    *,
    best: int | None,
) -> Any:
    from matplotlib.patches import Rectangle

    down = _rising([point.values[0] for point in series.points])
    across = _rising([point.values[1] for point in series.points])
    grid = np.full((len(down), len(across)), np.nan)
    texts = {}
    for number, point in enumerate(series.points):
        cell = (down.index(point.values[0]), across.index(point.values[1]))
        interval = means.of(point.group, metric)
        if interval.mean is not None:
            grid[cell] = interval.mean
            decimals = 1 if in_points(metric) else 3
            texts[cell] = f"{interval.mean:.{decimals}f}\nn = {interval.n}"
        if number == best:
            corner = (cell[1] - 0.5, cell[0] - 0.5)
            style: dict[str, Any] = {"edgecolor": COLOURS[1], "linewidth": 1.8, "zorder": 3}
            axes.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, clip_on=False, **style))
    low, high = limits
    image = axes.imshow(grid, cmap=COLOUR_MAP, vmin=low, vmax=high, aspect="auto")
    for (row, column), mean in np.ndenumerate(grid):
        shown = texts.get((row, column), NO_RUN)
        ink = "white" if mean < low + WHITE_BELOW * (high - low) else INK
        axes.text(column, row, shown, ha="center", va="center", fontsize=SMALL_PT - 1, color=ink)
    axes.set_xticks(range(len(across)), [words(text(value)) for value in across])
    axes.set_yticks(range(len(down)), [words(text(value)) for value in down])
    axes.tick_params(labelsize=SMALL_PT, length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)
    return image


def _rising(values: Sequence[Value]) -> list[Value]:
    return sorted(dict.fromkeys(values), key=lambda value: order([value]))


# Values that span more than this are spread out by their logarithms.
LOGARITHMIC_FROM = 200.0
# More bands than this hide one another.
MOST_BANDS = 3
# Bars stand beside one another, by this share of the width.
SIDE_STEP = 0.012


def sweep_figure(
    rows: Sequence[RunRow],
    parameters: Sequence[str],
    metric: str,
    *,
    store: Store,
    width_in: float = COLUMN_IN,
) -> "Figure":
    """Draw a metric against one or two swept parameters.

    Over one number, where noise is known, a curve by a Gaussian process goes through the means, with its
    band and the interval of the best value: those of `aqr-exp table --sweep`.

    Arms that have no such parameter (the baseline of a bias scale) are lines with their interval as
    a band. The best point is marked as selected on the data it is shown on.

    Args:
        rows: Runs, also those without metrics; they may lie in several sweeps.

    Raises:
        RequestError: No run has the metric or a parameter, or there are three parameters.
        AqrExpError: A run's configuration is damaged; names the file.
    """
    found = swept(with_settings(store, rows), parameters, store=store)
    read_quantity(metric)
    check_metric_names([metric], rows)
    means = Means(store)
    shown = [row for series in found.series for point in series.points for row in point.group]
    shown += [row for group in found.references for row in group]
    if len(parameters) == 2:
        height_in = 0.25 * width_in + 0.65 * width_in * len(found.series)
        figure = paper_figure(shown, width_in, height_in)
        _draw_heat_map(figure, found, parameters, metric, means)
        return figure
    figure = paper_figure(shown, width_in, 0.75 * width_in)
    axes = figure.subplots()
    paper_axes(axes, x=words(parameters[0]), y=f"{metric_label(metric)}\nmean, 95 % interval")
    _draw_curves(axes, found, metric, means)
    paper_legend(figure)
    return figure


def best_point(found: Swept, metric: str, means: Means) -> tuple[int, int] | None:
    """Series and place of the best mean; None where there is one point only, or none."""
    found_means = {
        (at, place): value
        for at, series in enumerate(found.series)
        for place, point in enumerate(series.points)
        if (value := means.of(point.group, metric).mean) is not None
    }
    if len(found_means) < 2:
        return None
    sign = -1.0 if lower_is_better(metric) else 1.0
    return max(found_means, key=lambda key: sign * found_means[key])


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The places of a sweep's points along x.

    Attributes:
        values: The swept values, rising.
        places: For each series, the place of each value.
        by_size: Whether places are the values themselves: numbers, whose points are joined.
        banded: Whether intervals are bands; with many series, and beside fitted curves, they are bars.
        logarithmic: Whether values are spread out by their logarithms.
    """

    values: list[Value]
    places: list[dict[Value, float]]
    by_size: bool
    banded: bool
    logarithmic: bool


def _layout(found: Swept, *, fitted: bool) -> _Layout:
    values = _rising([point.values[0] for series in found.series for point in series.points])
    by_size = all(not isinstance(value, (str, bool)) for value in values)
    base = {value: float(value) if by_size else float(at) for at, value in enumerate(values)}
    count = len(found.series)
    banded = by_size and count <= MOST_BANDS and not fitted
    first, last = base[values[0]], base[values[-1]]
    logarithmic = by_size and first > 0 and last / first > LOGARITHMIC_FROM
    steps = [0.0 if banded else SIDE_STEP * (at - (count - 1) / 2) for at in range(count)]
    places = [
        {
            value: place * (last / first) ** step
            if logarithmic
            else place + step * ((last - first) or 1.0)
            for value, place in base.items()
        }
        for step in steps
    ]
    return _Layout(
        values=values, places=places, by_size=by_size, banded=banded, logarithmic=logarithmic
    )


def _curves(found: Swept, metric: str, means: Means) -> list[Curve | None]:
    """The curve of each series over a number; None where noise or values are too few."""
    groups = [point.group for series in found.series for point in series.points]
    groups += found.references
    curves: list[Curve | None] = []
    for series in found.series:
        points = [point for point in series.points if means.of(point.group, metric).n]
        numbers = [float(point.values[0]) for point in numbered(points)]
        usual = len(numbers) == len(points)  # beside words there is no axis for a curve
        curves.append(None)
        if not usual or len({*numbers}) < LEAST_VALUES or len(found.series) > MOST_BANDS:
            continue
        beside = further_arms(groups, [point.group for point in points])
        further = [means.of(group, metric) for group in beside]
        arms = [means.of(point.group, metric) for point in points]
        curves[-1] = over_values(numbers, arms, further, metric, Resampling())[1]
    return curves


def _draw_fit(axes: "Axes", curve: Curve, index: int, label: str) -> None:
    """A curve with its band, and the interval of its best value just above the axis."""
    style: dict[str, Any] = {"color": colour(index), "linewidth": 1.2, "zorder": 1.5}
    band: dict[str, Any] = {"color": colour(index), "alpha": BAND_ALPHA, "linewidth": 0}
    axes.fill_between(curve.at, curve.low, curve.high, **band)
    name = "Gaussian process, 95 % band"
    axes.plot(curve.at, curve.mean, linestyle=line_style(index), label=name, **style)
    above = axes.get_xaxis_transform()
    style |= {"transform": above, "solid_capstyle": "butt", "linewidth": 2.5}
    at = 0.025 + 0.035 * index
    near = words(f"best{f' of {label}' if label else ''} near {curve.near}")
    axes.plot([curve.best_low, curve.best_high], [at, at], label=near, **style)
    axes.plot([curve.best], [at], marker="|", markersize=7, color=colour(index), transform=above)


def _draw_curves(axes: "Axes", found: Swept, metric: str, means: Means) -> None:
    curves = _curves(found, metric, means)
    layout = _layout(found, fitted=any(curves))
    for index, (series, curve) in enumerate(zip(found.series, curves, strict=True)):
        joined = layout.by_size and curve is None
        _draw_series(axes, series, index, layout, metric, means, joined=joined)
        if curve is not None:
            _draw_fit(axes, curve, index, series.label if len(found.series) > 1 else "")
    for index, group in enumerate(found.references):
        _draw_reference(axes, group, index, metric, means)
    best = best_point(found, metric, means)
    if best is not None:
        point = found.series[best[0]].points[best[1]]
        axes.plot(
            layout.places[best[0]][point.values[0]],
            cast("float", means.of(point.group, metric).mean),
            linestyle="none",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=INK,
            label="best, selected on val",
        )
    values = layout.values
    if not layout.by_size:
        axes.set_xticks(range(len(values)), [words(text(value)) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
    elif layout.logarithmic:
        axes.set_xscale("log")


def _draw_series(
    axes: "Axes",
    series: SweptSeries,
    index: int,
    layout: _Layout,
    metric: str,
    means: Means,
    *,
    joined: bool,
) -> None:
    """One series: its means, joined where they are of numbers and no curve is fitted, and its intervals."""
    drawn = [
        (layout.places[index][point.values[0]], interval, interval.mean)
        for point in series.points
        if (interval := means.of(point.group, metric)).mean is not None
    ]
    if not drawn:
        return
    axes.plot(
        [place for place, _, _ in drawn],
        [mean for _, _, mean in drawn],
        color=colour(index),
        linestyle=line_style(index) if joined else "none",
        marker=marker(index),
        markersize=3.5,
        linewidth=1.2,
        label=words(f"{series.label} ({seeds_words([interval.n for _, interval, _ in drawn])})"),
    )
    bounded = [(place, one.low, one.high) for place, one, _ in drawn if one.low is not None]
    if not bounded:
        return
    where, low, high = (list(part) for part in zip(*bounded, strict=True))
    if layout.banded and len(bounded) > 1:
        axes.fill_between(where, low, high, color=colour(index), alpha=BAND_ALPHA, linewidth=0)
    else:
        axes.vlines(where, low, high, color=colour(index), linewidth=0.9, alpha=0.7)


def _draw_reference(axes: "Axes", group: Group, index: int, metric: str, means: Means) -> None:
    """An arm without the parameter: a line across, its interval as a band."""
    interval = means.of(group, metric)
    if interval.mean is None:
        return
    label = words(f"{group[0].variant} ({seeds_words([interval.n])})")
    style = ("--", ":", "-.")[index % 3]
    axes.axhline(interval.mean, color=REFERENCE_INK, linestyle=style, linewidth=1.0, label=label)
    if interval.low is not None and interval.high is not None:
        axes.axhspan(
            interval.low, interval.high, color=REFERENCE_INK, alpha=0.6 * BAND_ALPHA, linewidth=0
        )
