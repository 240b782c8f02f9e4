"""What a table is made of: arms, what each is compared with, and what is measured and decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aqr_exp.results.collect import RunRow
from aqr_exp.results.store import Store
from aqr_exp.results.tables.arms import Group, arm_name
from aqr_exp.results.tables.baselines import Opponent
from aqr_exp.results.tables.quantities import Quantity

if TYPE_CHECKING:
    from aqr_exp.results.inference.differences import Difference
    from aqr_exp.results.inference.verdicts import Verdict

ALPHA = 0.05
Step = Callable[[int, int], None]
"""Told after each comparison: how many are done, of how many."""


class Mean(Protocol):
    """A mean with what is known about it; what a few runs cannot say is None."""

    @property
    def n(self) -> int:
        """How many runs."""

    @property
    def mean(self) -> float | None:
        """Their mean."""

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation."""

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval of the mean."""

    @property
    def high(self) -> float | None:
        """Its upper end."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of a table, or one line a block.

    Attributes:
        group: Its runs, one a seed.
        opponent: What it is compared with.
        means: By a quantity's name.
        differences: To the opponent, by a quantity's name.
        verdicts: On the differences, by a quantity's name.
    """

    group: Group
    opponent: Opponent
    means: Mapping[str, Mean]
    differences: Mapping[str, "Difference"] = field(default_factory=dict)
    verdicts: Mapping[str, "Verdict"] = field(default_factory=dict)

    @property
    def first(self) -> RunRow:
        """The run that stands for what all of them share."""
        return self.group[0]

    @property
    def name(self) -> str:
        """In words."""
        return arm_name(self.group)


@dataclass(frozen=True, kw_only=True)
class Study:
    """All arms of a table.

    Attributes:
        arms: In the order of the lines.
        quantities: What is measured, in the order of the columns or blocks.
        notes: Runs that are left out, by name and reason.
    """

    arms: Sequence[Arm]
    quantities: Sequence[Quantity]
    notes: Sequence[str] = ()

    @property
    def groups(self) -> list[Group]:
        """The arms' runs."""
        return [arm.group for arm in self.arms]

    @property
    def compares(self) -> bool:
        """Whether any arm is, or should have been, compared with another."""
        return any(arm.opponent.group or arm.opponent.reason for arm in self.arms)


def compared(
    groups: Sequence[Group],
    opponents: Sequence[Opponent],
    quantities: Sequence[Quantity],
    store: Store,
    *,
    step: Step | None = None,
) -> list[Arm]:
    """Measure every arm and decide on its difference to its opponent.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What is measured.
        store: Where the runs' match records are.
        step: Told about progress.

    Returns:
        The arms in their order. The verdicts are corrected for all comparisons among them.
    """
    found: list[dict[str, Difference]] = []
    for done, (group, opponent) in enumerate(zip(groups, opponents, strict=True), start=1):
        found.append(_differences(group, opponent, quantities, store))
        if step is not None:
            step(done, len(groups))
    verdicts = _decided(found)
    return [
        Arm(
            group=group,
            opponent=opponent,
            means=_means(group, quantities, store),
            differences=differences,
            verdicts=decided,
        )
        for group, opponent, differences, decided in zip(
            groups, opponents, found, verdicts, strict=True
        )
    ]


def _differences(
    group: Group, opponent: Opponent, quantities: Sequence[Quantity], store: Store
) -> dict[str, "Difference"]:
    if opponent.group is None:
        return {}
    from aqr_exp.results.inference.differences import compare_arms

    found: dict[str, Difference] = {}
    for condition, asked in _by_condition(quantities):
        metrics = [item.metric for item in asked]
        differences = compare_arms(opponent.group, group, metrics, store=store, condition=condition)
        found |= {item.name: differences[item.metric] for item in asked}
    return found


def _decided(found: Sequence[Mapping[str, "Difference"]]) -> list[dict[str, "Verdict"]]:
    """Verdicts where the differences stand, corrected over all of them."""
    if not any(found):
        return [{} for _ in found]
    from aqr_exp.results.inference.verdicts import decide

    flat = [(index, name) for index, item in enumerate(found) for name in item]
    verdicts: list[dict[str, Verdict]] = [{} for _ in found]
    decided = decide([found[index][name] for index, name in flat], alpha=ALPHA)
    for (index, name), verdict in zip(flat, decided, strict=True):
        verdicts[index][name] = verdict
    return verdicts


def _means(group: Group, quantities: Sequence[Quantity], store: Store) -> dict[str, Mean]:
    from aqr_exp.results.inference.differences import arm_intervals

    means: dict[str, Mean] = {}
    for condition, asked in _by_condition(quantities):
        metrics = [item.metric for item in asked]
        found = arm_intervals(group, metrics, store=store, condition=condition)
        means |= {item.name: found[item.metric] for item in asked}
    return means


def _by_condition(
    quantities: Sequence[Quantity],
) -> list[tuple[str | None, list[Quantity]]]:
    """Quantities of the same data together: their runs are resampled once."""
    conditions = dict.fromkeys(item.condition for item in quantities)
    return [
        (condition, [item for item in quantities if item.condition == condition])
        for condition in conditions
    ]
