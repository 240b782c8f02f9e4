"""The router's weights by group: by class, by distance, by condition.

Letters: n values of a group.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from aqr_exp.results.plots.canvas import (
    CAMERA_COLOUR,
    INK,
    LIDAR_COLOUR,
    legend,
    new_figure,
    plain_axes,
)
from aqr_exp.results.statistics import Summary, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# (name, colour, place beside the group's middle), in the order of the two weights.
MODALITIES = (("LiDAR", LIDAR_COLOUR, -0.12), ("camera", CAMERA_COLOUR, 0.12))
GROUP_WIDTH_IN = 0.9


def weights_by_group_figure(
    groups: Mapping[str, Float[NDArray[Any], "n 2"]],
    *,
    title: str,
    grouped_by: str,
    bounds: tuple[float, float] = (-1.0, 1.0),
    unit: str = "queries",
) -> "Figure":
    """Draw the mean of both weights in each group with its 95 % Student-t interval.

    The interval takes the rows as independent. Queries of one frame are not: average over what
    belongs together first and name what remains in `unit`.

    Args:
        groups: For each group, in drawing order, rows of (lidar, camera) weights.
        title: Above the figure.
        grouped_by: What the groups are, such as `class` or `distance (m)`.
        bounds: The range of the weights, by their activation.
        unit: What a row is the weight of.

    Returns:
        The figure: one axes; each group is labelled with its n.

    Raises:
        ValueError: There is no group.
    """
    if not groups:
        raise ValueError("weights by group need at least one group")
    figure = new_figure(max(6.0, 1.8 + GROUP_WIDTH_IN * len(groups)), 4.8)
    axes = figure.subplots()
    plain_axes(axes, title=title, x=grouped_by, y="router weight (mean, 95 % interval)")
    for modality, (name, ink, beside) in enumerate(MODALITIES):
        summaries = [summarize(rows[:, modality].tolist()) for rows in groups.values()]
        _draw_means(axes, summaries, beside, ink, name)
    low, high = bounds
    if low < 0 < high:
        axes.axhline(0.0, color="#777777", linewidth=0.9, zorder=1)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.set_xlim(-0.5, len(groups) - 0.5)
    labels = [f"{name}\nn={len(rows)}".replace("_", "\n") for name, rows in groups.items()]
    axes.set_xticks(range(len(groups)), labels, fontsize=9, color=INK)
    axes.grid(visible=False, axis="x")
    axes.text(1.0, 1.0, f"n: {unit}", transform=axes.transAxes, ha="right", va="bottom", fontsize=9)
    legend(axes, "best")
    return figure


def _draw_means(axes: "Axes", summaries: list[Summary], beside: float, ink: str, name: str) -> None:
    """One point a group, with an error bar where there is an interval; none for an empty group."""
    drawn = [(place, item) for place, item in enumerate(summaries) if item.mean is not None]
    means = np.array([item.mean for _, item in drawn], dtype=float)
    # Where one value has no interval, the bar has no length.
    ends = np.array(
        [(item.low, item.high) if item.low is not None else (item.mean,) * 2 for _, item in drawn],
        dtype=float,
    ).reshape(-1, 2)
    axes.errorbar(
        np.array([place for place, _ in drawn], dtype=float) + beside,
        means,
        yerr=np.stack((means - ends[:, 0], ends[:, 1] - means)),
        fmt="o",
        color=ink,
        markersize=5,
        capsize=3,
        linewidth=1.4,
        label=name,
    )
