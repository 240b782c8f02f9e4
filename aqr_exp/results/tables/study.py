"""What a table is made of: arms, what each is compared with, and what is measured of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from aqr_exp.results.collect import RunRow
from aqr_exp.results.tables.arms import Group, arm_name
from aqr_exp.results.tables.baselines import Opponent
from aqr_exp.results.tables.measures import Measured, Measures
from aqr_exp.results.tables.quantities import Quantity


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One line of a table, or one line a block.

    Attributes:
        group: Its runs, one a seed.
        opponent: What it is compared with.
        measured: Its means, and its differences to the opponent.
    """

    group: Group
    opponent: Opponent
    measured: Measured

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
        seeds_for_wanted: See `Measures`.
        left_out: Runs that are not in it, by name and reason.
    """

    arms: Sequence[Arm]
    quantities: Sequence[Quantity]
    seeds_for_wanted: dict[str, int | None] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def groups(self) -> list[Group]:
        """The arms' runs."""
        return [arm.group for arm in self.arms]

    @property
    def compares(self) -> bool:
        """Whether any arm is, or should have been, compared with another."""
        return any(arm.opponent.group or arm.opponent.reason for arm in self.arms)


def study_of(
    groups: Sequence[Group],
    opponents: Sequence[Opponent],
    quantities: Sequence[Quantity],
    measures: Measures,
    left_out: Sequence[str],
) -> Study:
    """Put together what belongs to each arm.

    Args:
        groups: The arms.
        opponents: What each is compared with.
        quantities: What was measured.
        measures: The numbers.
        left_out: Runs that are not among them.
    """
    arms = [
        Arm(group=group, opponent=opponent, measured=measured)
        for group, opponent, measured in zip(groups, opponents, measures.arms, strict=True)
    ]
    return Study(
        arms=arms,
        quantities=quantities,
        seeds_for_wanted=measures.seeds_for_wanted,
        left_out=left_out,
    )
