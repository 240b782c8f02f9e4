import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.synth.road import Road


def test_straight_road_by_hand() -> None:
    # North: s grows with y, d (left) grows towards -x.
    road = Road(x=10.0, y=20.0, heading=math.pi / 2, curvature=0.0)
    x, y = road.to_global(np.array([5.0]), np.array([2.0]))
    assert (x[0], y[0]) == pytest.approx((8.0, 25.0))


def test_left_bend_by_hand() -> None:
    # A quarter of a circle of 100 m to the left, from the origin heading east, ends at (100, 100).
    road = Road(x=0.0, y=0.0, heading=0.0, curvature=0.01)
    quarter = 100.0 * math.pi / 2
    x, y = road.to_global(np.array([quarter, quarter]), np.array([0.0, 10.0]))
    assert x == pytest.approx([100.0, 90.0])
    assert y == pytest.approx([100.0, 100.0])
    assert road.heading_at(np.array([quarter]))[0] == pytest.approx(math.pi / 2)


@given(
    st.floats(-100, 100),
    st.floats(-30, 30),
    st.floats(-math.pi, math.pi),
    st.one_of(st.just(0.0), st.floats(1 / 400, 1 / 110), st.floats(-1 / 110, -1 / 400)),
)
def test_from_global_inverts_to_global(
    s: float, d: float, heading: float, curvature: float
) -> None:
    road = Road(x=300.0, y=-20.0, heading=heading, curvature=curvature)
    back = road.from_global(*road.to_global(np.array([s]), np.array([d])))
    assert back[0][0] == pytest.approx(s, abs=1e-6)
    assert back[1][0] == pytest.approx(d, abs=1e-6)
