"""What a sweep over numbers says as a whole: whether a parameter matters, and where its best value lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

from aqr_exp.errors import RequestError
from aqr_exp.report.figures.swept import (
    MOST_PARAMETERS,
    SweptSeries,
    order,
    swept,
    swept_keys,
)
from aqr_exp.report.tables.comparison_data import ComparisonData
from aqr_exp.report.tables.request import Quantity
from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.grouping import Group
from aqr_exp.statistics.judging import seed_noise
from aqr_exp.statistics.metrics import lower_is_better
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.trend import (
    LEAST_VALUES,
    Curve,
    Effect,
    curve_of,
    effect_of_values,
    factorial,
)
from aqr_exp.statistics.verdicts import number, p_words, unit
from aqr_exp.store.counting import grouped
from aqr_exp.store.store import Store
from aqr_exp.store.sweep_folder import SweepEntry

LEAST_BASELINE_SEEDS = 12
"""As many the baseline of a sweep over two parameters should have, however few its cells have."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is found of one parameter.

    Attributes:
        of: The arms it was swept over; empty where there are no others.
        effect: Whether it matters; None where that cannot be told.
        curve: The metric over it; None beside a second parameter.
        beside: The second parameter, whose interaction with it has the p `interaction`.
        advice: On the baseline's seeds; may be empty.
    """

    parameter: str
    of: str
    metric: str
    effect: Effect | None
    curve: Curve | None = None
    beside: str = ""
    interaction: float | None = None
    advice: str = ""

    def lines(self, sweep: str, alpha: float) -> list[str]:
        """The answer in one to three lines."""
        name = f"{self.parameter} of {self.of}" if self.of else self.parameter
        effect = self.effect
        if effect is None:
            return [f"{name}: whether it matters for {self.metric} cannot be told: too few seeds"]
        word, like = "not shown to matter", ""
        if effect.p <= alpha:
            word, like = "matters", f", most like {effect.shape}"
        again = f", look {effect.look}: valid at any look" if effect.look > 1 else ""
        found: list[str] = []
        found.append(
            f"{name}: {word} for {self.metric}: p {p_words(effect.p)} (contrasts over {effect.values} "
            f"values, {effect.degrees:.0f} degrees of freedom{again}){like}"
        )
        if self.curve is not None:
            near, *ends = map(_short, (self.curve.best, self.curve.best_low, self.curve.best_high))
            found.append(
                f"{name}: best near {near} [{', '.join(ends)}], {self.metric} "
                f"{number(self.metric, self.curve.best_mean)}{unit(self.metric)} there, by a Gaussian "
                f"process; chosen by these very runs: `aqr-exp confirm {sweep}` tells what it is worth"
            )
        if self.interaction is not None:
            shown = "depends" if self.interaction <= alpha else "is not shown to depend"
            found.append(
                f"{name}: its effect {shown} on {self.beside}: p {p_words(self.interaction)} (interaction)"
            )
        return [*found, self.advice] if self.advice else found

    def as_json(self) -> dict[str, Any]:
        """The answer as plain values."""
        effect, curve = self.effect, self.curve
        found: dict[str, Any] = {"parameter": self.parameter, "of": self.of, "metric": self.metric}
        if effect is not None:
            found |= {"p": effect.p, "shape": effect.shape, "values": effect.values}
            found |= {"degrees": effect.degrees, "look": effect.look}
        if curve is not None:
            found |= {"best": curve.best, "best_low": curve.best_low, "best_high": curve.best_high}
            found["best_mean"] = curve.best_mean
        if self.beside:
            found |= {"beside": self.beside, "interaction_p": self.interaction}
        return found


def _short(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def sweep_answers(
    data: ComparisonData, sweep: str, metric: str, settings: Resampling, store: Store
) -> list[Answer]:
    """The answers of a sweep; none of one over anything but numbers, or of a search.

    Args:
        metric: That the sweep is judged by.
    """
    folder = store.sweep(sweep)
    if folder.study_path.exists() or all(item.name != metric for item in data.quantities):
        return []
    entries = folder.read_plan()
    keys = [key for key in swept_keys(entries) if _is_number(key, entries)][:MOST_PARAMETERS]
    if not keys:
        return []
    try:
        found = swept([row for group in data.groups for row in group], keys, store=store)
    except RequestError:  # it has no figure either, which says why
        return []
    looks = [one.look for arm in data.arms for one in arm.estimates.differences.values()]
    # Seeds that were added by what was found are no first look.
    look = max([*looks, 2 if folder.decisions_dir.is_dir() else 1])
    asked = _Asked(data=data, metric=metric, settings=settings, look=look)
    of = {series.label: series for series in found.series}
    answers: list[Answer] = []
    for name, series in of.items():
        label = name if len(of) > 1 else ""
        if len(keys) == 1:
            answers += asked.of_one(keys[0], label, series)
        else:
            answers += asked.of_two(keys, label, series)
    return answers


def _is_number(key: str, entries: Sequence[SweepEntry]) -> bool:
    """Whether all values that a sweep gives a key are numbers."""
    typed = [item.partition("=") for entry in entries for item in entry.overrides]
    try:
        return all(isfinite(float(value)) for name, _, value in typed if name == key)
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Asked:
    data: ComparisonData
    metric: str
    settings: Resampling
    look: int

    def of_one(self, key: str, label: str, series: SweptSeries) -> list[Answer]:
        """The answer for a parameter that is swept alone."""
        (item,) = (each for each in self.data.quantities if each.name == self.metric)
        points = [point for point in series.points if self._mean(point.group, item).n]
        if len(points) < LEAST_VALUES:
            return []
        arms = [self._mean(point.group, item) for point in points]
        further = self._further([point.group for point in points], item)
        noise = seed_noise(arms[0], arms[1:], further, self.settings)
        effect = effect_of_values(noise, len(arms), self.look)
        curve = None
        if effect is not None:
            curve = curve_of(
                [float(point.values[0]) for point in points],
                [float(sum(arm.values) / arm.n) for arm in noise.arms[: len(arms)]],
                [noise.variance / arm.n for arm in noise.arms[: len(arms)]],
                lower_is_better=lower_is_better(self.metric),
            )
        return [Answer(parameter=key, of=label, metric=self.metric, effect=effect, curve=curve)]

    def of_two(self, keys: Sequence[str], label: str, series: SweptSeries) -> list[Answer]:
        """The answers for two parameters that are swept together."""
        (item,) = (each for each in self.data.quantities if each.name == self.metric)
        points = [point for point in series.points if self._mean(point.group, item).n]
        axes = [
            sorted({point.values[at] for point in points}, key=lambda value: order([value]))
            for at in range(2)
        ]
        if len(points) < LEAST_VALUES:
            return []
        further = self._further([point.group for point in points], item)
        cells = [
            (axes[0].index(a), axes[1].index(b), self._mean(point.group, item))
            for point in points
            for a, b in [point.values]
        ]
        found = factorial(cells, further, self.look)
        effects = found.effects if found else (None, None)
        advice = self._advice(cells, further)
        return [
            Answer(
                parameter=keys[at],
                of=label,
                metric=self.metric,
                effect=effects[at],
                beside=keys[1 - at],
                interaction=found.interaction if found and at else None,
                advice=advice if at else "",
            )
            for at in range(2)
            if len(axes[at]) >= LEAST_VALUES
        ]

    def _mean(self, group: Group, item: Quantity) -> ArmMean:
        means = {arm.group[0].name: arm.estimates.means for arm in self.data.arms}
        return means[group[0].name][item.name]

    def _further(self, chosen: Sequence[Group], item: Quantity) -> list[ArmMean]:
        names = {group[0].name for group in chosen}
        by_setting = grouped(self.data.groups, lambda group: (group[0].data, group[0].setting))
        alike = by_setting[chosen[0][0].data, chosen[0][0].setting]
        return [self._mean(group, item) for group in alike if group[0].name not in names]

    def _advice(self, cells: Sequence[tuple[int, int, ArmMean]], further: Sequence[ArmMean]) -> str:
        each = max(arm.n for _, _, arm in cells)
        due = max(LEAST_BASELINE_SEEDS, ceil(len(cells) ** 0.5 * each))
        have = max((arm.n for arm in further), default=due)
        if have >= due:
            return ""
        return (
            f"the baseline of {len(cells)} cells has {have} seeds: {due} of it and one of each cell tell "
            "more than as many of each"
        )
