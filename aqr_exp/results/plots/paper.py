"""The look of a figure for a two-column paper: small type, no box, marks that stay apart in grey."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqr_exp.results.collect import RunRow
from aqr_exp.results.plots.canvas import INK, LINE_STYLES, new_figure, plain_axes, words
from aqr_exp.results.tables.arms import SYNTHETIC_MARK

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN_IN = 3.4
PAGE_IN = 7.0
TEXT_PT, SMALL_PT = 8.0, 7.0
# Letters of small type that stand side by side in a column's width.
LETTERS_A_COLUMN = 60
LINE_IN = 0.15
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
BAND_ALPHA = 0.2
REFERENCE_INK = "#444444"
UNITS = {"mATE": "m", "mASE": "1 - IoU", "mAOE": "rad", "mAVE": "m/s", "mAAE": "1 - accuracy"}


def paper_figure(rows: Sequence[RunRow], width_in: float, height_in: float) -> "Figure":
    """An empty figure that says so when any of its runs was scored on synthetic data.

    Args:
        rows: The runs it shows.
        width_in: Width, in inches: `COLUMN_IN` or `PAGE_IN`.
        height_in: Height, in inches.
    """
    figure = new_figure(width_in, height_in)
    if any(row.synthetic for row in rows):
        figure.suptitle(SYNTHETIC_MARK, fontsize=SMALL_PT, color=INK, x=0.99, ha="right")
    return figure


def paper_axes(axes: "Axes", *, x: str, y: str, title: str = "") -> None:
    """Labels with units in a paper's type sizes, a faint grid, no box."""
    plain_axes(axes, title=title, x=x, y=y)
    axes.set_title(title, loc="left", fontsize=SMALL_PT, color=INK, fontweight="normal")
    axes.xaxis.label.set_fontsize(TEXT_PT)
    axes.yaxis.label.set_fontsize(TEXT_PT)
    axes.tick_params(labelsize=SMALL_PT)


def paper_legend(figure: "Figure") -> None:
    """One legend for the whole figure, below it, where it hides nothing; equal names once.

    Args:
        figure: Whose lines it names; without any there is none.
    """
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
    unit = UNITS.get(name)
    where = f" at {condition}" if at else ""
    if unit is None:
        return words(f"{name}{where}")
    return words(f"{name}{where} ({unit}), lower is better")


def seeds_words(counts: Sequence[int]) -> str:
    """How many seeds stand behind each of some points: `n = 3`, or `n = 2 to 3`."""
    low, high = min(counts, default=0), max(counts, default=0)
    return f"n = {low}" if low == high else f"n = {low} to {high}"
