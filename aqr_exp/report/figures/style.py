"""The style of all figures: colours that stay apart for colour-blind readers, and plain axes.

Figures are made as objects, without pyplot: nothing global is changed and nothing is left open.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from aqr_exp.errors import cut
from aqr_exp.report.tables.cells import SYNTHETIC_MARK, range_words
from aqr_exp.statistics.differences import arm_interval
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import unverified_notes
from aqr_exp.statistics.metrics import in_points, is_own, lower_is_better
from aqr_exp.store.collect import UNVERIFIED, RunRow
from aqr_exp.store.store import Store

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# After Okabe and Ito: no yellow, which vanishes on white; their green is kept for ground truth.
COLOURS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#6A3D9A", "#444444")
Corner = Literal["best", "center left", "center right", "lower right", "upper left", "upper right"]
LINE_STYLES = ("-", "--", ":", "-.")
LEGEND_LINES = 8
MOST_LETTERS = 300
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
    axes.set_title(words(title), loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(words(x), color=INK)
    axes.set_ylabel("\n".join(map(words, y.split("\n", 1))), color=INK)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, length=3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#999999")


def legend(axes: "Axes", place: Corner) -> None:
    """A legend that hides nothing completely; a long one is placed beside the axes."""
    if len(axes.get_legend_handles_labels()[0]) > LEGEND_LINES:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9, edgecolor=GRID)
    else:
        axes.legend(loc=place, fontsize=9, framealpha=0.85, edgecolor=GRID)


def words(text: object) -> str:
    """Text as it is, in one line that is not too long: no mathematics, and a legend shows it."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    # Without its dollar signs escaped, a name could be read as a formula, or refused as one.
    plain = re.sub(r"(?<!\\)\$", r"\\$", cut(plain, MOST_LETTERS))
    return f" {plain}" if plain.startswith("_") else plain


COLUMN_IN = 3.4
PAGE_IN = 7.0
TEXT_PT, SMALL_PT = 8.0, 7.0
# Letters of small type that fit in a column's width.
LETTERS_A_COLUMN = 60
LINE_IN = 0.15
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
BAND_ALPHA = 0.2
REFERENCE_INK = "#444444"
UNITS = {"mATE": "m", "mASE": "1 - IoU", "mAOE": "rad", "mAVE": "m/s", "mAAE": "1 - accuracy"}


def paper_figure(rows: Sequence[RunRow], width_in: float, height_in: float) -> "Figure":
    """An empty figure that says so when any of its runs was scored on synthetic data, or is unverified."""
    figure = new_figure(width_in, height_in)
    marks = [SYNTHETIC_MARK] * any(row.synthetic for row in rows)
    marks += [UNVERIFIED] * bool(unverified_notes(rows))
    if marks:
        figure.suptitle("; ".join(marks), fontsize=SMALL_PT, color=INK, x=0.99, ha="right")
    return figure


def paper_axes(axes: "Axes", *, x: str, y: str, title: str = "") -> None:
    """Labels with units in a paper's type sizes, a faint grid, no box."""
    plain_axes(axes, title=title, x=x, y=y)
    axes.set_title(words(title), loc="left", fontsize=SMALL_PT, color=INK, fontweight="normal")
    axes.xaxis.label.set_fontsize(TEXT_PT)
    axes.yaxis.label.set_fontsize(TEXT_PT)
    axes.tick_params(labelsize=SMALL_PT)


def paper_legend(figure: "Figure") -> None:
    """One legend for the whole figure, below it, where it hides nothing; equal names once."""
    named: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            named.setdefault(label, handle)
    if not named:
        return
    longest = max(map(len, named))
    letters = figure.get_figwidth() / COLUMN_IN * LETTERS_A_COLUMN
    columns = max(1, min(len(named), int(letters // (longest + 5))))
    # A long legend makes the figure higher and leaves the axes what they had.
    lines = -(-len(named) // columns)
    figure.set_figheight(figure.get_figheight() + LINE_IN * max(0, lines - 2))
    figure.legend(
        [*named.values()],
        [*named],
        loc="outside lower center",
        ncols=columns,
        fontsize=SMALL_PT,
        frameon=False,
        labelcolor=INK,
    )


def marker(index: int) -> str:
    """The mark of the `index`-th thing; marks repeat."""
    return MARKERS[index % len(MARKERS)]


def line_style(index: int) -> str:
    """The line of the `index`-th curve: lines differ in grey, too."""
    return LINE_STYLES[index % len(LINE_STYLES)]


def metric_label(metric: str) -> str:
    """A metric's name with its unit, and which way is better where that is down."""
    name, at, condition = metric.partition("@")
    where = f" at {condition}" if at else ""
    if in_points(name):
        return words(f"{name}{where} (points)")
    unit = UNITS.get(name)
    if unit is None:
        where += ", lower is better" if is_own(name) and lower_is_better(name) else ""
        return words(f"{name}{where}")
    return words(f"{name}{where} ({unit}), lower is better")


def seeds_words(counts: Sequence[int]) -> str:
    """The number of seeds of each of some points: `n = 3`, or `n = 2 to 3`."""
    return f"n = {range_words(counts or [0])}"


class Means:
    """Means of arms and their intervals, in points where the metric is given in them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, ...], ArmMean] = {}

    def of(self, group: Sequence[RunRow], metric: str) -> ArmMean:
        """The mean of a metric over an arm's seeds.

        Raises:
            RequestError: There is no such condition.
        """
        key = (metric, *(row.name for row in group))
        if key not in self._known:
            name, _, condition = metric.partition("@")
            found = arm_interval(group, name, condition or None, store=self._store)
            self._known[key] = found.times(100) if in_points(name) else found
        return self._known[key]
