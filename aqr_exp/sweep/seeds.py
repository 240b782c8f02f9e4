"""What a seed may be."""

from typing import Any, TypeGuard

from aqr_exp.config.fields import fields_of
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.constraints import Range

_LIMITS = next(spec.range for spec in fields_of(RunConfig) if spec.name == "seed") or Range(0, 0)
SEED_RULE = f"write a whole number from {_LIMITS.low} to {_LIMITS.high}"


def is_seed(value: Any) -> TypeGuard[int]:
    """Whether a value is a seed."""
    return type(value) is int and _LIMITS.low <= value <= _LIMITS.high
