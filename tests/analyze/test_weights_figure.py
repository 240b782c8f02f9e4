import math

import numpy as np
import pytest

from aqr_exp.analyze.bias_figures import weights_by_group_figure
from aqr_exp.report.figures.figure_file import rendered

GROUPS = {
    "car": np.array([[0.1, -0.4], [0.2, -0.4], [0.6, -0.4]]),
    "traffic_cone": np.array([[0.5, 0.25]]),
    "bus": np.zeros((0, 2)),
}


def test_means_and_intervals_by_hand() -> None:
    figure = weights_by_group_figure(GROUPS, title="By class", grouped_by="class")
    (axes,) = figure.axes
    lidar, camera = axes.containers
    # Mean .3; sd root(.07) = .264575; t(2) = 4.302653: half the interval is .657237.
    np.testing.assert_allclose(lidar[0].get_xydata(), [[-0.12, 0.3], [0.88, 0.5]])
    np.testing.assert_allclose(camera[0].get_xydata(), [[0.12, -0.4], [1.12, 0.25]])
    (bars,) = lidar[2]
    first, second = bars.get_segments()
    half = 4.302653 * math.sqrt(0.07) / math.sqrt(3)
    np.testing.assert_allclose(first[:, 1], [0.3 - half, 0.3 + half], atol=1e-6)
    np.testing.assert_allclose(second[:, 1], [0.5, 0.5])
    assert [bars.get_label() for bars in axes.containers] == ["LiDAR", "camera"]


def test_every_group_says_its_n() -> None:
    figure = weights_by_group_figure(GROUPS, title="By class", grouped_by="class", unit="scenes")
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["car\nn=3", "traffic\ncone\nn=1", "bus\nn=0"]
    assert axes.get_title(loc="left") == "By class"
    assert axes.get_xlabel() == "class"
    assert "95 % interval" in axes.get_ylabel()
    assert "n: scenes" in [text.get_text() for text in axes.texts]
    assert axes.get_ylim() == (-1.1, 1.1)
    assert axes.get_xlim() == (-0.5, 2.5)


def test_the_range_of_the_activation_is_shown() -> None:
    (axes,) = weights_by_group_figure(
        {"near": np.full((4, 2), 0.8)}, title="t", grouped_by="distance (m)", bounds=(0.0, 1.0)
    ).axes
    assert axes.get_ylim() == pytest.approx((-0.05, 1.05))


def test_groups_that_are_all_empty_are_a_picture_and_no_group_is_not() -> None:
    figure = weights_by_group_figure({"a": np.zeros((0, 2))}, title="t", grouped_by="g")
    assert rendered(figure, "png").startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"^weights by group need at least one group$"):
        weights_by_group_figure({}, title="t", grouped_by="g")
