import numpy as np
import pytest
from made_up_runs import MadeUpData, made_up_records

from aqr_exp.config.schema.description import NUSCENES
from aqr_exp.evaluate.conditions import CONDITIONS, RunScorer
from aqr_exp.evaluate.protocol import ERROR_NAMES
from aqr_exp.statistics.metrics import follows_from_records, lower_is_better
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
