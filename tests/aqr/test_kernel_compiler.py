"""Compilation of the kernels."""

import re

import numpy as np
import pytest

from aqr_exp.aqr.attention import kernel_parts


@pytest.fixture
def nothing_kept(monkeypatch):
    """Machine code that is compiled here and now."""
    monkeypatch.setattr(kernel_parts, "_cache_folder", lambda: None)


def test_a_kernel_calls_no_other_by_name(nothing_kept):
    def part(row, other):
        total = np.float32(0.0)
        for i in range(len(row)):
            total += abs(row[i] / other - row[i])
            row[i] -= total
        return total

    part = kernel_parts.compiled(loose=True)(part)

    def whole_kernel(rows):
        total = np.float32(0.0)
        for i in range(len(rows)):
            total += part(rows[i], np.float32(2.0)) * part(rows[i], np.float32(4.0))
        return total

    kernel = kernel_parts.compiled(loose=True)(whole_kernel)
    # By hand: |1/2 - 1| = 1/2 leaves 1/2, of which 3/8 is kept away; 1/2 * 3/8.
    assert kernel(np.ones((1, 1), np.float32)) == 0.1875
    (code,) = kernel.inspect_asm().values()
    named = set(re.findall(r"_ZN(?!08NumbaEnv)\w*?(part|whole_kernel)B", code))
    assert named == {"whole_kernel"}


def test_the_machine_code_s_folder_follows_every_byte_of_the_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_parts.numba.config, "CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(kernel_parts, "__file__", str(tmp_path / "kernel_parts.py"))
    folder = kernel_parts._cache_folder.__wrapped__
    with pytest.raises(RuntimeError, match=r"^no kernels beside their compiler: "):
        folder()
    (tmp_path / "kernel_parts.py").write_bytes(b"a = 1\n")
    (tmp_path / "window_kernels.py").write_bytes(b"b = 1\n")
    first = folder()
    assert first == folder()
    assert first.parent == tmp_path / "kept"
    for name in ("kernel_parts.py", "window_kernels.py", "other_kernels.py"):
        (tmp_path / name).write_bytes(b"b = 2\n")
        assert folder() != first, name
        first = folder()
