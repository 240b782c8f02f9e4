import numpy as np
import pytest

from aqr_exp.analyze.softmax import responses, slope, window_mass
from aqr_exp.analyze.softmax_figure import softmax_figure
from aqr_exp.report.figures.figure_file import rendered

WEIGHTS, SCALES = (0.0, 0.8, -0.6, 0.3), (1.0, 2.5, 5.0)


def test_curves_go_through_the_tables_numbers() -> None:
    figure = softmax_figure(WEIGHTS, SCALES, (25, 64), 22_384)
    probability, saturation, mass = figure.axes
    marks = [line for line in probability.lines if line.get_linestyle() == "None"]
    assert len(marks) == len(WEIGHTS)
    expected = np.stack([item.probabilities for item in responses(WEIGHTS, SCALES)])
    for index, line in enumerate(marks):
        assert list(line.get_xdata()) == list(SCALES)
        np.testing.assert_array_equal(line.get_ydata(), expected[:, index])
    assert saturation.lines[0].get_ydata()[0] == slope(0.0) == 0.25
    assert mass.lines[0].get_ydata()[-1] == window_mass(10.0, 25, 22_384)
    labels = [text.get_text() for text in probability.get_legend().get_texts()]
    assert labels == ["weight 0", "weight 0.8", "weight -0.6", "weight 0.3"]
    assert [text.get_text() for text in mass.get_legend().get_texts()] == [
        "window of 25: half at 6.80",
        "window of 64: half at 5.85",
    ]


def test_every_panel_says_what_it_shows() -> None:
    figure = softmax_figure(WEIGHTS, SCALES, (25,), 22_384)
    assert len(figure.axes) == 3
    for axes in figure.axes:
        assert axes.get_title(loc="left")
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    regions = [text.get_text() for text in figure.axes[1].texts]
    assert [name for name in regions if name.isalpha()] == [
        "responsive",
        "safe",
        "edge",
        "saturated",
    ]


@pytest.mark.parametrize("weights", [(0.0, 0.0), tuple(np.linspace(-1, 1, 16).tolist())])
@pytest.mark.parametrize("scales", [(0.0,), (1e6, 1.0)])
def test_extremes_can_be_drawn(weights: tuple[float, ...], scales: tuple[float, ...]) -> None:
    picture = rendered(softmax_figure(weights, scales, (1, 9), 10), "png")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
