"""Constraints of fields beyond their types; written with `Annotated`, read by the converter."""

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


class Table(dict[str, T]):
    """Values by name, never changed, so that a frozen configuration may hold them."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


@dataclass(frozen=True)
class Range:
    """A closed interval a number must lie in; for a tuple, every element must."""

    low: float
    high: float


@dataclass(frozen=True)
class NotInFingerprint:
    """The field cannot change the numbers of a run: it is left out of the identity."""


@dataclass(frozen=True)
class DefaultBefore:
    """Marks a field that came later: what runs did that were made before there was one.

    Their specifications lack it, and it is in no identity where it has this value, so that they
    remain the runs they are.
    """

    value: object
