import numpy as np
import pytest
from made_up_runs import MadeUpData, made_up_records

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.evaluate.conditions import CONDITIONS, RunScorer
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.statistics.metrics import (
    bounds,
    declare_own,
    follows_from_records,
    in_points,
    is_averaged,
    lower_is_better,
)
from aqr_exp.statistics.resampling import metric_values

ALL_LABELS = range(10)


def _scores():
    rng = np.random.default_rng(0)
    data = MadeUpData.draw(rng, scenes=4, present={"car", "barrier"})
    weights = np.array([[1] * 16, [0] * 16, [2] * 8 + [0] * 8])
    return RunScorer(made_up_records(data, np.zeros(4), rng)).scores(weights=weights)


@pytest.mark.parametrize("metric", ["mAP", "NDS", *ERROR_NAMES, "AP/car"])
def test_values_are_those_of_the_metrics_and_nothing_is_not_zero(metric):
    scores = _scores()
    found = metric_values(scores, metric, ALL_LABELS)
    assert found[0] == scores.metrics()[metric]
    assert np.isnan(found[1])
    assert found[2] == scores.metrics(evaluation=2)[metric]


def test_a_class_that_is_absent_or_does_not_count_has_no_ap():
    scores = _scores()
    assert np.isnan(metric_values(scores, "AP/bus", ALL_LABELS)).all()
    assert np.isnan(
        metric_values(scores, "AP/barrier", CONDITIONS["30-50m"].labels(NUSCENES))
    ).all()
    assert np.isnan(metric_values(scores, "mAP", (3, 4))).all()


def test_what_records_do_not_give_is_refused():
    assert not follows_from_records("train_time_s")
    assert np.isnan(metric_values(_scores(), "AP/spaceship", ALL_LABELS)).all()
    assert follows_from_records("AP/bus")
    with pytest.raises(ValueError, match="match records do not give 'loss'"):
        metric_values(_scores(), "loss", ALL_LABELS)


def test_directions():
    lower = ["mATE", "mASE", "mAOE", "mAVE", "mAAE", "train_time_s", "peak_memory_mb"]
    assert all(map(lower_is_better, [*lower, "stability/loss_oscillation"]))
    assert not any(map(lower_is_better, ["mAP", "NDS", "AP/car"]))


@pytest.mark.parametrize("name", ["mAP_ema", "NDS_ema", "mAP_last1", "NDS_last12"])
def test_averages_over_a_training_are_points_that_no_records_give(name):
    assert is_averaged(name)
    assert in_points(name)
    assert in_points(f"{name}@night")
    assert bounds(name) == (0.0, 1.0)
    assert not lower_is_better(name)
    assert not follows_from_records(name)


@pytest.mark.parametrize(
    "name", ["mAP_last0", "mAP_last03", "mAP_last", "mAP_emas", "xmAP_ema", "mATE_ema", "mAP_EMA"]
)
def test_other_names_are_no_averages(name):
    assert not is_averaged(name)
    assert not in_points(name)


def test_an_own_metric_of_such_a_name_is_what_it_says(monkeypatch):
    monkeypatch.setattr("aqr_exp.statistics.metrics._OWN", {})
    declare_own("NDS_last2", less_is_better=True, bounds=(0.0, 7.0))
    assert not in_points("NDS_last2")
    assert bounds("NDS_last2") == (0.0, 7.0)
    assert lower_is_better("NDS_last2")
