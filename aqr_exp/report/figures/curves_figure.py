"""Training and evaluation over epochs: one curve an arm, with the range of its seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aqr_exp.config.variant_spec import Bounds, LearnedScale, variant_specs, with_feature
from aqr_exp.errors import RequestError, cut
from aqr_exp.files.suggest import did_you_mean, some
from aqr_exp.report.figures.style import (
    BAND_ALPHA,
    COLUMN_IN,
    PAGE_IN,
    REFERENCE_INK,
    Means,
    colour,
    line_style,
    marker,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
    words,
)
from aqr_exp.report.figures.training_curves import ArmCurves, Series, over_seeds, smoothed
from aqr_exp.statistics.metrics import in_points
from aqr_exp.store.history import ATTEMPT
from aqr_exp.store.store import Store

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
        metric: A metric of the evaluations; without any there is only the loss.

    Raises:
        RequestError: No run has the loss; names those there are.
    """
    losses = loss_curves(arms, loss)
    factor = 100 if in_points(metric) else 1
    metrics = [
        [
            {epoch: factor * value for epoch, value in run.series("val", metric).items()}
            for run in arm.runs
        ]
        for arm in arms
    ]
    both = any(series for group in metrics for series in group)
    rows = [run.row for arm in arms for run in arm.runs]
    figure = paper_figure(rows, width_in, (0.4 if both else 0.7) * width_in)
    all_axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    width = max(1, max(len(series) for group in losses for series in group) // PARTS) // 2 * 2 + 1
    averaged = f"running mean of {width} lines, " * (width > 1)
    paper_axes(all_axes[0], x="epoch", y=words(f"training {loss}"), title=f"{averaged}{SPREAD}")
    for index, (arm, group) in enumerate(zip(arms, losses, strict=True)):
        curves = [smoothed(series, width) for series in group]
        _draw_curve(all_axes[0], curves, index, arm.words(), width=1.1)
    if both:
        title = f"while training, {SPREAD}"
        paper_axes(all_axes[1], x="epoch", y=metric_label(metric), title=title)
        for index, (arm, group) in enumerate(zip(arms, metrics, strict=True)):
            if any(group):
                _draw_curve(all_axes[1], group, index, arm.words(), width=1.1, marker=marker(index))
                _draw_record(all_axes[1], arm, index, metric, Means(store))
    for axes in all_axes:
        axes.set_xlim(left=0)
    paper_legend(figure)
    return figure


def loss_curves(arms: Sequence[ArmCurves], loss: str) -> list[list[Series]]:
    """A scalar of training by arm and run; fails as `curves_figure` does."""
    losses = [[run.series("train", loss) for run in arm.runs] for arm in arms]
    if not any(series for group in losses for series in group):
        known = {
            name for arm in arms for run in arm.runs for line in run.lines["train"] for name in line
        }
        names = sorted(known - {"kind", "epoch", "step", ATTEMPT})
        if not names:
            raise RequestError("no run to draw has a training history")
        raise RequestError(
            f"no training history has '{cut(loss)}'{did_you_mean(loss, names)} "
            f"(available: {some(names)})"
        )
    return losses


def _draw_curve(
    axes: "Axes",
    curves: Sequence[Series],
    index: int,
    label: str,
    *,
    width: float,
    marker: str = "",
) -> float | None:
    """An arm's mean and the range of its seeds; returns the last epoch drawn, None without any."""
    epochs, values = over_seeds([curve for curve in curves if curve])
    if not epochs:
        return None
    means = [sum(group) / len(group) for group in values]
    axes.plot(
        epochs,
        means,
        color=colour(index),
        linestyle=line_style(index),
        marker=marker,
        markersize=3,
        linewidth=width,
        label=words(label),
    )
    if len(values[0]) > 1:
        low, high = [min(group) for group in values], [max(group) for group in values]
        axes.fill_between(epochs, low, high, color=colour(index), alpha=BAND_ALPHA, linewidth=0)
    return epochs[-1]


def _draw_record(axes: "Axes", arm: ArmCurves, index: int, metric: str, means: Means) -> None:
    """The metric of record of the arm's finished seeds, beside the end of its curve."""
    finished = [run for run in arm.runs if run.row.completed]
    interval = means.of([run.row for run in finished], metric)
    if interval.mean is None:
        return
    end = max(float(line["epoch"]) for run in finished for line in run.lines["train"])
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


def bounds_of(spec: Mapping[str, Any]) -> Bounds | None:
    """The bounds of a run's scale by epoch; None for a run whose scale nothing holds, or without one."""
    settings = spec.get("variant")
    if not isinstance(settings, Mapping):
        return None
    scale = _scale_of(settings.get("name"))
    return None if scale is None else scale.bounds(settings)


def _scale_of(variant: Any) -> LearnedScale[Any] | None:
    spec = variant_specs().get(variant)
    return None if spec is None else spec.scale


def scales_figure(
    arms: Sequence[ArmCurves],
    bounds: Sequence[Bounds | None],
    *,
    width_in: float = COLUMN_IN,
) -> "Figure":
    """Draw how the scale of each arm that has one moved: means, and bands for the range of its seeds.

    Args:
        bounds: For each arm; drawn where all that are drawn agree.

    Raises:
        RequestError: No run has a scale.
    """
    drawn = [
        (arm, held, name)
        for arm, held in zip(arms, bounds, strict=True)
        if (scale := _scale_of(arm.runs[0].row.variant)) is not None
        for name in dict.fromkeys(n for run in arm.runs for line in run.lines["arm"] for n in line)
        if scale.is_scale(name)
    ]
    if not drawn:
        raise RequestError(
            "no run has a bias scale in its history "
            f"{with_feature(lambda spec: spec.scale is not None)}"
        )
    rows = [run.row for arm, _, _ in drawn for run in arm.runs]
    figure = paper_figure(rows, width_in, 0.75 * width_in)
    axes = figure.subplots()
    paper_axes(axes, x="epoch", y="bias scale", title=SPREAD)
    ends = []
    for index, (arm, _, name) in enumerate(drawn):
        several = sum(other is arm for other, _, _ in drawn) > 1
        label = f"{arm.words()}: {name}" if several else arm.words()
        curves = [run.series("arm", name) for run in arm.runs]
        end = _draw_curve(axes, curves, index, label, width=1.2)
        ends.append(1.0 if end is None else end)
    held_by = {held for _, held, _ in drawn}
    held = held_by.pop()
    if held is not None and not held_by:
        _draw_bounds(axes, held, max(ends))
    axes.set_xlim(0, max(ends))
    axes.set_ylim(bottom=0)
    paper_legend(figure)
    return figure


def _draw_bounds(axes: "Axes", held: Bounds, end: float) -> None:
    shown = [row for row in held if row[0] < end or row[0] == 0]
    epochs, low, high = (list(column) for column in zip(*shown, strict=True))
    epochs, low, high = [*epochs, end], [*low, low[-1]], [*high, high[-1]]
    for bound, name, line in ((low, "lower bound", ":"), (high, "upper bound", "-.")):
        (drawn,) = axes.step(epochs, bound, where="post", color=REFERENCE_INK, linestyle=line)
        drawn.set(linewidth=0.9, label=name)
