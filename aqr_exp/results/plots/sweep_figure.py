"""A metric against what a sweep varied: curves with bands for one parameter, a heat map for two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aqr_exp.errors import RequestError
from aqr_exp.results.collect import RunRow
from aqr_exp.results.inference.estimates import Interval
from aqr_exp.results.inference.metric_values import lower_is_better
from aqr_exp.results.plots.canvas import INK, colour, words
from aqr_exp.results.plots.heat_map import draw_heat_map
from aqr_exp.results.plots.means import Means
from aqr_exp.results.plots.paper import (
    BAND_ALPHA,
    COLUMN_IN,
    REFERENCE_INK,
    line_style,
    marker,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
    seeds_words,
)
from aqr_exp.results.plots.swept import Swept, SweptSeries, Value, order, swept, text
from aqr_exp.results.store import Store
from aqr_exp.results.tables.arms import Group, check_metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

    Arms that have no such parameter (the baseline of a bias scale) are lines with their interval as
    a band. The best point is marked as selected on the data it is shown on.

    Args:
        rows: Runs, also those without metrics; they may lie in several sweeps.
        parameters: One or two keys as they would be typed.
        metric: A metric's name.
        store: Where the rows come from.
        width_in: Width, in inches.

    Returns:
        The figure: curves for one parameter, a heat map for two.

    Raises:
        RequestError: No run has the metric or a parameter, or there are three parameters.
        AqrExpError: A run's configuration is damaged; names the file.
    """
    if not 1 <= len(parameters) <= 2 or len(set(parameters)) < len(parameters):
        raise RequestError(
            f"a sweep is drawn over one or two parameters, not over {len(parameters)}"
            f" ({', '.join(parameters) or 'none'})"
        )
    check_metric_names([metric.partition("@")[0]], rows)
    means = Means(store)
    found = swept(rows, parameters, store=store)
    shown = [row for series in found.series for point in series.points for row in point.group]
    shown += [row for group in found.references for row in group]
    if len(parameters) == 2:
        figure = paper_figure(
            shown, width_in, 0.25 * width_in + 0.65 * width_in * len(found.series)
        )
        best = best_point(found, metric, means)
        draw_heat_map(figure, found, parameters, metric, means, best=best)
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
    sign = -1.0 if lower_is_better(metric.partition("@")[0]) else 1.0
    return max(found_means, key=lambda key: sign * found_means[key])


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where a sweep's points stand along x.

    Attributes:
        values: The swept values, rising.
        places: For each series, the place of each value.
        by_size: Whether places are the values themselves: numbers, whose points are joined.
        banded: Whether intervals are bands; with many series they are bars, side by side.
    """

    values: list[Value]
    places: list[dict[Value, float]]
    by_size: bool
    banded: bool


def _layout(found: Swept) -> _Layout:
    values = sorted(
        {point.values[0] for series in found.series for point in series.points},
        key=lambda value: order([value]),
    )
    by_size = all(not isinstance(value, (str, bool)) for value in values)
    base = {value: float(value) if by_size else float(at) for at, value in enumerate(values)}
    count = len(found.series)
    banded = by_size and count <= MOST_BANDS
    width = (base[values[-1]] - base[values[0]]) or 1.0
    step = 0.0 if banded else SIDE_STEP * width
    places = [
        {value: place + step * (at - (count - 1) / 2) for value, place in base.items()}
        for at in range(count)
    ]
    return _Layout(values=values, places=places, by_size=by_size, banded=banded)


def _draw_curves(axes: "Axes", found: Swept, metric: str, means: Means) -> None:
    layout = _layout(found)
    for index, series in enumerate(found.series):
        _draw_series(axes, series, index, layout, metric, means)
    for index, group in enumerate(found.references):
        _draw_reference(axes, group, index, metric, means)
    best = best_point(found, metric, means)
    if best is not None:
        point = found.series[best[0]].points[best[1]]
        mean = means.of(point.group, metric).mean
        _draw_best(axes, layout.places[best[0]][point.values[0]], mean)
    values = layout.values
    if not layout.by_size:
        axes.set_xticks(range(len(values)), [words(text(value)) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
    elif float(values[0]) > 0 and float(values[-1]) / float(values[0]) > LOGARITHMIC_FROM:
        axes.set_xscale("log")


def _draw_series(
    axes: "Axes", series: SweptSeries, index: int, layout: _Layout, metric: str, means: Means
) -> None:
    """One series: its means, and its intervals."""
    drawn: list[tuple[float, Interval, float]] = []
    for point in series.points:
        interval = means.of(point.group, metric)
        if interval.mean is not None:
            drawn.append((layout.places[index][point.values[0]], interval, interval.mean))
    if not drawn:
        return
    axes.plot(
        [place for place, _, _ in drawn],
        [mean for _, _, mean in drawn],
        color=colour(index),
        linestyle=line_style(index) if layout.by_size else "none",
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


def _draw_best(axes: "Axes", place: float, mean: float | None) -> None:
    if mean is None:
        return
    axes.plot(
        [place],
        [mean],
        linestyle="none",
        marker="o",
        markersize=8,
        markerfacecolor="none",
        markeredgecolor=INK,
        label="best, selected on val",
    )
