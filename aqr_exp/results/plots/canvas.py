"""What all figures share: colours that stay apart for colour-blind readers, and plain axes.

Figures are made as objects, without pyplot: nothing global is changed and nothing is left open.
"""

from typing import TYPE_CHECKING, Literal

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


def legend(axes: "Axes", place: Corner) -> None:
    """A legend that hides nothing completely; a long one stands beside the axes."""
    if len(axes.get_legend_handles_labels()[0]) > LEGEND_LINES:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, edgecolor=GRID)
    else:
        axes.legend(loc=place, fontsize=9, framealpha=0.85, edgecolor=GRID)


def words(text: object) -> str:
    """Text as it stands, whatever is in it: no mathematics, no line breaks, one that a legend shows."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    # Without its dollar signs escaped, a name could be read as a formula, or refused as one.
    plain = plain.replace("$", r"\$")
    return f" {plain}" if plain.startswith("_") else plain
