"""Fixtures for the method's arithmetic."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from aqr_exp.aqr.attention import parallel


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def kernel_threads(threads, monkeypatch) -> Callable[[int], None]:
    """Sets how many threads share the kernels' work, however little.

    Torch's own products of matrices keep to one thread: on some machines their bits depend on it.
    """
    threads(1)
    monkeypatch.setattr(parallel, "_LEAST_SHARED", 1)

    def set_count(count: int) -> None:
        stand_in = SimpleNamespace(get_num_threads=lambda: count)
        monkeypatch.setattr(parallel, "torch", stand_in)

    return set_count
