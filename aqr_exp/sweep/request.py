"""The request for a sweep: its points or its search, and the words typed beside its file."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aqr_exp.config.compose import Override
from aqr_exp.config.conditions import Condition
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.errors import Fault, RequestError
from aqr_exp.statistics.metrics import PRIMARY, SESOI_POINTS
from aqr_exp.sweep import search
from aqr_exp.sweep.search import Dimension, Search

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
class ExplicitPoint:
    """One point that is written out; its overrides win over the fixed ones.

    Without a variant it takes those of the sweep.
    """

    variant: str | None
    overrides: Overrides


@dataclass(frozen=True, kw_only=True)
class UntilDecided:
    """How `--until-decided` adds seeds.

    Attributes:
        start: Seeds of every arm at the first look.
        max_seeds: Those at the last one.
        sesoi: The smallest effect of interest, in points.
    """

    start: int = 3
    max_seeds: int = 10
    sesoi: float = SESOI_POINTS


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """A sweep: fixed overrides with a product of axes, with explicit points, or both.

    Attributes:
        source: The file, or empty for one that was typed.
        origin: The file's whole path; of a shipped one its name; empty for one that was typed.
        words: What was typed beside the file or variant.
        fixed: Overrides of every point.
        grid: Axes of a product.
        zipped: Axes that move together, all of one length.
        points: Explicit points, beside the product.
        skip: Conditions; a point that one of them is true of is left out.
        seeds: Replicates of every point.
        baseline: None, or that every point brings its baseline: the same without what the baseline
            has no part for, with these overrides on top.
        arms: Conditions; arms of which any is true are the family, the others exploratory. Without them
            all are.
        primary: The metric that arms are judged by; every other one is exploratory.
        factors: What its arms may differ in besides their variant, and still be compared.
        until: How seeds are added until it decides.
        search: None, or that points are proposed instead of listed: then there are no axes.
    """

    name: str
    source: str = ""
    origin: str = ""
    words: str = ""
    description: str = ""
    variants: tuple[str, ...]
    fixed: Overrides = ()
    grid: tuple[Axis, ...] = ()
    zipped: tuple[Axis, ...] = ()
    points: tuple[ExplicitPoint, ...] = ()
    skip: tuple[Condition, ...] = ()
    seeds: tuple[int, ...] = (0,)
    baseline: Overrides | None = None
    arms: tuple[Condition, ...] = ()
    primary: str = PRIMARY
    factors: tuple[str, ...] = ()
    until: UntilDecided = UntilDecided()
    search: Search | None = None

    @property
    def family(self) -> tuple[str, ...]:
        """The arms that are one, in words."""
        return tuple(condition.text for condition in self.arms)

    @property
    def lists_product(self) -> bool:
        """Points come from the product, which may be a single one."""
        return bool(self.grid or self.zipped or not self.points)

    @property
    def size(self) -> int:
        """The number of points, before any is skipped or found to be another, without seeds."""
        product = 0
        if self.lists_product:
            product = len(self.variants) * (len(self.zipped[0].values) if self.zipped else 1)
            for axis in self.grid:
                product *= len(axis.values)
        return product + sum(1 if point.variant else len(self.variants) for point in self.points)

    @property
    def all_variants(self) -> tuple[str, ...]:
        """Every variant it names, those of explicit points included."""
        own = [point.variant for point in self.points if point.variant]
        return tuple(dict.fromkeys([*self.variants, *own]))


def overlap(one: str, other: str) -> bool:
    """Check whether two keys, aliases included, set a key in common."""
    return bool(set(keys_set_by(one)) & set(keys_set_by(other)))


def with_typed(
    request: SweepRequest,
    axes: Sequence[Axis],
    settings: Mapping[str, Any],
    space: Sequence[Dimension],
    seeds: tuple[int, ...] | None,
) -> SweepRequest:
    """A request with what was typed beside it, which wins over what its file says.

    Args:
        axes: Keys with one value each, or several, that do not clash with the request.
        settings: Settings of a search, by name.
        seeds: They replace the seeds; None keeps them.

    Raises:
        RequestError: The file lists its points, or the search is not whole.
    """
    fixed, grid = list(request.fixed), list(request.grid)
    for axis in axes:
        fixed = [item for item in fixed if not overlap(item.key, axis.key)]
        replaced = [at for at, other in enumerate(grid) if overlap(other.key, axis.key)]
        grid = [other for at, other in enumerate(grid) if at not in replaced]
        if len(axis.values) == 1:
            fixed += axis.values
        else:
            grid.insert(replaced[0] if replaced else len(grid), axis)
    known = request.search
    if seeds is not None:
        request = dataclasses.replace(request, seeds=seeds)
    if known is None and not settings:
        return dataclasses.replace(request, fixed=tuple(fixed), grid=tuple(grid))
    if grid or request.zipped or request.points:
        rule = f"{request.source} lists its points: a search proposes them"
        raise RequestError(Fault("strategy", None, rule))
    taken = [item.key for item in fixed] + [item.key for item in space]
    kept = [] if known is None else known.space
    whole = [item for item in kept if not any(overlap(item.key, key) for key in taken)]
    whole += space
    return dataclasses.replace(
        request,
        fixed=tuple(i for i in fixed if not any(overlap(i.key, item.key) for item in whole)),
        search=search.search_of(_settings(known, settings), tuple(whole)),
    )


def clash(axis: Axis, request: SweepRequest) -> Fault | None:
    """The fault of a key that zip or points already give values to, or that is set in part."""
    key, rule = axis.key, None
    taken = [other.key for other in request.zipped]
    taken += [item.key for point in request.points for item in point.overrides]
    if any(overlap(key, other) for other in taken):
        rule = "gives it values under zip or points: change them there"
    elif request.points and len(axis.values) > 1:
        rule = "holds explicit points: give one value, or edit it there"
    else:
        for other in [item.key for item in request.grid] + [item.key for item in request.fixed]:
            if overlap(key, other) and set(keys_set_by(key)) != set(keys_set_by(other)):
                rule = f"sets it by '{other}': change that"
    return Fault(f"'{key}'", None, f"{request.source} {rule}") if rule else None


def _settings(known: Search | None, typed: Mapping[str, Any]) -> dict[str, Any]:
    """What a file writes and what was typed, which also takes what qualified a value it replaces."""
    written = dict(known.written) if known else {}
    if known and typed.get("objective", known.objective) != known.objective:
        written.pop("direction", None)
    if "prune" in typed and typed["prune"] != written.get("prune"):
        written.pop("prune.margin", None)
    return written | dict(typed)
