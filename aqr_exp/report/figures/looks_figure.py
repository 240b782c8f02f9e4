"""The looks at a sweep that runs until it is decided: differences beside their bounds, seed after seed."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aqr_exp.errors import RequestError, cut
from aqr_exp.files.run_name import arm_of, first_of
from aqr_exp.report.arm_names import short_labels
from aqr_exp.report.figures.style import (
    BAND_ALPHA,
    COLUMN_IN,
    INK,
    PAGE_IN,
    REFERENCE_INK,
    SMALL_PT,
    TEXT_PT,
    colour,
    metric_label,
    paper_axes,
    paper_figure,
    paper_legend,
    words,
)
from aqr_exp.statistics.metrics import in_points
from aqr_exp.statistics.sequential import bounds_of
from aqr_exp.statistics.verdicts import UNDECIDED
from aqr_exp.store.collect import RunRow
from aqr_exp.store.decisions import ArmDecision, Decided

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 60
# Early bounds may be far beyond all that was seen.
ROOM = 1.15


def looks_figure(
    decided: Decided, rows: Sequence[RunRow], *, width_in: float = PAGE_IN
) -> "Figure":
    """Draw a panel an arm: its difference to the reference at each look, and what would have decided it.

    Args:
        rows: Runs of the store, which tell what the arms are.

    Raises:
        RequestError: There was no look yet, or there are more arms than fit on a page.
    """
    design = decided.design
    if not decided.decisions:
        raise RequestError(
            f"sweep '{cut(design.sweep)}': no look yet: the first follows {design.start} seeds of each arm"
        )
    if len(design.arms) > MOST_PANELS:
        raise RequestError(f"{len(design.arms)} arms: at most {MOST_PANELS} fit on a page")
    count = len(design.arms)
    down = -(-count // (3 if width_in > COLUMN_IN else 2))
    across = -(-count // down)
    taken = {name for name, value in decided.values.items() if value is not None}
    shown = [row for row in rows if first_of(row.name) in taken]
    figure = paper_figure(shown, width_in, 0.9 + 1.75 * down)
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    labels = _labels((design.reference, *design.arms), shown)
    for at, axes in enumerate(grid.flat):
        if at >= count:
            axes.set_visible(False)
            continue
        arm = design.arms[at]
        _draw_arm(axes, decided, arm, _looks_at(decided, arm))
        bottom = at + across >= count
        paper_axes(axes, x="seeds of each arm" if bottom else "", y="")
        letters = round(15 * width_in / across)
        title = textwrap.wrap(words(labels[arm]), letters, max_lines=3, placeholder=" ...")
        title += textwrap.wrap(_state(decided, arm), letters)
        axes.set_title("\n".join(title), loc="left", fontsize=SMALL_PT, color=INK)
        axes.tick_params(labelbottom=bottom)
    most = len(design.seeds)
    grid[0, 0].set_xlim(design.start - 0.5, most + 0.5)
    grid[0, 0].set_xticks(range(design.start, most + 1, max(1, (most - design.start) // 6)))
    top = _reach(decided)
    grid[0, 0].set_ylim(-top, top)
    name = f"{metric_label(design.primary)}: difference to {labels[design.reference]}"
    figure.supylabel(words(name), fontsize=TEXT_PT, color=INK)
    paper_legend(figure)
    return figure


def _labels(arms: Sequence[str], rows: Sequence[RunRow]) -> dict[str, str]:
    """What each arm is; one without runs keeps its name."""
    known = {arm_of(row.name): row for row in reversed(rows)}
    having = [arm for arm in arms if arm in known]
    labels = short_labels([known[arm] for arm in having])
    return {arm: arm for arm in arms} | dict(zip(having, labels, strict=True))


def _looks_at(decided: Decided, arm: str) -> list[ArmDecision]:
    """What each look found of an arm while it was in."""
    found = [one.arms[arm] for one in decided.decisions if one.arms[arm].look == one.look]
    return [one for one in found if one.mean is not None]


def _state(decided: Decided, arm: str) -> str:
    one = decided.arms[arm]
    if one.out:
        return f"{one.word} after {one.look} seeds"
    return f"goes on after {one.look} of {len(decided.design.seeds)} seeds"


def _factor(decided: Decided) -> float:
    return 100.0 if in_points(decided.design.primary) else 1.0


def _reach(decided: Decided) -> float:
    """How far from 0 the panels show: all differences, and of each arm at least the last bound."""
    reach = [decided.design.sesoi / 100]
    for arm in decided.design.arms:
        looks = _looks_at(decided, arm)
        reach += [abs(one.mean or 0.0) for one in looks]
        bounds = [found[0] for one in looks if (found := bounds_of(one, decided.design))]
        reach += [min(bounds)] if bounds else []
    return ROOM * _factor(decided) * max(reach)


def _draw_arm(axes: "Axes", decided: Decided, arm: str, looks: Sequence[ArmDecision]) -> None:
    """An arm's differences, the bounds at each look, and the look that decided it."""
    design, factor = decided.design, _factor(decided)
    axes.axhline(0, color=REFERENCE_INK, linewidth=0.9, zorder=1)
    held = [
        (one.look, factor * found[0], factor * found[1])
        for one in looks
        if (found := bounds_of(one, design)) is not None
    ]
    least = [(look, factor * design.sesoi / 100) for look in (0, len(design.seeds) + 1)]
    name = f"smallest effect of interest, ±{design.sesoi:g} points"
    _draw_bound(axes, least, REFERENCE_INK, ":", name)
    beyond = [(look, bound) for look, bound, _ in held]
    _draw_bound(axes, beyond, colour(1), "_--", "better or worse beyond")
    small = [(look, bound) for look, _, bound in held if bound > 0]
    _draw_bound(axes, small, REFERENCE_INK, "_-", "out within (futility)")
    places, ends = [look for look, _ in small], [bound for _, bound in small]
    style: dict[str, Any] = {"color": REFERENCE_INK, "alpha": BAND_ALPHA, "linewidth": 0}
    axes.fill_between(places, [-end for end in ends], ends, **style)
    places, seen = [one.look for one in looks], [factor * (one.mean or 0.0) for one in looks]
    axes.plot(
        places, seen, "o-", color=colour(0), markersize=3.5, linewidth=1.2, label="difference"
    )
    last = decided.arms[arm]
    if last.out and last.word != UNDECIDED and last.mean is not None:
        ring: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": INK, "zorder": 4}
        axes.plot([last.look], [factor * last.mean], "o", markersize=9, label="decided", **ring)


def _draw_bound(
    axes: "Axes", bounds: Sequence[tuple[float, float]], ink: str, line: str, name: str
) -> None:
    """A bound on both sides of 0, given by look and distance; none where there is no look."""
    style: dict[str, Any] = {"color": ink, "linewidth": 1.0, "markersize": 5, "label": name}
    for sign in (1, -1) if bounds else ():
        places, ends = [look for look, _ in bounds], [sign * end for _, end in bounds]
        axes.plot(places, ends, line, **style)
