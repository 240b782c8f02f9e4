"""AP of each class by arm, with intervals and the ground truth it rests on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqr_exp.errors import RequestError
from aqr_exp.report.arm_names import arm_labels
from aqr_exp.report.figures.style import (
    COLUMN_IN,
    Means,
    colour,
    marker,
    paper_axes,
    paper_figure,
    paper_legend,
    seeds_words,
    words,
)
from aqr_exp.report.tables.cells import range_words
from aqr_exp.statistics.grouping import Group, classes_of, group_seeds
from aqr_exp.statistics.metrics import CLASS_AP
from aqr_exp.statistics.run_scores import GroundTruths
from aqr_exp.store.collect import RunRow
from aqr_exp.store.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How much of a class's strip the marks of its arms take.
STRIP = 0.6
MOST_ARMS = 8


def classes_figure(
    rows: Sequence[RunRow], *, store: Store, width_in: float = COLUMN_IN
) -> "Figure":
    """Draw AP by class: a mark an arm with its interval as a bar; the best class of all on top.

    Raises:
        RequestError: No run has AP by class, or there are more arms than could be told apart.
    """
    groups, _ = group_seeds(rows)
    names = [f"{CLASS_AP}{name}" for name in classes_of(groups)]
    if not names:
        raise RequestError("no completed run has AP by class")
    if len(groups) > MOST_ARMS:
        raise RequestError(
            f"{len(groups)} arms: at most {MOST_ARMS} can be told apart: choose them by --of"
        )
    means = Means(store)
    classes = sorted(names, key=lambda name: _highest(groups, name, means))
    shown = [row for group in groups for row in group]
    height_in = 0.9 + len(classes) * (0.16 + 0.075 * len(groups))
    figure = paper_figure(shown, width_in, height_in)
    axes = figure.subplots()
    paper_axes(axes, x="AP (points), mean and 95 % interval", y="class (ground-truth boxes)")
    labels = arm_labels([group[0] for group in groups])
    for index, (group, label) in enumerate(zip(groups, labels, strict=True)):
        beside = STRIP * (0.5 - (index + 0.5) / len(groups))
        _draw_arm(axes, group, classes, index, beside, label, means)
    axes.set_yticks(range(len(classes)), [_class_words(groups, name) for name in classes])
    axes.set_ylim(-0.5, len(classes) - 0.5)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    paper_legend(figure)
    return figure


def _highest(groups: Sequence[Group], name: str, means: Means) -> float:
    found = [means.of(group, name).mean for group in groups]
    return max((mean for mean in found if mean is not None), default=0.0)


def _class_words(groups: Sequence[Group], name: str) -> str:
    """A class with how many boxes it was measured on; arms on other data may have other counts."""
    class_name = name.removeprefix(CLASS_AP)
    counts = GroundTruths().of([row for group in groups for row in group], name, None)
    return words(f"{class_name} ({range_words(counts) if counts else '?'})")


def _draw_arm(
    axes: "Axes",
    group: Group,
    classes: Sequence[str],
    index: int,
    beside: float,
    label: str,
    means: Means,
) -> None:
    """One arm's marks, the first arm uppermost within a class's strip."""
    drawn = [
        (place + beside, interval, interval.mean)
        for place, name in enumerate(classes)
        if (interval := means.of(group, name)).mean is not None
    ]
    axes.plot(
        [mean for _, _, mean in drawn],
        [place for place, _, _ in drawn],
        linestyle="none",
        marker=marker(index),
        markersize=3.5,
        color=colour(index),
        label=words(f"{label} ({seeds_words([one.n for _, one, _ in drawn])})"),
    )
    bounded = [(place, one.low, one.high) for place, one, _ in drawn if one.low is not None]
    if bounded:
        places, low, high = (list(part) for part in zip(*bounded, strict=True))
        axes.hlines(places, low, high, color=colour(index), linewidth=1.0)
