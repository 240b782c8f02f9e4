"""What a field may hold beyond its type; read by the converter, written with `Annotated`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """A closed interval a number must lie in; for a tuple, every element must."""

    low: float
    high: float


@dataclass(frozen=True)
class ExcludedAtDefault:
    """The field is left out of the identity as long as it has its default.

    For a field that came after runs were made with what is now its default.
    """


@dataclass(frozen=True)
class Excluded:
    """The field cannot change the numbers of a run: it is left out of the identity."""
