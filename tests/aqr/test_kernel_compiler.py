"""How kernels are compiled."""

import re

import numpy as np
import pytest

from aqr_exp.aqr.attention import compiler


@pytest.fixture
def nothing_kept(monkeypatch):
    """Machine code that is compiled here and now."""
    monkeypatch.setattr(compiler, "_cache_folder", lambda: None)


def test_a_kernel_calls_no_other_by_name(nothing_kept):
    def part(row, other):
        total = np.float32(0.0)
        for i in range(len(row)):
            total += abs(row[i] / other - row[i])
            row[i] -= total
        return total

    part = compiler.compiled(loose=True)(part)

    def whole_kernel(rows):
        total = np.float32(0.0)
        for i in range(len(rows)):
            total += part(rows[i], np.float32(2.0)) * part(rows[i], np.float32(4.0))
        return total

    kernel = compiler.compiled(loose=True)(whole_kernel)
    # By hand: |1/2 - 1| = 1/2 leaves 1/2, of which 3/8 is kept away; 1/2 * 3/8.
    assert kernel(np.ones((1, 1), np.float32)) == 0.1875
    (code,) = kernel.inspect_asm().values()
    named = set(re.findall(r"_ZN(?!08NumbaEnv)\w*?(part|whole_kernel)B", code))
    assert named == {"whole_kernel"}
