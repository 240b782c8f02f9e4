"""What a search is: how points are proposed, from where, towards what, and which are given up."""

from dataclasses import dataclass
from enum import Enum

from aqr_exp.config.points import Override


class Strategy(str, Enum):
    """How the next point is proposed."""

    OPTUNA = "optuna"
    RANDOM = "random"
    ASHA = "asha"


class PruneRule(str, Enum):
    """What makes a point hopeless."""

    BASELINE = "baseline"
    MEDIAN = "median"
    ASHA = "asha"


class Direction(str, Enum):
    """Which values of the objective are better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """When a point is given up before its training has ended.

    Attributes:
        rule: What it is compared with.
        margin: How far behind the baseline it may be, in the objective's unit.
        after_epochs: The first epoch that is judged.
    """

    rule: PruneRule
    margin: float = 0.0
    after_epochs: int = 1


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key of the search space: numbers of a closed range, or choices.

    Attributes:
        key: As typed.
        low: The smallest number; None for choices.
        high: The largest number.
        step: The distance of the numbers; None for all there are.
        whole: Whether only whole numbers are proposed.
        log: Whether ratios count instead of differences.
        choices: One override a choice; empty for numbers.
        where: File and line, for messages.
    """

    key: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    whole: bool = False
    log: bool = False
    choices: tuple[Override, ...] = ()
    where: str = ""

    def override(self, value: str | float) -> Override:
        """The override of a proposed value.

        Args:
            value: A number of the range, or a choice as it would be typed.
        """
        for choice in self.choices:
            if choice.text == value:
                return choice
        number = int(value) if self.whole else float(value)
        return Override(key=self.key, text=repr(number), value=number, where=self.where)

    def ends(self) -> tuple[Override, ...]:
        """What the space reaches to: the smallest and the largest number, or every choice."""
        if self.low is None or self.high is None:
            return self.choices
        return self.override(self.low), self.override(self.high)

    def __str__(self) -> str:
        """The values as they would be typed."""
        if self.low is None:
            return ",".join(choice.text for choice in self.choices)
        kind = "whole numbers " if self.whole else ""
        steps = f" in steps of {self.step:g}" if self.step is not None and self.step != 1 else ""
        return f"{kind}{self.low:g} to {self.high:g}{steps}{' (log)' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search over points.

    Attributes:
        strategy: Who proposes them.
        trials: How many points in all.
        space: Where they lie.
        objective: The metric of record they are judged by, in the mean over seeds.
        direction: Which of its values are better.
        pruning: When a point is given up early; None never.
    """

    strategy: Strategy
    trials: int
    space: tuple[Dimension, ...]
    objective: str = "mAP"
    direction: Direction = Direction.MAXIMIZE
    pruning: Pruning | None = None
