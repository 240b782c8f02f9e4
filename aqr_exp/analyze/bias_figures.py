"""Figures of the variants' weights, bias and scales."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aqr_exp.analyze.scene_figure import (
    IMAGE_COLUMNS,
    Frame,
    bev_cells,
    camera_cells,
    draw_bev,
    draw_image,
    image_axes,
    mark,
    mark_in_image,
    split_by_sensor,
    value_map,
)
from aqr_exp.report.figures.style import (
    CAMERA_COLOUR,
    INK,
    LIDAR_COLOUR,
    colour,
    dashes,
    legend,
    new_figure,
    plain_axes,
    words,
)
from aqr_exp.statistics.estimates import ArmMean, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

LINES = {
    "mass_in_window_unbiased": "attention inside the window, without the bias",
    "mass_in_window": "attention inside the window",
    "attention_change": "attention moved by the bias (0 to 2)",
}
WEIGHTS = {"lidar": "LiDAR weight", "camera": "camera weight"}


def attention_history_figure(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw attention by step above, where there is a bias, and the weights with their spread below."""
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
        low, high = np.subtract(means, spreads), np.add(means, spreads)
        below.plot(steps, means, color=colour(index), label=label)
        below.fill_between(steps, low, high, color=colour(index), alpha=0.2, linewidth=0)
    for axes in all_axes:
        if axes.get_legend_handles_labels()[0]:
            legend(axes, "best")
    return figure


def _series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a scalar; the last value of a step repeated after a resume counts."""
    latest = {int(row["step"]): float(row[name]) for row in rows if row.get(name) is not None}
    return sorted(latest), [latest[step] for step in sorted(latest)]


BOUND_INK = "#555555"
WARN_INK = "#B00020"


def scale_history_figure(
    steps: Int[NDArray[Any], " steps"],
    scales: Float[NDArray[Any], "steps scales"],
    *,
    names: Sequence[str],
    minimum: Float[NDArray[Any], " steps"] | float | None = None,
    maximum: Float[NDArray[Any], " steps"] | float | None = None,
    warn_threshold: float | None = None,
) -> "Figure":
    """Draw scales by training step, with their bounds and the threshold of the warning, in one axes.

    Bounds are one for all steps or one per step (annealed); None draws none.

    Raises:
        ValueError: There are not as many names as scales.
    """
    if len(names) != scales.shape[1]:
        raise ValueError(f"{len(names)} names for {scales.shape[1]} scales")
    figure = new_figure(9.0, 4.6)
    axes = figure.subplots()
    plain_axes(axes, title="Bias scale over training", x="training step", y="bias scale")
    for index, name in enumerate(names):
        axes.plot(steps, scales[:, index], color=colour(index), linestyle=dashes(index), label=name)
    low, high = (
        None if bound is None else np.broadcast_to(np.asarray(bound, dtype=float), steps.shape)
        for bound in (minimum, maximum)
    )
    # Bounds change between two steps, at the start of an epoch: a step and no slope.
    for bound, name, line in ((low, "lower bound", "--"), (high, "upper bound", "-.")):
        if bound is not None:
            (drawn,) = axes.step(steps, bound, where="post", color=BOUND_INK, linestyle=line)
            drawn.set(linewidth=1.1, label=name)
    if low is not None and high is not None:
        axes.fill_between(steps, low, high, step="post", color="#F2F2F2", zorder=0, linewidth=0)
    if warn_threshold is not None:
        label = f"warning above {warn_threshold:g}"
        axes.axhline(warn_threshold, color=WARN_INK, linewidth=1.1, linestyle=":", label=label)
    axes.set_xlim(0, max(int(steps.max(initial=0)), 1))
    axes.set_ylim(bottom=0)
    legend(axes, "best")
    return figure


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
    belongs together first and name what remains in `unit`. `groups` holds rows of (lidar, camera)
    weights, `bounds` is the range of the weights.

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


def _draw_means(axes: "Axes", summaries: list[ArmMean], beside: float, ink: str, name: str) -> None:
    """One point a group, with an error bar where there is an interval; none for an empty group."""
    drawn = [(place, item) for place, item in enumerate(summaries) if item.mean is not None]
    means = np.array([item.mean for _, item in drawn], dtype=float)
    # Where one value has no interval, the bar has no length.
    ends = np.array(
        [(item.low, item.high) if item.low is not None else (item.mean,) * 2 for _, item in drawn],
        dtype=float,
    ).reshape(-1, 2)
    places = np.array([place for place, _ in drawn], dtype=float) + beside
    reach = np.stack((means - ends[:, 0], ends[:, 1] - means))
    style: dict[str, Any] = {"markersize": 5, "capsize": 3, "linewidth": 1.4}
    axes.errorbar(places, means, yerr=reach, fmt="o", color=ink, label=name, **style)


# Blue takes attention away, red draws it; white in the middle is a bias of zero.
COLOUR_MAP = "RdBu_r"
OPACITY = 0.62
# Above an image, below points, boxes and names.
HEAT_ORDER = 0.5
AROUND_M = 15.0
# A bias of exactly zero everywhere still needs a scale to be drawn on.
LEAST_LIMIT = 1e-3


def bias_figure(
    scene: Frame,
    query_m: Float[NDArray[Any], "3"],
    index: Int[NDArray[Any], " n"],
    value: Float[NDArray[Any], " n"],
    *,
    title: str = "Attention bias of one query",
    limit: float | None = None,
    around_m: float | None = AROUND_M,
) -> "Figure":
    """Draw the bias of one query over its keys, from above and in the images.

    Args:
        query_m: The query's point, metres in the LiDAR frame.
        index: The keys that have a bias (the valid slots), in token order.
        value: Their biases, added to the attention scores.
        limit: The bias at the ends of the colours; the largest |bias| by default.
        around_m: Metres shown to each side of the query from above; None shows the whole map.

    Returns:
        The figure: first the view from above, then one axes a camera, last the colour bar.
    """
    layout = scene.layout
    largest = float(np.abs(value).max(initial=0.0)) if limit is None else limit
    largest = max(largest, LEAST_LIMIT)
    height_px, width_px = layout.image_size_px
    rows = -(-layout.views // IMAGE_COLUMNS)
    figure = new_figure(18.0, max(4.6, rows * (4.0 * height_px / width_px + 0.25) + 0.9))
    figure.suptitle(words(title), fontsize=13, color=INK)
    columns: Any = figure.add_gridspec(1, 2, width_ratios=(1.0, 2.7))
    above, around = map(figure.add_subfigure, columns)
    lidar, camera = split_by_sensor(layout, index)

    bev = above.subplots()
    draw_bev(bev, scene, title="from above")
    cells = bev_cells(layout, index[lidar])
    heat = value_map(*layout.bev_size, cells, value[lidar])
    shown = _draw_heat(bev, heat[::-1], scene.bev_extent_m, largest)
    if around_m is not None:
        bev.set_xlim(query_m[0] - around_m, query_m[0] + around_m)
        bev.set_ylim(query_m[1] - around_m, query_m[1] + around_m)
    mark(bev, query_m[:2], "query", INK)

    axes_of_views = image_axes(around, scene.view_names)
    tokens = camera_cells(layout, index[camera])
    for view, axes in enumerate(axes_of_views):
        draw_image(axes, scene, view)
        here = tokens[:, 0] == view
        heat = value_map(*layout.camera_size, tokens[here, 1:], value[camera][here])
        _draw_heat(axes, heat, (0.0, width_px, height_px, 0.0), largest)
        mark_in_image(axes, scene, view, query_m, "query", INK)
    bar = figure.colorbar(shown, ax=axes_of_views, shrink=0.8, pad=0.02)
    bar.set_label("bias added to the attention score", color=INK)
    return figure


def _draw_heat(
    axes: "Axes",
    heat: Float[NDArray[Any], "rows columns"],
    extent: tuple[float, float, float, float],
    largest: float,
) -> "AxesImage":
    """Draw cells (upper row first, NaN not drawn) in colours from -largest to largest, and their outline.

    `extent` is (left, right, bottom, top) of the map.
    """
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    rows, columns = np.nonzero(np.isfinite(heat))
    if rows.size:
        left, right, bottom, top = extent
        wide, high = (right - left) / heat.shape[1], (bottom - top) / heat.shape[0]
        corner = (left + wide * float(columns.min()), top + high * float(rows.min()))
        size = (wide * float(np.ptp(columns) + 1), high * float(np.ptp(rows) + 1))
        outline = Rectangle(corner, *size, edgecolor=INK, linewidth=0.8, fill=False)
        outline.set_path_effects([withStroke(linewidth=2.2, foreground="white")])
        axes.add_patch(outline)
    return axes.imshow(
        heat, extent=extent, norm=Normalize(-largest, largest), cmap=COLOUR_MAP, alpha=OPACITY,
        interpolation="nearest", zorder=HEAT_ORDER,
    )  # fmt: skip
