"""Arms against their references: differences with intervals, seeds, detectable effects and verdicts."""

import re
import textwrap
from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from aqr_exp.errors import RequestError, cut
from aqr_exp.report.arm_names import arm_labels, short_labels
from aqr_exp.report.figures.style import (
    BAND_ALPHA,
    COLUMN_IN,
    INK,
    PAGE_IN,
    REFERENCE_INK,
    SMALL_PT,
    colour,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
    seeds_words,
    words,
)
from aqr_exp.report.tables.comparison_data import ComparisonData, TableArm
from aqr_exp.statistics.metrics import SCENES, in_points
from aqr_exp.statistics.verdicts import ArmDifference, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
MOST_NAME_LINES = 4
# Half the height of a row that is shaded, and how far below the difference its seeds stand.
HALF_ROW, SEEDS_BELOW = 0.42, 0.24


def differences_figure(data: ComparisonData, metric: str, *, width_in: float = PAGE_IN) -> "Figure":
    """Draw a forest plot: one row an arm, its difference to its reference with the simultaneous interval.

    Args:
        data: The arms of a table that has the metric.

    Raises:
        RequestError: No arm has a difference of it, or there are more than fit on a page.
    """
    arms = [arm for arm in data.arms if metric in arm.estimates.differences]
    firsts = [arm.first for arm in arms]
    labels = {row.name: label for row, label in zip(firsts, short_labels(firsts), strict=True)}
    arms.sort(key=lambda arm: _by_numbers(labels[arm.first.name]))
    found = [arm.estimates.differences[metric] for arm in arms]
    if not any(one.mean is not None for one in found):
        reasons = [reason for arm in data.arms if (reason := arm.match.reason) is not None]
        why = f": {cut(reasons[0], 110)}" if reasons and not arms else ""
        raise RequestError(f"no arm with a difference of {cut(metric)} to a reference to draw{why}")
    if len(arms) > MOST_ROWS:
        raise RequestError(
            f"{len(arms)} arms: at most {MOST_ROWS} fit on a page: choose them by --of or --where"
        )
    references = {arm.match.group[0].name: arm.match.group[0] for arm in arms if arm.match.group}
    of = dict(zip(references, arm_labels([*references.values()]), strict=True))
    letters = round(34 * width_in / PAGE_IN)
    names = [
        _name(labels[arm.first.name], arm, of, letters, one.n_other)
        for arm, one in zip(arms, found, strict=True)
    ]
    verdicts = [_verdict(*pair, width_in) for pair in zip(arms, found, strict=True)]
    lines = max(text.count("\n") + 1 for text in (*names, *verdicts))
    shown = [row for arm in arms for row in (*arm.group, *(arm.match.group or ()))]
    figure = paper_figure(shown, width_in, 1.0 + len(arms) * (0.12 + 0.13 * max(lines, 2)))
    axes = figure.subplots()
    paper_axes(axes, x=_x_label(arms, found, metric), y="")
    for at, (arm, one) in enumerate(zip(arms, found, strict=True)):
        _draw_row(axes, at, one, leads(data, arm, one, metric))
    _draw_what_counts(axes, found, metric)
    axes.set_yticks(range(len(arms)), names)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    for at, text in enumerate(verdicts):
        beside = axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center")
        beside.set(fontsize=SMALL_PT, color=INK)
    axes.grid(visible=False, axis="y")
    paper_legend(figure)
    return figure


def _by_numbers(label: str) -> list[str | float]:
    """A key that sorts labels by letters, and the numbers in them by size."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", label)
    return [float(part) if at % 2 else part for at, part in enumerate(parts)]


def _name(label: str, arm: TableArm, of: Mapping[str, str], letters: int, count: int) -> str:
    """What stands at a row: where there are several references, also which one it has."""
    text = label
    if arm.match.group and len(of) > 1:
        text += f" against {of[arm.match.group[0].name]}"
    rows = textwrap.wrap(words(text), letters, max_lines=MOST_NAME_LINES, placeholder=" ...")
    return "\n".join([*rows, seeds_words([count])])


def _x_label(arms: list[TableArm], found: list[ArmDifference], metric: str) -> str:
    variants = {arm.match.group[0].variant for arm in arms if arm.match.group}
    whose = variants.pop() if len(variants) == 1 else "the reference"
    counts = seeds_words([one.n_reference for one in found])
    also = ", on other scenes as well" if found[0].population == SCENES else ""
    return f"{metric_label(metric)}: difference to {whose} ({counts}){also}"


def _verdict(arm: TableArm, one: ArmDifference, width_in: float) -> str:
    text = one.word
    text += ", not only the variant differs" if arm.match.confounders else ""
    text += ", exploratory" if arm.match.undeclared else ""
    rows = textwrap.wrap(text, 26 if width_in > COLUMN_IN else 19)
    if one.mean is not None:
        ends = [number(one.metric, end, "+") for end in (one.low, one.high) if end is not None]
        rows.insert(
            0, number(one.metric, one.mean, "+") + (f" [{', '.join(ends)}]" if ends else "")
        )
    return "\n".join(map(words, rows))


def leads(data: ComparisonData, arm: TableArm, one: ArmDifference, metric: str) -> list[float]:
    """The lead of each seed of an arm over the mean of the reference that it was judged against."""
    ours = arm.estimates.means[metric]
    means = {each.first.name: each.estimates.means[metric].mean for each in data.arms}
    base = means.get(arm.match.group[0].name) if arm.match.group else None
    if one.design and ours.mean is not None and one.mean is not None:
        # Of a sweep until decided the reference goes on after the arm was decided.
        base = ours.mean - one.mean
    return [] if base is None else [shown_value(metric, value - base) for value in ours.values]


def shown_value(metric: str, value: float) -> float:
    """A number as figures show it: in points where the metric is given in them."""
    return 100 * value if in_points(metric) else value


def _draw_row(axes: "Axes", at: int, one: ArmDifference, leads: list[float]) -> None:
    """A difference with its interval, filled where it was found; its seeds below it."""
    if one.mean is None:
        return
    mean = shown_value(one.metric, one.mean)
    if one.low is not None and one.high is not None:
        ends = shown_value(one.metric, one.low), shown_value(one.metric, one.high)
        bar = "simultaneous 95 % interval"
        axes.hlines(at, *ends, color=colour(0), linewidth=1.4, zorder=3, label=bar)
    label = "better or worse" if one.differs else "not shown to differ"
    face = colour(0) if one.differs else "white"
    style: dict[str, Any] = {"color": colour(0), "markerfacecolor": face, "markersize": 5}
    axes.plot([mean], [at], "D", label=label, zorder=4, **style)
    style = {"color": colour(1), "markersize": 3, "markeredgecolor": "white"}
    beside = [at + SEEDS_BELOW] * len(leads)
    axes.plot(leads, beside, "o", label="one seed", markeredgewidth=0.3, zorder=3, **style)


def _draw_what_counts(axes: "Axes", found: list[ArmDifference], metric: str) -> None:
    """The detectable effect of each row, shaded, and the smallest effect of interest as lines."""
    axes.axvline(0, color=REFERENCE_INK, linewidth=0.9, zorder=2)
    dotted: dict[str, Any] = {"color": REFERENCE_INK, "linewidth": 0.7, "linestyle": ":"}
    for each in {one.sesoi for one in found if one.sesoi is not None}:
        name = f"smallest effect of interest, ±{100 * each:g} points"
        for end in (-each, each):
            axes.axvline(shown_value(metric, end), label=name, **dotted)
    # What few seeds can detect may be far beyond all that was seen.
    low, high = axes.get_xlim()
    reach = max(abs(low), abs(high))
    known = [
        (at, shown_value(metric, one.mde)) for at, one in enumerate(found) if one.mde is not None
    ]
    most = 1.05 * min(max((mde for _, mde in known if isfinite(mde)), default=0.0), 2 * reach)
    low, high = min(low, -most), max(high, most)
    axes.set_xlim(low, high)
    shade: dict[str, Any] = {"color": REFERENCE_INK, "alpha": BAND_ALPHA, "linewidth": 0}
    for at, mde in known:
        half = min(mde, max(-low, high))
        name = "detectable effect (80 % power)"
        axes.barh(at, 2 * half, left=-half, height=2 * HALF_ROW, label=name, zorder=1, **shade)
