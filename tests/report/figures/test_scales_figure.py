import numpy as np
import pytest
from made_up_runs import MadeUpStore

from aqr_exp.errors import RequestError
from aqr_exp.report.figures.curves_figure import bounds_of, scales_figure
from aqr_exp.report.figures.training_curves import arm_curves
from aqr_exp.store.collect import collect

BOUNDS = ((0, 0.5, 5.0), (1, 0.1, 6.0))


def store_with(store: MadeUpStore, *, scales: dict[str, list[float]], seeds: int = 1) -> None:
    for seed in range(seeds):
        folder = store.add("attention_bias", ["preset=quick"], seed, mAP=0.3)
        for place in range(2):
            at = {"epoch": place + 1, "step": 10 * (place + 1)}
            folder.append_history({"kind": "train", **at, "loss": 1.0})
            values = {name: series[place] + seed for name, series in scales.items()}
            folder.append_history({"kind": "arm", **at, **values, "scale_gradient": 0.1})


def test_the_scale_its_spread_and_its_bounds_are_drawn(made_up: MadeUpStore) -> None:
    store_with(made_up, scales={"scale": [2.5, 3.0], "scale_of_max": [0.5, 0.6]}, seeds=2)
    arms = arm_curves(collect(made_up), made_up)
    figure = scales_figure(arms, [BOUNDS])
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["attention_bias (n = 2)", "lower bound", "upper bound"]
    np.testing.assert_allclose(lines["attention_bias (n = 2)"].get_xdata(), [1, 2])
    np.testing.assert_allclose(lines["attention_bias (n = 2)"].get_ydata(), [3.0, 3.5])
    np.testing.assert_allclose(lines["lower bound"].get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(lines["lower bound"].get_ydata(), [0.5, 0.1, 0.1])
    np.testing.assert_allclose(lines["upper bound"].get_ydata(), [5, 6, 6])
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (2.5, 4.0)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "bias scale")


def test_each_of_several_scales_has_its_line(made_up: MadeUpStore) -> None:
    store_with(made_up, scales={"scale_lidar": [2.5, 3.0], "scale_camera": [2.5, 2.0]})
    (axes,) = scales_figure(arm_curves(collect(made_up), made_up), [None]).axes
    assert [line.get_label() for line in axes.lines] == [
        "attention_bias (n = 1): scale_lidar",
        "attention_bias (n = 1): scale_camera",
    ]


def test_bounds_are_those_of_a_learnable_scale_that_is_held() -> None:
    scale = {"learnable": True, "minimum": 0.5, "maximum": 5.0, "anneal": [[1, 0.1, 6.0]]}
    settings = {"name": "attention_bias"}
    assert bounds_of({"variant": settings | {"bias": {"scale": scale}}}) == BOUNDS
    early = scale | {"anneal": [[0, 1.0, 2.0]]}
    assert bounds_of({"variant": settings | {"bias": {"scale": early}}}) == ((0, 1.0, 2.0),)
    for fixed in ({"learnable": False}, {"constraint": "l2"}):
        assert bounds_of({"variant": settings | {"bias": {"scale": scale | fixed}}}) is None
    for other in ({"name": "baseline"}, {"name": "removed"}, {}, None):
        assert bounds_of({"variant": other}) is None


def test_no_scale_no_figure(made_up: MadeUpStore) -> None:
    with pytest.raises(RequestError, match=r"^no run has a bias scale in its history"):
        scales_figure([], [])
