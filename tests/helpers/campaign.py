"""Rounds of the slow campaigns: each is a test of its own, named after the seed it draws from."""

import os
from collections.abc import Callable
from typing import TypeVar

import pytest

MOST = int(os.environ.get("SOAK_ROUNDS", "100"))
FIRST = int(os.environ.get("SOAK_SEED", "100"))
HEADER = (
    f"campaigns: at most {MOST} rounds each (SOAK_ROUNDS), with the seeds from {FIRST} (SOAK_SEED)"
)

Test = TypeVar("Test", bound=Callable[..., object])


def campaign(rounds: int) -> Callable[[Test], Test]:
    """Mark a test as slow, and as one that is done for so many seeds; `SOAK_ROUNDS` may ask for fewer."""
    seeds = range(FIRST, FIRST + min(rounds, MOST))
    of_each = pytest.mark.parametrize("seed", seeds, ids="seed{}".format)
    patient = pytest.mark.timeout(3600)  # also where much else runs
    return lambda test: pytest.mark.slow(patient(of_each(test)))
