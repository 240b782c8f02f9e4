"""Which arm of the comparison a run is."""

from dataclasses import dataclass
from enum import Enum


class VariantName(str, Enum):
    """The variants that can be trained."""

    BASELINE = "baseline"


@dataclass(frozen=True, kw_only=True)
class VariantConfig:
    """The declared factor of an experiment.

    Attributes:
        name: Which variant this is.
    """

    name: VariantName
