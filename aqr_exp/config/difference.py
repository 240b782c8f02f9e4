"""Key by key: what makes two runs the same, replicates of one another, or different."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aqr_exp.config.fields import fields_of
from aqr_exp.config.schema import RunConfig

ABSENT = "absent"


class Bearing(str, Enum):
    """What a differing key means for the identity of two runs."""

    COUNTS = "counts"
    REPLICATE = "replicate"
    NEUTRAL = "neutral"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One key that two runs differ in.

    Attributes:
        key: Dotted.
        ours: The value in one; `ABSENT` where it has no such key.
        theirs: The value in the other.
        bearing: Whether it changes the identity, is the seed, or cannot change the numbers.
    """

    key: str
    ours: Any
    theirs: Any
    bearing: Bearing


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[Difference]:
    """Every key that two complete configurations differ in, in the order of the schema.

    Args:
        ours: Plain values: what `spec.yaml` holds; one of another version will do.
        theirs: The other's.

    Returns:
        Keys that count first, then the seed, then those that change nothing.
    """
    order = list(Bearing)
    found = _walk(ours, theirs, RunConfig, "", excluded=False)
    return sorted(found, key=lambda item: order.index(item.bearing))


def _walk(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], cls: Any, prefix: str, *, excluded: bool
) -> Iterator[Difference]:
    specs = {spec.name: spec for spec in fields_of(cls)} if cls else {}
    names = dict.fromkeys([*specs, *ours, *theirs])
    for name in names:
        one, other = ours.get(name), theirs.get(name)
        if one == other and isinstance(one, bool) == isinstance(other, bool):
            continue
        spec = specs.get(name)
        # One run is too old to have the key, which does in the other what was done before.
        older = one is None or other is None
        if spec is not None and older and spec.is_as_before(other if one is None else one):
            continue
        neutral = excluded or (spec is not None and spec.excluded)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            inner = spec.type if spec is not None and spec.nested else None
            yield from _walk(one, other, inner, f"{prefix}{name}.", excluded=neutral)
            continue
        bearing = Bearing.NEUTRAL if neutral else Bearing.COUNTS
        if f"{prefix}{name}" == "seed":
            bearing = Bearing.REPLICATE
        # A part that only one has: an arm with a router beside one without.
        yield Difference(
            key=f"{prefix}{name}",
            ours=ABSENT if one is None else one,
            theirs=ABSENT if other is None else other,
            bearing=bearing,
        )
