"""What the bias did to attention over training, from the run's history."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aqr_exp.results.plots.canvas import colour, dashes, legend, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = {
    "mass_in_window_unbiased": "attention inside the window, without the bias",
    "mass_in_window": "attention inside the window",
    "attention_change": "attention moved by the bias (0 to 2)",
}
WEIGHTS = {"lidar": "LiDAR weight", "camera": "camera weight"}


def attention_history_figure(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw mass in window and attention change, and the weights with their spread.

    Args:
        rows: The history's lines of kind `arm`, in order.

    Returns:
        The figure: attention above, where there is a bias, and weights below.
    """
    attended = {name: _series(rows, name) for name in LINES if _series(rows, name)[0]}
    figure = new_figure(9.0, 7.2 if attended else 3.8)
    all_axes = figure.subplots(2 if attended else 1, 1, sharex=True, squeeze=False)[:, 0]
    if attended:
        above = all_axes[0]
        plain_axes(above, title="What the bias does to attention", x="", y="share of attention")
        for index, (name, series) in enumerate(attended.items()):
            style = {"color": colour(index), "linestyle": dashes(index)}
            above.plot(*series, label=LINES[name], **style)
        above.set_ylim(bottom=0)
    below = all_axes[-1]
    plain_axes(below, title="Weights: mean and spread over queries", x="training step", y="weight")
    for index, (modality, label) in enumerate(WEIGHTS.items()):
        steps, means = _series(rows, f"weight_{modality}_mean")
        _, spreads = _series(rows, f"weight_{modality}_std")
        low = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
        high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
        below.plot(steps, means, color=colour(index), label=label)
        below.fill_between(steps, low, high, color=colour(index), alpha=0.2, linewidth=0)
    for axes in all_axes:
        if axes.get_legend_handles_labels()[0]:
            legend(axes, "best")
    return figure


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """A scalar by step; of a step repeated after a resume the last counts."""
    latest = {int(row["step"]): float(row[name]) for row in rows if row.get(name) is not None}
    return sorted(latest), [latest[step] for step in sorted(latest)]
