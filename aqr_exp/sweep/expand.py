"""Expansion of a request: its points and their baselines, each with the reason it is there."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from aqr_exp.config import BASELINE
from aqr_exp.config.compose import Override
from aqr_exp.config.conditions import chosen_names, looking_at
from aqr_exp.config.load import ConfigLoader
from aqr_exp.config.short_names import keys_set_by
from aqr_exp.config.variant_spec import lacks_group, lacks_part, part_of
from aqr_exp.errors import RequestError
from aqr_exp.sweep.request import Overrides, SweepRequest

POINT = "point"


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A point of a sweep or the baseline of one, without its seed.

    Attributes:
        label: The reason it is in the sweep.
        seeds: Those no condition leaves out.
    """

    variant: str
    overrides: Overrides
    label: str
    seeds: tuple[int, ...]


def sweep_points(
    request: SweepRequest, loader: ConfigLoader
) -> Iterator[SweepPoint | RequestError]:
    """Every point in order, or what is wrong with it, a baseline before the point that brings it.

    One without seeds was skipped.
    """
    several = len(request.all_variants) > 1
    for variant, shared, own in combinations(request):
        fitting = tuple(item for item in shared if not several or fits(variant, item))
        overrides = (*fitting, *own)
        try:
            seeds = _kept_seeds(request, loader, variant, overrides)
        except RequestError as error:
            yield error
            continue
        if request.baseline is not None and seeds:
            yield SweepPoint(
                variant=BASELINE,
                overrides=_of_baseline(overrides, request.baseline),
                label=BASELINE,
                seeds=seeds,
            )
        yield SweepPoint(variant=variant, overrides=overrides, label=POINT, seeds=seeds)


def combinations(request: SweepRequest) -> Iterator[tuple[str, Overrides, Overrides]]:
    """Every point but its seeds as (variant, overrides it shares, overrides of its own).

    Variants first, then the grid with its last axis fastest, then explicit points.
    """
    if request.lists_product:
        rows = list(zip(*(axis.values for axis in request.zipped), strict=True)) or [()]
        grid = [axis.values for axis in request.grid]
        for variant in request.variants:
            for values in itertools.product(*grid):
                for row in rows:
                    yield variant, (*request.fixed, *values, *row), ()
    for point in request.points:
        own = {override.key for override in point.overrides}
        kept = tuple(override for override in request.fixed if override.key not in own)
        if point.variant:
            yield point.variant, kept, point.overrides
        else:
            for variant in request.variants:
                yield variant, (*kept, *point.overrides), ()


def fits(variant: str, override: Override) -> bool:
    """Check that a variant has the part that an override changes."""
    part = part_of(keys_set_by(override.key)[0])
    return lacks_group(variant, override.key) is None and lacks_part(variant, part) is None


def fitting_nothing(request: SweepRequest) -> list[Override]:
    """Overrides that no variant of a sweep has a part for: they would silently do nothing."""
    written = [*request.fixed]
    written += [axis.values[0] for axis in (*request.grid, *request.zipped)]
    return [item for item in written if not any(fits(arm, item) for arm in request.all_variants)]


def _of_baseline(overrides: Sequence[Override], on_top: Overrides) -> Overrides:
    replaced = {item.key for item in on_top}
    kept = [item for item in overrides if fits(BASELINE, item) and item.key not in replaced]
    return (*kept, *on_top)


def _kept_seeds(
    request: SweepRequest, loader: ConfigLoader, variant: str, overrides: Overrides
) -> tuple[int, ...]:
    """The seeds of a point that no condition leaves out.

    Raises:
        RequestError: A condition compares what cannot be compared, or the point cannot be composed.
    """
    if not request.skip:
        return request.seeds
    composed = loader.mapping(variant, overrides)
    chosen = chosen_names(variant, overrides, composed, loader.groups)
    kept = request.seeds
    for condition in request.skip:
        try:
            if "seed" in condition.names:
                looks = {seed: looking_at(composed, chosen | {"seed": seed}) for seed in kept}
                kept = tuple(seed for seed in kept if not condition.holds(looks[seed]))
            elif condition.holds(looking_at(composed, chosen)):
                return ()
        except RequestError as error:
            placed = (replace(fault, where=condition.where) for fault in error.faults)
            raise RequestError(*placed) from None
    return kept
