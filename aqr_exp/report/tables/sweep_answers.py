"""Answers of a sweep over numbers: whether a parameter matters, and where its best value lies."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from typing import Any

from aqr_exp.config import BASELINE
from aqr_exp.errors import AqrExpError
from aqr_exp.report.figures.swept import (
    MOST_PARAMETERS,
    SweptPoint,
    numbered,
    swept,
    swept_keys,
)
from aqr_exp.report.tables.comparison_data import ComparisonData
from aqr_exp.report.tables.notes import unrecorded_note
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import further_arms
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.trend import (
    LEAST_VALUES,
    Curve,
    Effect,
    factorial,
    over_values,
    told_apart,
)
from aqr_exp.statistics.verdicts import number, p_words, unit
from aqr_exp.store.looks import SERIES, Looks
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

LEAST_BASELINE_SEEDS = 12


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is found of one parameter.

    Attributes:
        of: The arms it was swept over; empty where there are no others.
        effect: Whether it matters; None where that cannot be told.
        curve: The metric over it; None beside a second parameter.
        beside: The second parameter, on which its effect depends by the p `interaction`.
        tied: The second parameter changes together with it, so that their effects cannot be told apart.
        advice: On the baseline's seeds; may be empty.
        unrecorded: Remarks that this look could not be written down.
    """

    parameter: str
    of: str
    metric: str
    effect: Effect | None
    curve: Curve | None = None
    beside: str = ""
    tied: bool = False
    interaction: float | None = None
    advice: str = ""
    unrecorded: tuple[str, ...] = ()

    def lines(self, sweep: str, alpha: float) -> list[str]:
        """The answer in one to three lines."""
        name = f"{self.parameter} of {self.of}" if self.of else self.parameter
        one, curve = self.effect, self.curve
        if one is None:
            why = f"it changes together with {self.beside}" if self.tied else "no seed noise"
            return [f"{name}: whether it matters for {self.metric} cannot be told: {why}"]
        matters = one.p <= alpha
        again = f", look {one.look}: valid at any look" if one.look > 1 else ""
        line = (
            f"{name}: {'matters' if matters else 'not shown to matter'} for {self.metric}: p "
            f"{p_words(one.p)} (contrasts over {one.values} values, {one.degrees:.0f} degrees of "
            f"freedom{again}){f', most like {one.shape}' if matters else ''}"
        )
        found = [line]
        if curve is not None:
            best = number(self.metric, curve.best_mean) + unit(self.metric)
            line = (
                f"{name}: best near {curve.near}, {self.metric} {best} there, by a Gaussian process; "
                f"chosen by these very runs: `aqr-exp confirm {sweep}` tells what it is worth"
            )
            found.append(line)
        if self.tied:
            found.append(f"{name}: {self.beside} changes together with it: either may be the cause")
        if self.interaction is not None:
            shown = "depends" if self.interaction <= alpha else "is not shown to depend"
            words = p_words(self.interaction)
            found.append(f"{name}: its effect {shown} on {self.beside}: p {words} (interaction)")
        return [*found, *filter(None, [self.advice]), *self.unrecorded]

    def as_json(self) -> dict[str, Any]:
        """The answer as plain values."""
        found: dict[str, Any] = {"parameter": self.parameter, "of": self.of, "metric": self.metric}
        found |= asdict(self.effect) if self.effect else {}
        found |= {"beside": self.beside, "interaction_p": self.interaction} if self.beside else {}
        found |= {"tied": True} if self.tied else {}
        places = ("best", "best_low", "best_high", "best_mean") if self.curve else ()
        return found | {place: getattr(self.curve, place) for place in places}


def sweep_answers(
    data: ComparisonData, sweep: str, metric: str, settings: Resampling, store: Store
) -> list[Answer]:
    """The answers of a sweep by its own metric; none of one over anything but numbers, or of a search."""
    folder = store.sweep(sweep)
    entries = folder.read_plan()
    keys = [key for key in swept_keys(entries) if _is_number(key, entries)][:MOST_PARAMETERS]
    known = any(item.name == metric for item in data.quantities)
    if folder.study_path.exists() or not known or not keys:
        return []
    try:
        found = swept([row for group in data.groups for row in group], keys, store=store).series
    except AqrExpError:  # it has no figure either, which says why
        return []
    looks = [one.look for arm in data.arms for one in arm.estimates.differences.values()]
    # Seeds that were added by what was found are no first look.
    look = max([*looks, 2 if folder.decisions_dir.is_dir() else 1])
    journal = Looks(store.root, [one.name for one in entries], SERIES, beside=" ".join(keys))
    means = {arm.first.name: arm.estimates.means[metric] for arm in data.arms}
    answers: list[Answer] = []
    for series in found:
        points = [point for point in numbered(series.points) if means[point.group[0].name].n]
        rows = [row for point in points for row in point.group]
        again = [journal.number(point.group, rows) for point in points]
        said = _answers(points, keys, data, metric, settings, max([look, *again]))
        shown = points if any(one["effect"] is not None for one in said) else []
        why = {journal.record(point.group, rows) for point in shown} - {""}
        of = series.label if len(found) > 1 else ""
        unrecorded = tuple(map(unrecorded_note, sorted(why)))
        answers += [Answer(metric=metric, of=of, unrecorded=unrecorded, **one) for one in said]
    return answers


def _is_number(key: str, entries: Sequence[SweepEntry]) -> bool:
    """Whether all values that a sweep gives a key are numbers."""
    typed = [item.partition("=") for entry in entries for item in entry.overrides]
    try:
        return all(isfinite(float(value)) for name, _, value in typed if name == key)
    except ValueError:
        return False


def _answers(
    points: Sequence[SweptPoint],
    keys: Sequence[str],
    data: ComparisonData,
    metric: str,
    settings: Resampling,
    look: int,
) -> list[dict[str, Any]]:
    """The answers for one or two parameters."""
    means = {arm.first.name: arm.estimates.means[metric] for arm in data.arms}
    values = [tuple(map(float, point.values)) for point in points]
    if len({*values}) < LEAST_VALUES:
        return []
    arms = [means[point.group[0].name] for point in points]
    others = further_arms(data.groups, [point.group for point in points])
    further = [means[group[0].name] for group in others]
    tied = len(keys) == 2 and not told_apart(values)
    # Which key alone tells the arms apart: of two that change together the first one that does.
    alone = [at for at in range(len(keys)) if len({one[at] for one in values}) == len({*values})]
    if alone and (tied or len(keys) == 1):
        at = alone[0]
        rising = sorted(zip(values, arms, strict=True), key=lambda pair: pair[0][at])
        tried, ours = [one[at] for one, _ in rising], [arm for _, arm in rising]
        effect, curve = over_values(tried, ours, further, metric, settings, look)
        found = {"parameter": keys[at], "effect": effect, "curve": curve}
        return [found | ({"beside": keys[1 - at], "tied": effect is not None} if tied else {})]
    axes = [sorted({one[at] for one in values}) for at in range(2)]
    places = [[axes[at].index(one[at]) for at in range(2)] for one in values]
    cells = [(a, b, arm) for (a, b), arm in zip(places, arms, strict=True)]
    *effects, interaction = factorial(cells, further, look)
    answers: list[dict[str, Any]] = [
        {"parameter": keys[at], "effect": effects[at], "beside": keys[1 - at], "tied": tied}
        for at in range(2)
        if len(axes[at]) >= LEAST_VALUES
    ]
    if answers:  # what is of both stands with the last one
        baselines = [means[group[0].name] for group in others if group[0].variant == BASELINE]
        answers[-1] |= {"interaction": interaction, "advice": _advice(arms, baselines)}
    return answers


def _advice(cells: Sequence[ArmMean], baselines: Sequence[ArmMean]) -> str:
    """How many seeds the baseline should have, where it has fewer; empty without a baseline."""
    due = max(LEAST_BASELINE_SEEDS, ceil(len(cells) ** 0.5 * max(arm.n for arm in cells)))
    have = max((arm.n for arm in baselines), default=due)
    words = f"the baseline of {len(cells)} cells has {have} seeds: {due} of it and one of each cell"
    return f"{words} tell more than as many of each" if have < due else ""
