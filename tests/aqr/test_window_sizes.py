import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.windows import cells_for, window_offsets


@pytest.mark.parametrize(
    ("size", "offsets"),
    [
        (1, [0]),
        (2, [0, 1]),
        (3, [-1, 0, 1]),
        (4, [-1, 0, 1, 2]),
        (5, [-2, -1, 0, 1, 2]),
        (8, [-3, -2, -1, 0, 1, 2, 3, 4]),
    ],
)
def test_window_offsets(size, offsets):
    assert window_offsets(size).tolist() == offsets


@given(st.integers(1, 60))
def test_odd_windows_are_symmetric_and_even_ones_reach_one_further_ahead(size):
    offsets = window_offsets(size)
    assert len(offsets) == size
    assert offsets[0] + offsets[-1] == (size + 1) % 2
    assert (offsets.diff() == 1).all()


def test_a_window_of_no_cells_is_refused():
    with pytest.raises(ValueError, match="a window must be at least 1 cell wide, not 0"):
        window_offsets(0)


@pytest.mark.parametrize(
    ("size", "pitch", "cells"),
    [(4.0, 0.8, 5), (3.9, 0.8, 5), (2.0, 0.8, 3), (0.1, 0.8, 1), (128, 16, 8), (1e6, 1.0, 10**6)],
)
def test_cells_for_a_size_in_metres_or_pixels(size, pitch, cells):
    assert cells_for(size, pitch) == cells


@pytest.mark.parametrize(
    ("size", "pitch", "message"),
    [
        (0.0, 0.8, "the size of a window must be positive and finite, not 0.0"),
        (-1.0, 0.8, "the size of a window must be positive and finite, not -1.0"),
        (float("nan"), 0.8, "the size of a window must be positive and finite, not nan"),
        (float("inf"), 0.8, "the size of a window must be positive and finite, not inf"),
        (4.0, 0.0, "the pitch of a window must be positive and finite, not 0.0"),
    ],
)
def test_cells_for_no_size_is_refused(size, pitch, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cells_for(size, pitch)
