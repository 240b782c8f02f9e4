"""What is measured of arms and decided on their differences, as a table needs it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aqr_exp.files.progress import Progress, no_progress
from aqr_exp.report.tables.arms import Group
from aqr_exp.report.tables.baselines import Opponent
from aqr_exp.report.tables.request import Quantity
from aqr_exp.store.store import Store

if TYPE_CHECKING:
    from aqr_exp.statistics.differences import Difference, Interval
    from aqr_exp.statistics.verdicts import Verdict

ALPHA = 0.05
WANTED = 0.003
"""The effect that seeds are planned for: .3 points, about what reports in this field turn on."""

"""Told after each comparison: how many are done, of how many."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds; what a few runs cannot say is None.

    Attributes:
        n: How many runs have a value.
        mean: Their mean.
        sd: Their sample standard deviation.
        low: Lower end of the 95 % interval of the mean.
        high: Its upper end.
    """

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A difference to the opponent with its verdict; what cannot be known is None.

    Attributes:
        mean: The arm's mean minus the opponent's.
        low: Lower end of its 95 % interval.
        high: Its upper end.
        word: The verdict.
        sentence: The verdict with its numbers.
        note: What a reader has to know besides.
        method: How interval and p were made.
        p_holm: The p corrected for all comparisons of the table.
        scenes: How many scenes were drawn from; 0 where scene noise is unknown.
        n: Seeds of the arm that has fewer.
        mde: The smallest difference that so many seeds and scenes are likely to show.
    """

    mean: float | None
    low: float | None
    high: float | None
    word: str
    sentence: str
    note: str
    method: str
    p_holm: float | None
    scenes: int
    n: int
    mde: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One arm.

    Attributes:
        means: By a quantity's name.
        decided: By a quantity's name; empty for an arm that is compared with nothing.
    """

    means: dict[str, Mean] = field(default_factory=dict)
    decided: dict[str, Decided] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measures:
    """All arms of a table.

    Attributes:
        arms: In the order of the arms.
        seeds_for_wanted: By a quantity's name, how many seeds would show a difference of `WANTED` in
            the comparison that can show least; None where no number would.
    """

    arms: list[Measured]
    seeds_for_wanted: dict[str, int | None] = field(default_factory=dict)


def unmeasured(groups: Sequence[Group]) -> Measures:
    """The arms of a table that shows no metrics."""
    return Measures(arms=[Measured() for _ in groups])


def measure(
    groups: Sequence[Group],
    opponents: Sequence[Opponent],
    quantities: Sequence[Quantity],
    store: Store,
    progress: Progress = no_progress,
) -> Measures:
    """Measure every arm and decide on its difference to its opponent.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What is measured.
        store: Where the runs' match records are.
        progress: Called with the arms or runs done, and all.

    Returns:
        The arms in their order; the verdicts are corrected for all comparisons among them.
    """
    found: list[dict[str, Difference]] = []
    means: list[dict[str, Mean]] = []
    for done, (group, opponent) in enumerate(zip(groups, opponents, strict=True), start=1):
        means.append(_means(group, quantities, store))
        found.append(_differences(group, opponent, quantities, store))
        progress(done, len(groups))
    decided = _decided(found)
    arms = [Measured(means=one, decided=two) for one, two in zip(means, decided, strict=True)]
    return Measures(arms=arms, seeds_for_wanted=_plans(found, quantities))


def _means(group: Group, quantities: Sequence[Quantity], store: Store) -> dict[str, Mean]:
    from aqr_exp.statistics.differences import arm_intervals

    means: dict[str, Mean] = {}
    for condition, asked in _by_condition(quantities):
        metrics = [item.metric for item in asked]
        found = arm_intervals(group, metrics, store=store, condition=condition)
        means |= {item.name: _mean(found[item.metric]) for item in asked}
    return means


def _mean(interval: "Interval") -> Mean:
    return Mean(
        n=interval.n,
        mean=interval.mean,
        sd=interval.sd,
        low=interval.low,
        high=interval.high,
    )


def _differences(
    group: Group, opponent: Opponent, quantities: Sequence[Quantity], store: Store
) -> "dict[str, Difference]":
    if opponent.group is None:
        return {}
    from aqr_exp.statistics.differences import compare_arms

    found: dict[str, Difference] = {}
    for condition, asked in _by_condition(quantities):
        metrics = [item.metric for item in asked]
        differences = compare_arms(opponent.group, group, metrics, store=store, condition=condition)
        found |= {item.name: differences[item.metric] for item in asked}
    return found


def _by_condition(
    quantities: Sequence[Quantity],
) -> list[tuple[str | None, list[Quantity]]]:
    """Quantities of the same data together: their runs are resampled once."""
    conditions = dict.fromkeys(item.condition for item in quantities)
    return [
        (condition, [item for item in quantities if item.condition == condition])
        for condition in conditions
    ]


def _decided(found: "Sequence[dict[str, Difference]]") -> list[dict[str, Decided]]:
    """Verdicts where the differences stand, corrected over all of them."""
    decided: list[dict[str, Decided]] = [{} for _ in found]
    flat = [(index, name) for index, item in enumerate(found) for name in item]
    if flat:
        from aqr_exp.statistics.verdicts import decide

        verdicts = decide([found[index][name] for index, name in flat], alpha=ALPHA)
        for (index, name), verdict in zip(flat, verdicts, strict=True):
            decided[index][name] = _as_decided(verdict)
    return decided


def _as_decided(verdict: "Verdict") -> Decided:
    difference = verdict.difference
    return Decided(
        mean=difference.mean,
        low=difference.low,
        high=difference.high,
        word=verdict.word,
        sentence=verdict.sentence,
        note=difference.note,
        method=difference.method,
        p_holm=verdict.p_holm,
        scenes=difference.scenes,
        n=difference.n,
        mde=difference.mde,
    )


def _plans(
    found: "Sequence[dict[str, Difference]]", quantities: Sequence[Quantity]
) -> dict[str, int | None]:
    """How many seeds would show the wanted effect, where these cannot."""
    plans = {}
    for item in quantities:
        known = [
            (each[item.name].mde or 0.0, each[item.name]) for each in found if item.name in each
        ]
        least = max(known, key=lambda pair: pair[0], default=None)
        if item.in_points and least is not None and least[0] > WANTED:
            plans[item.name] = least[1].seeds_for(WANTED)
    return plans
