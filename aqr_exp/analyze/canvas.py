"""What all figures share: colours that stay apart for colour-blind readers, and plain axes.

Figures are made as objects, without pyplot: nothing global is changed and nothing is left open.
"""

from typing import TYPE_CHECKING, Literal

from aqr_exp.analyze.softmax import VERDICT_LIMITS, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito: no yellow, which vanishes on white; their green is kept for ground truth.
COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#6A3D9A", "#444444")
Corner = Literal["best", "center left", "center right", "lower right", "upper left", "upper right"]
LINE_STYLES = ("-", "--", ":", "-.")
LEGEND_LINES = 8
LIDAR_COLOUR, CAMERA_COLOUR = COLOURS[:2]
TRUTH_COLOUR = "#009E73"
INK = "#333333"
GRID = "#DDDDDD"
# How much of an axes' width a letter of a region's name takes, at most.
LETTER_SHARE = 0.0145
# From no tint at all to a warning.
VERDICT_TINTS = {
    Verdict.RESPONSIVE: "#E4F3E6",
    Verdict.SAFE: "#F4F5DA",
    Verdict.EDGE: "#FBE9D2",
    Verdict.SATURATED: "#F7DCDA",
}


def new_figure(width_in: float, height_in: float) -> "Figure":
    """An empty figure that arranges its own margins; sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", facecolor="white")


def colour(index: int) -> str:
    """The colour of the `index`-th thing; colours repeat."""
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> str:
    """The line style of the `index`-th thing: another one each time the colours repeat."""
    return LINE_STYLES[index // len(COLOURS) % len(LINE_STYLES)]


def plain_axes(axes: "Axes", *, title: str, x: str, y: str) -> None:
    """Title, labels with units, a faint grid, no box."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def shade_verdicts(axes: "Axes", end: float, unit: float = 1.0) -> None:
    """Tint the regions of softmax behind the curves, along x from 0 to `end`, and name them on top.

    Args:
        axes: Where; x grows with the size of the bias.
        end: Where the last region ends, in x.
        unit: The x at which |bias| is 1.
    """
    edges = [0.0, *(min(limit * unit, end) for _, limit in VERDICT_LIMITS), end]
    for verdict, low, high in zip(Verdict, edges, edges[1:], strict=False):
        if high <= low:
            continue
        axes.axvspan(low, high, color=VERDICT_TINTS[verdict], zorder=0, linewidth=0)
        # A name that is wider than its region stays away.
        if high - low > LETTER_SHARE * len(verdict.value) * end:
            axes.annotate(
                verdict.value,
                ((low + high) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8,
                color="#777777",
            )


def legend(axes: "Axes", place: Corner) -> None:
    """A legend that hides nothing completely; a long one stands beside the axes."""
    if len(axes.get_legend_handles_labels()[0]) > LEGEND_LINES:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, edgecolor=GRID)
    else:
        axes.legend(loc=place, fontsize=9, framealpha=0.85, edgecolor=GRID)
