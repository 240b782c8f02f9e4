"""The regions of softmax, tinted behind a figure's curves."""

from typing import TYPE_CHECKING

from aqr_exp.analyze.softmax import VERDICT_LIMITS, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How much of an axes' width a letter of a region's name takes, at most.
LETTER_SHARE = 0.0145
# From no tint at all to a warning.
VERDICT_TINTS = {
    Verdict.RESPONSIVE: "#E4F3E6",
    Verdict.SAFE: "#F4F5DA",
    Verdict.EDGE: "#FBE9D2",
    Verdict.SATURATED: "#F7DCDA",
}


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
