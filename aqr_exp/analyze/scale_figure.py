"""The bias scale over training, beside its bounds and the threshold of its warning.

Letters: T recorded steps, n scales.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from aqr_exp.results.plots.canvas import colour, dashes, legend, new_figure, plain_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    title: str = "Bias scale over training",
) -> "Figure":
    """Draw how each scale moved, and how close it came to where it is held or warned of.

    Args:
        steps: Training steps, rising.
        scales: The scales at these steps.
        names: A name for each scale.
        minimum: The lower bound, for all steps or at each (annealed bounds); None draws none.
        maximum: The upper bound, likewise.
        warn_threshold: Above it a warning is given; None draws none.
        title: Above the figure.

    Returns:
        The figure: one axes.

    Raises:
        ValueError: There are not as many names as scales.
    """
    if len(names) != scales.shape[1]:
        raise ValueError(f"{len(names)} names for {scales.shape[1]} scales")
    figure = new_figure(9.0, 4.6)
    axes = figure.subplots()
    plain_axes(axes, title=title, x="training step", y="bias scale")
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
