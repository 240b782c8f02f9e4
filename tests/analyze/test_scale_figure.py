import numpy as np
import pytest

from aqr_exp.analyze.bias_figures import scale_history_figure
from aqr_exp.report.figures.figure_file import rendered

STEPS = np.array([1, 10, 20])
SCALES = np.array([[2.5, 2.5], [2.6, 2.4], [2.8, 2.2]])


def test_scales_bounds_and_the_warning_are_drawn() -> None:
    figure = scale_history_figure(
        STEPS,
        SCALES,
        names=("LiDAR", "camera"),
        minimum=0.5,
        maximum=np.array([2.5, 4.0, 5.0]),
        warn_threshold=4.0,
    )
    (axes,) = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(drawn) == ["LiDAR", "camera", "lower bound", "upper bound", "warning above 4"]
    np.testing.assert_array_equal(drawn["LiDAR"], [2.5, 2.6, 2.8])
    np.testing.assert_array_equal(drawn["camera"], [2.5, 2.4, 2.2])
    np.testing.assert_array_equal(drawn["lower bound"], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(drawn["upper bound"], [2.5, 4.0, 5.0])
    assert list(drawn["warning above 4"]) == [4.0, 4.0]
    assert len(axes.collections) == 1
    assert axes.get_xlim() == (0, 20)
    assert axes.get_ylim()[0] == 0
    assert [axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()] == [
        "Bias scale over training",
        "training step",
        "bias scale",
    ]


def test_without_bounds_only_the_scales_are_drawn() -> None:
    (axes,) = scale_history_figure(STEPS, SCALES[:, :1], names=("scale",)).axes
    assert [line.get_label() for line in axes.lines] == ["scale"]
    assert len(axes.collections) == 0


def test_each_layer_has_a_line_of_its_own() -> None:
    names = [f"layer {layer}" for layer in range(9)]
    (axes,) = scale_history_figure(STEPS, np.ones((3, 9)), names=names).axes
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(looks) == 9


def test_names_must_be_as_many_as_scales() -> None:
    with pytest.raises(ValueError, match=r"^1 names for 2 scales$"):
        scale_history_figure(STEPS, SCALES, names=("one",))


def test_no_history_is_a_picture_too() -> None:
    figure = scale_history_figure(np.zeros(0, dtype=int), np.zeros((0, 1)), names=("scale",))
    assert rendered(figure, "png").startswith(b"\x89PNG")
