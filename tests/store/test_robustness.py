import pytest

from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.store.corruption_results import mean_relative_accuracy, ratio, relative_accuracies


def _case(name: str, severity: str) -> CorruptionCase:
    return CorruptionCase(corruption=name, severity=severity)


def test_relative_accuracy_is_the_mean_over_severities():
    scores = {
        _case("beams", "16"): 0.6,
        _case("beams", "8"): 0.5,
        _case("beams", "4"): 0.1,
        _case("dark", "1"): 0.7,
        _case("view_drop", "front"): 0.2,
    }
    # (.6 + .5 + .1) / 3 / .8 = .5; dark lacks severities; named views belong to no mean.
    assert relative_accuracies(scores, 0.8) == {"beams": pytest.approx(0.5)}


def test_nothing_is_relative_to_no_score():
    assert ratio(0.5, 0.0) is None
    assert ratio(None, 0.5) is None
    assert ratio(0.25, 0.5) == 0.5
    assert relative_accuracies({_case("camera_drop", "all"): 0.3}, None) == {}


def test_the_mean_over_failures_is_of_runs_that_have_them_all():
    runs = [{"beams": 0.5, "dark": 0.9}, {"beams": 0.6}]
    assert mean_relative_accuracy(runs, ["beams", "dark"]) == [pytest.approx(0.7)]
    assert mean_relative_accuracy(runs, ["beams"]) == [0.5, 0.6]
    assert mean_relative_accuracy(runs, []) == []
