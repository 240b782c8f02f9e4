"""Memory of this process, as Linux reports it."""

import pytest

from aqr_exp.train import memory

MB = 10**6


def test_a_peak_is_seen_until_it_is_forgotten() -> None:
    if not memory.forget_peak():
        pytest.skip("the system does not let a process forget its peak")
    before = memory.resident_bytes()
    held = bytearray(b"x" * (200 * MB))
    assert memory.resident_bytes() - before > 150 * MB
    del held
    memory.give_back_free_memory()
    assert memory.resident_bytes(peak=True) - before > 150 * MB
    assert memory.resident_bytes() - before < 50 * MB
    assert memory.forget_peak()
    assert memory.resident_bytes(peak=True) - before < 50 * MB
