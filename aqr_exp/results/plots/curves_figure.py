"""Training and evaluation over epochs: one curve an arm, with the range of its seeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqr_exp.config.nearest import did_you_mean
from aqr_exp.errors import RequestError
from aqr_exp.results.history import ATTEMPT
from aqr_exp.results.plots.canvas import colour, words
from aqr_exp.results.plots.means import Means
from aqr_exp.results.plots.paper import (
    BAND_ALPHA,
    PAGE_IN,
    line_style,
    marker,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
)
from aqr_exp.results.plots.training_curves import ArmCurves, Series, over_seeds, smoothed
from aqr_exp.results.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The loss of single steps is noise: of so many parts of a curve each is averaged.
PARTS = 30
SPREAD = "band: range over seeds"


def curves_figure(
    arms: Sequence[ArmCurves],
    *,
    store: Store,
    loss: str = "loss",
    metric: str = "mAP",
    width_in: float = PAGE_IN,
) -> "Figure":
    """Draw a training loss, and a metric evaluated while training, over epochs.

    Curves are means over the epochs that all of an arm's seeds reached; bands are their range. The
    metric of record, from the evaluation after training, stands at the end with its interval.

    Args:
        arms: What to draw.
        store: Where their runs are.
        loss: A scalar of the training lines.
        metric: A metric of the evaluations; without any there is only the loss.
        width_in: Width, in inches.

    Returns:
        The figure: one or two axes.

    Raises:
        RequestError: No run has the loss; names those there are.
    """
    losses = [[run.series("train", loss) for run in arm.runs] for arm in arms]
    if not any(series for group in losses for series in group):
        known = {name for arm in arms for run in arm.runs for line in run.train for name in line}
        names = sorted(known - {"kind", "epoch", "step", ATTEMPT})
        if not names:
            raise RequestError("no run to draw has a training history")
        raise RequestError(
            f"no training history has '{loss}'{did_you_mean(loss, names)} "
            f"(available: {', '.join(names)})"
        )
    metrics = [[run.series("val", metric) for run in arm.runs] for arm in arms]
    both = any(series for group in metrics for series in group)
    rows = [run.row for arm in arms for run in arm.runs]
    figure = paper_figure(rows, width_in, (0.4 if both else 0.7) * width_in)
    all_axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    width = max(1, max(len(series) for group in losses for series in group) // PARTS) // 2 * 2 + 1
    averaged = f"running mean of {width} lines, " * (width > 1)
    paper_axes(all_axes[0], x="epoch", y=words(f"training {loss}"), title=f"{averaged}{SPREAD}")
    for index, (arm, group) in enumerate(zip(arms, losses, strict=True)):
        curves = [smoothed(series, width) for series in group]
        _draw_curve(all_axes[0], curves, index, words(arm.words()))
    if both:
        paper_axes(
            all_axes[1], x="epoch", y=metric_label(metric), title=f"while training, {SPREAD}"
        )
        for index, (arm, group) in enumerate(zip(arms, metrics, strict=True)):
            if any(group):
                _draw_curve(all_axes[1], group, index, words(arm.words()), marker=marker(index))
                _draw_record(all_axes[1], arm, index, metric, Means(store))
    for axes in all_axes:
        axes.set_xlim(left=0)
    paper_legend(figure)
    return figure


def _draw_curve(
    axes: "Axes", curves: Sequence[Series], index: int, label: str, marker: str = ""
) -> None:
    """An arm's mean and the range of its seeds."""
    epochs, values = over_seeds([curve for curve in curves if curve])
    if not epochs:
        return
    means = [sum(group) / len(group) for group in values]
    axes.plot(
        epochs,
        means,
        color=colour(index),
        linestyle=line_style(index),
        marker=marker,
        markersize=3,
        linewidth=1.1,
        label=label,
    )
    if len(values[0]) > 1:
        low, high = [min(group) for group in values], [max(group) for group in values]
        axes.fill_between(epochs, low, high, color=colour(index), alpha=BAND_ALPHA, linewidth=0)


def _draw_record(axes: "Axes", arm: ArmCurves, index: int, metric: str, means: Means) -> None:
    """The metric of record of the arm's finished seeds, beside the end of its curve."""
    finished = [run for run in arm.runs if run.row.completed]
    interval = means.of([run.row for run in finished], metric)
    if interval.mean is None:
        return
    end = max(float(line["epoch"]) for run in finished for line in run.train)
    axes.plot(
        [end],
        [interval.mean],
        linestyle="none",
        marker="*",
        markersize=9,
        markerfacecolor="white",
        markeredgecolor=colour(index),
        label="metric of record, 95 % interval",
        zorder=4,
    )
    if interval.low is not None and interval.high is not None:
        axes.vlines([end], interval.low, interval.high, color=colour(index), linewidth=1.0)
