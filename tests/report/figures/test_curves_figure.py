from typing import Any

import numpy as np
import pytest
from made_up_runs import MadeUpStore

from aqr_exp.errors import RequestError
from aqr_exp.report.figures.curves_figure import curves_figure
from aqr_exp.report.figures.training_curves import arm_curves, over_seeds, smoothed
from aqr_exp.store.collect import collect


def train(epoch: int, step: int, loss: float | None) -> dict[str, Any]:
    return {"kind": "train", "epoch": epoch, "step": step, "loss": loss}


def val(epoch: int, mean_ap: float) -> dict[str, Any]:
    return {"kind": "val", "epoch": epoch, "mAP": mean_ap}


def test_a_resumed_run_is_one_curve(made_up: MadeUpStore) -> None:
    folder = made_up.add("baseline", ["preset=quick"], 0, mAP=0.3)
    history = [
        *(train(1, 10, 5.0), train(1, 20, 4.0), val(1, 0.1)),
        *(train(2, 30, 3.0), train(2, 40, 2.9), val(2, 0.9), train(3, 50, 2.8)),
        # Killed in its third epoch, and taken up from the end of the first.
        *(train(2, 30, 2.0), train(2, 40, 1.9), val(2, 0.2), train(3, 50, 1.8), train(3, 60, 1.7)),
        {"kind": "warning", "message": "lines without a place are left out"},
        {"kind": "train", "epoch": 3, "step": "torn", "loss": 9.0},
    ]
    for line in history:
        folder.append_history(line)
    (arm,) = arm_curves(collect(made_up), made_up)
    (run,) = arm.runs
    losses = {0.5: 5.0, 1.0: 4.0, 1.5: 2.0, 2.0: 1.9, 2.5: 1.8, 3.0: 1.7}
    assert run.series("train", "loss") == losses
    assert run.series("val", "mAP") == {1.0: 0.1, 2.0: 0.2}


def test_curves_are_means_where_all_seeds_are() -> None:
    assert over_seeds([{1.0: 2.0, 2.0: 3.0, 3.0: 9.0}, {1.0: 4.0, 2.0: 5.0}]) == (
        [1.0, 2.0],
        [[2.0, 4.0], [3.0, 5.0]],
    )
    assert over_seeds([]) == ([], [])


def test_a_running_mean_is_narrower_at_the_ends() -> None:
    curve = {1.0: 3.0, 2.0: 6.0, 3.0: 0.0, 4.0: 12.0}
    assert smoothed(curve, 3) == {1.0: 4.5, 2.0: 3.0, 3.0: 6.0, 4.0: 6.0}
    assert smoothed(curve, 1) == curve


@pytest.fixture
def trained(made_up: MadeUpStore) -> MadeUpStore:
    """Two seeds of the baseline and one of another arm; steps_an_epoch is 20."""
    for seed in (0, 1):
        folder = made_up.add("baseline", ["preset=quick"], seed, mAP=0.3 + seed / 10)
        for line in (train(1, 10, 6.0 + seed), train(1, 20, 4.0 + seed), val(1, 0.1)):
            folder.append_history(line)
        for line in (train(2, 30, 3.0), train(2, 40, 2.0 + seed), val(2, 0.2 + seed / 10)):
            folder.append_history(line)
    other = made_up.add("attention_bias", ["preset=quick"], 0)
    other.write_progress({"steps": 40, "epochs": 2})
    other.append_history(train(1, 10, 5.0))
    made_up.add("attention_bias", ["preset=quick"], 1)
    return made_up


def test_both_panels_are_drawn(trained: MadeUpStore) -> None:
    figure = curves_figure(arm_curves(collect(trained), trained), store=trained)
    losses, metrics = figure.axes
    baseline, other = losses.lines
    np.testing.assert_allclose(baseline.get_xdata(), [0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(baseline.get_ydata(), [6.5, 4.5, 3.0, 2.5])
    np.testing.assert_allclose([*other.get_xdata(), *other.get_ydata()], [0.5, 5.0])
    labels = [line.get_label() for line in losses.lines]
    assert labels == ["baseline (n = 2)", "attention_bias (n = 1, 1 unfinished)"]
    assert baseline.get_linestyle() != other.get_linestyle()
    (band,) = losses.collections
    vertices = band.get_paths()[0].vertices
    at_half = vertices[np.isclose(vertices[:, 0], 0.5), 1]
    assert (at_half.min(), at_half.max()) == (6.0, 7.0)
    curve, record = metrics.lines
    np.testing.assert_allclose(curve.get_xdata(), [1, 2])
    np.testing.assert_allclose(curve.get_ydata(), [10, 25])
    np.testing.assert_allclose([*record.get_xdata(), *record.get_ydata()], [2, 35])
    assert record.get_label() == "metric of record, 95 % interval"
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "training loss")
    assert metrics.get_ylabel() == "mAP (points)"
    assert metrics.get_title(loc="left") == "while training, band: range over seeds"
    assert figure.get_suptitle() == "SYNTHETIC data, not comparable with nuScenes"


def test_resumes_are_said(trained: MadeUpStore) -> None:
    folder = [each for each in trained if each.name.startswith("baseline")][1]
    folder.write_state("completed", attempt=3)
    labels = [arm.words() for arm in arm_curves(collect(trained), trained)]
    assert "baseline (n = 2, resumed x2)" in labels


def test_without_evaluations_there_is_only_the_loss(trained: MadeUpStore) -> None:
    figure = curves_figure(arm_curves(collect(trained), trained), store=trained, metric="NDS")
    assert [axes.get_ylabel() for axes in figure.axes] == ["training loss"]


def test_a_scalar_nobody_wrote_is_refused(trained: MadeUpStore) -> None:
    with pytest.raises(RequestError, match=r"^no training history has 'los': did you mean 'loss'"):
        curves_figure(arm_curves(collect(trained), trained), store=trained, loss="los")
    with pytest.raises(RequestError, match=r"^no run to draw has a training history$"):
        curves_figure([], store=trained)
