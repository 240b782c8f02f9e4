"""What a search is: how points are proposed, from where, towards what, and which are given up."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from aqr_exp.config.compose import Override
from aqr_exp.config.conditions import Condition


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


Overrides = tuple[Override, ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One key and the values it takes in turn.

    Attributes:
        key: As typed.
        values: One override a value, at least one.
        where: File and line, for messages.
    """

    key: str
    values: Overrides
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Corner:
    """One explicit point.

    Attributes:
        variant: Its variant; None takes those of the sweep.
        overrides: Its keys; they win over the fixed ones.
    """

    variant: str | None
    overrides: Overrides


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A sweep: fixed overrides with a product of axes, with explicit points, or both.

    Attributes:
        name: Its name.
        source: The file, or empty for one that was typed.
        description: What it is for.
        variants: The arms, in order.
        fixed: Overrides of every point.
        grid: Axes of a product.
        zipped: Axes that move together, all of one length.
        points: Explicit points, beside the product.
        skip: Conditions; a point that one of them is true of is left out.
        seeds: Replicates of every point.
        baseline: None, or that every point brings its baseline: the same without what the baseline
            has no part for, with these overrides on top.
        search: None, or that points are proposed instead of listed: then there are no axes.
    """

    name: str
    source: str = ""
    description: str = ""
    variants: tuple[str, ...]
    fixed: Overrides = ()
    grid: tuple[Axis, ...] = ()
    zipped: tuple[Axis, ...] = ()
    points: tuple[Corner, ...] = ()
    skip: tuple[Condition, ...] = ()
    seeds: tuple[int, ...] = (0,)
    baseline: Overrides | None = None
    search: Search | None = None

    @property
    def size(self) -> int:
        """How many points it has before any is skipped or found to be another, seeds apart."""
        product = 0
        if self.grid or self.zipped or not self.points:
            product = len(self.variants) * (len(self.zipped[0].values) if self.zipped else 1)
            for axis in self.grid:
                product *= len(axis.values)
        return product + sum(1 if corner.variant else len(self.variants) for corner in self.points)

    @property
    def arms(self) -> tuple[str, ...]:
        """Every variant it names, those of explicit points included."""
        own = [corner.variant for corner in self.points if corner.variant]
        return tuple(dict.fromkeys([*self.variants, *own]))

    def corners(self) -> Iterator[tuple[str, Overrides, Overrides]]:
        """Every point but its seeds as (variant, overrides it shares, overrides of its own).

        Variants first, then the grid with its last axis fastest, then explicit points.
        """
        if self.grid or self.zipped or not self.points:
            rows = list(zip(*(axis.values for axis in self.zipped), strict=True)) or [()]
            grid = [axis.values for axis in self.grid]
            for variant in self.variants:
                for values in itertools.product(*grid):
                    for row in rows:
                        yield variant, (*self.fixed, *values, *row), ()
        for corner in self.points:
            own = {override.key for override in corner.overrides}
            kept = tuple(override for override in self.fixed if override.key not in own)
            if corner.variant:
                yield corner.variant, kept, corner.overrides
            else:
                for variant in self.variants:
                    yield variant, (*kept, *corner.overrides), ()
