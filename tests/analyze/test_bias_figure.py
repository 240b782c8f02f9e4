import numpy as np
import pytest
from small_scene import LAYOUT, marks, rectangles, small_scene

from aqr_exp.analyze.bias_figures import bias_figure
from aqr_exp.report.figures.figure_file import rendered

QUERY = np.array([0.5, 2.5, 0.0])
# BEV cells (6, 5) and (7, 6), and tokens (1, 2) and (1, 3) of view 0.
INDEX = np.array([65, 76, 80 + 8, 80 + 9])
VALUE = np.array([2.0, 1.0, -1.5, 0.0])
FRONT = 2  # axes: from above, then front left, front, ...


def test_the_heat_lies_at_its_keys() -> None:
    figure = bias_figure(small_scene(), QUERY, INDEX, VALUE, title="A bias")
    assert len(figure.axes) == 1 + 6 + 1
    above, front = figure.axes[0], figure.axes[FRONT]
    heat = above.images[0]
    values = np.ma.filled(heat.get_array(), np.nan)
    # Drawn from the upper row (the largest y) down: row 6 of 8 is the second.
    assert np.argwhere(np.isfinite(values)).tolist() == [[0, 6], [1, 5]]
    assert (values[0, 6], values[1, 5]) == (1.0, 2.0)
    assert tuple(heat.get_extent()) == (-5.0, 5.0, -4.0, 4.0)
    assert heat.origin == "upper"
    tokens = np.ma.filled(front.images[1].get_array(), np.nan)
    assert np.argwhere(np.isfinite(tokens)).tolist() == [[1, 2], [1, 3]]
    assert (tokens[1, 2], tokens[1, 3]) == (-1.5, 0.0)
    assert np.isnan(np.ma.filled(figure.axes[1].images[1].get_array(), np.nan)).all()
    assert figure.get_suptitle() == "A bias"


def test_colours_are_the_same_everywhere_and_centred_at_zero() -> None:
    figure = bias_figure(small_scene(), QUERY, INDEX, VALUE)
    heats = [axes.images[-1] for axes in figure.axes[:7]]
    assert {heat.get_clim() for heat in heats} == {(-2.0, 2.0)}
    middle = heats[0].to_rgba(np.array([0.0]), alpha=1)[0]
    assert middle[:3].min() > 0.95
    assert figure.axes[7].get_ylabel() == "bias added to the attention score"
    fixed = bias_figure(small_scene(), QUERY, INDEX, VALUE, limit=5.0)
    assert fixed.axes[0].images[0].get_clim() == (-5.0, 5.0)


def test_windows_are_outlined_and_the_query_is_marked() -> None:
    figure = bias_figure(small_scene(), QUERY, INDEX, VALUE)
    ((x, y, width, height),) = rectangles(figure.axes[0])
    # From the upper left corner down: columns 5 and 6, rows 7 and 6.
    assert (x, y, width, height) == (0.0, 4.0, 2.0, -2.0)
    assert rectangles(figure.axes[FRONT]) == [(40.0, 10.0, 40.0, 10.0)]
    assert marks(figure.axes[0]) == [(0.5, 2.5)]
    assert marks(figure.axes[FRONT]) == [(70.0, 20.0)]
    assert all(marks(axes) == [] for axes in (figure.axes[1], *figure.axes[3:7]))


def test_from_above_shows_the_querys_surroundings_or_everything() -> None:
    near = bias_figure(small_scene(), QUERY, INDEX, VALUE, around_m=2.0).axes[0]
    assert (near.get_xlim(), near.get_ylim()) == ((-1.5, 2.5), (0.5, 4.5))
    whole = bias_figure(small_scene(), QUERY, INDEX, VALUE, around_m=None).axes[0]
    assert (whole.get_xlim(), whole.get_ylim()) == ((-5.0, 5.0), (-4.0, 4.0))


@pytest.mark.parametrize("value", [0.0, 1e300])
def test_a_global_bias_and_none_at_all_can_be_drawn(value: float) -> None:
    every = np.arange(LAYOUT.keys)
    figure = bias_figure(small_scene(), QUERY, every, np.full(LAYOUT.keys, value), around_m=None)
    assert np.isfinite(figure.axes[0].images[0].get_array()).all()
    assert rendered(figure, "png").startswith(b"\x89PNG")
    nothing = bias_figure(small_scene(), QUERY, np.zeros(0, dtype=int), np.zeros(0))
    assert nothing.axes[0].images[0].get_clim() == (-0.001, 0.001)
    assert rendered(nothing, "png").startswith(b"\x89PNG")
