import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.aqr.windows import window_offsets


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
