import math

import numpy as np
import pytest
from made_up_runs import MadeUpStore

from aqr_exp.errors import RequestError
from aqr_exp.report.figures.classes_figure import classes_figure
from aqr_exp.store.collect import collect

HALF_OF_TWO = 12.7062047 / math.sqrt(2)


def test_each_class_has_a_mark_an_arm_and_its_count(made_up: MadeUpStore) -> None:
    counts = {"gt/car": 793, "gt/bus": 12}
    for seed, ap in enumerate((0.50, 0.54)):
        metrics = {"mAP": 0.3, "AP/car": ap, "AP/bus": 0.1}
        made_up.add("baseline", ["preset=quick"], seed, **metrics, **counts)
    made_up.add("attention_bias", [], 0, mAP=0.3, **{"AP/car": 0.6}, **counts | {"gt/bus": 13})
    figure = classes_figure(collect(made_up), store=made_up)
    (axes,) = figure.axes
    ticks = [tick.get_text() for tick in axes.get_yticklabels()]
    assert ticks == ["bus (12 to 13)", "car (793)"]
    baseline, other = axes.lines
    np.testing.assert_allclose(baseline.get_xdata(), [10, 52])
    np.testing.assert_allclose(baseline.get_ydata(), [0.15, 1.15])
    np.testing.assert_allclose([*other.get_xdata(), *other.get_ydata()], [60, 0.85])
    assert [line.get_label() for line in axes.lines] == [
        "baseline (n = 2)",
        "attention_bias (n = 1)",
    ]
    assert baseline.get_marker() != other.get_marker()
    (bars,) = axes.collections
    half = HALF_OF_TWO * 4 / math.sqrt(2)
    ends = [[(10, 0.15), (10, 0.15)], [(52 - half, 1.15), (52 + half, 1.15)]]
    np.testing.assert_allclose(bars.get_segments(), ends)
    assert axes.get_xlabel() == "AP (points), mean and 95 % interval"
    assert axes.get_ylabel() == "class (ground-truth boxes)"


def test_what_cannot_be_drawn_is_refused(made_up: MadeUpStore) -> None:
    with pytest.raises(RequestError, match=r"^no completed run has AP by class$"):
        classes_figure([], store=made_up)
    for scale in range(9):
        metrics = {"mAP": 0.3, "AP/car": 0.5}
        made_up.add("attention_bias", [f"bias_scale={1 + scale / 4}"], 0, **metrics)
    with pytest.raises(
        RequestError, match=r"^9 arms: at most 8 can be told apart: choose them by --of$"
    ):
        classes_figure(collect(made_up), store=made_up)
