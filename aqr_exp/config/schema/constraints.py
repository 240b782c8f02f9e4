"""What a field may hold beyond its type; read by the converter, written with `Annotated`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A closed interval a number must lie in; for a tuple, every element must."""

    low: float
    high: float


@dataclass(frozen=True)
class Excluded:
    """The field cannot change the numbers of a run: it is left out of the identity."""


@dataclass(frozen=True)
class Before:
    """Marks a field that came later: what runs did that were made before there was one.

    Their specifications lack it, and it stands in no identity where it has this value, so that they
    remain the runs they are.
    """

    value: object
