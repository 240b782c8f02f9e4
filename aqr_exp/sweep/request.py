"""What a sweep asks for, wherever it was written."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from aqr_exp.config.points import Override
from aqr_exp.sweep.conditions import Condition
from aqr_exp.sweep.search import Search

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
