from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from aqr_exp.statistics.estimates import (
    ArmDifference,
    ArmValues,
    MetricSample,
    estimate_difference,
)
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.verdicts import decide, holm


def _of(values: list[float], metric: str = "mAP", condition: str | None = None) -> ArmDifference:
    """The difference of two arms whose seeds differ by these values."""
    count = len(values)
    arms = tuple(
        ArmValues(
            seeds=tuple(range(count)),
            values=np.array(each),
            draws=np.zeros((count, 0)),
        )
        for each in ([0.0] * count, values)
    )
    sample = MetricSample(arms=arms, scenes=0, notes=())
    return estimate_difference(metric, condition, sample, Resampling())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=10)
def test_holm_is_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(expected), abs=1e-15)


def test_holm_of_nothing():
    assert holm([]) == []
    assert decide([]) == []


def test_better_and_worse_go_by_the_metrics_direction():
    up = [0.010, 0.012, 0.011, 0.013]
    down = [-value for value in up]
    words = [
        decide([_of(*case)])[0].word for case in ((up,), (down,), (up, "mATE"), (down, "mATE"))
    ]
    assert words == ["better", "worse", "worse", "better"]


def test_a_sentence_with_everything():
    assert decide([_of([0.010, 0.012, 0.0115])])[0].sentence == (
        "better: mAP +1.12 [+0.86, +1.38] points; p = .003; rests on seed noise being normal: an exact "
        "test cannot go below p = 0.25 with 3 seeds"
    )


def test_enough_seeds_need_no_excuse():
    verdict = decide([_of([0.010, 0.012, 0.0115, 0.0108, 0.0125, 0.0093], "mATE", "night")])[0]
    assert verdict.sentence == "worse: mATE@night +0.01102 [+0.009738, +0.0123] m; p < .001"


def test_what_more_seeds_would_decide_is_undecidable():
    verdict = decide([_of([0.002, 0.010, 0.005])])[0]
    assert verdict.word == "undecidable"
    assert verdict.sentence == (
        "undecidable: mAP +0.57 [-0.44, +1.57] points; p = .136; "
        "cannot be decided with 3 seeds; about 4 more needed"
    )


def test_what_no_plan_would_decide_is_within_noise():
    verdict = decide([_of([0.010, -0.009, 0.001])])[0]
    assert verdict.word == "within noise"
    assert verdict.sentence == (
        "within noise: mAP +0.07 [-2.29, +2.43] points; p = .914; 3 seeds can show ±3.10 points "
        "(exact floor p = 0.25)"
    )


def test_one_seed_is_undecidable_however_large():
    verdict = decide([_of([0.5])])[0]
    assert (verdict.word, verdict.p_holm) == ("undecidable", None)
    assert verdict.sentence == (
        "undecidable: mAP +50.00 points; cannot be decided with 1 seed: seed noise is unknown; "
        "about 2 more needed"
    )


def test_nothing_is_undecidable():
    verdict = decide([_of([])])[0]
    assert verdict.word == "undecidable"
    assert verdict.sentence == "undecidable: mAP; there is nothing to compare"


def test_more_comparisons_ask_for_more():
    clear, doubtful = _of([0.010, 0.014, 0.012]), _of([0.010, 0.011, 0.017])
    assert [each.word for each in decide([clear])] == ["better"]
    assert [each.word for each in decide([doubtful])] == ["better"]
    several = decide([doubtful, clear, _of([0.010, -0.009, 0.001]), _of([0.1])])
    assert [each.word for each in several] == [
        "undecidable",
        "better",
        "within noise",
        "undecidable",
    ]
    assert [each.comparisons for each in several] == [3] * 4
    assert several[0].p_holm == pytest.approx(2 * doubtful.p)
    assert several[1].p_holm == pytest.approx(3 * clear.p)
    assert "Holm over 3" in several[0].sentence


def test_the_level_is_what_is_asked_for():
    difference = _of([0.010, 0.012, 0.0115])
    assert decide([difference], alpha=difference.p * 1.01)[0].word == "better"
    assert decide([difference], alpha=difference.p * 0.99)[0].word == "undecidable"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.sampled_from(["mAP", "mAOE"]))
def test_the_opposite_difference_has_the_opposite_verdict(values, metric):
    opposite = {"better": "worse", "worse": "better"}
    there = decide([_of(values, metric)])[0].word
    back = decide([_of([-value for value in values], metric)])[0].word
    assert back == opposite.get(there, there)


def test_planning_ahead():
    """With these you could see so much; for less, plan so many seeds."""
    difference = _of([0.002, 0.010, 0.005])
    assert difference.mde == pytest.approx(0.0132, abs=1e-4)
    assert difference.seeds_for(difference.mde * 1.001) == 3
    assert difference.seeds_for(0.003) > 10
    assert difference.seeds_for(0.0) is None
    assert _of([0.5]).seeds_for(0.1) is None


class _Planned(ArmDifference):
    """A difference that so many seeds would decide; it notes the levels it is asked for."""

    def seeds_for(self, _effect, alpha=0.05):
        ASKED.append(alpha)
        return self.n + EXTRA[0]


ASKED: list[float] = []
EXTRA = [0]


@pytest.mark.parametrize(
    ("extra", "word"), [(1, "undecidable"), (20, "undecidable"), (21, "within noise")]
)
def test_twenty_more_seeds_are_the_most_that_are_asked_for(extra, word):
    EXTRA[0] = extra
    doubtful = _of([0.002, 0.010, 0.005])
    verdict = decide([_Planned(**{f.name: getattr(doubtful, f.name) for f in fields(doubtful)})])[0]
    assert verdict.word == word
    assert ("about" in verdict.sentence) == (word == "undecidable")
    if word == "undecidable":
        assert f"about {extra} more needed" in verdict.sentence


def test_the_outlook_is_for_the_corrected_level():
    EXTRA[0] = 3
    doubtful = _of([0.002, 0.010, 0.005])
    planned = _Planned(**{f.name: getattr(doubtful, f.name) for f in fields(doubtful)})
    ASKED.clear()
    decide([planned, doubtful, doubtful, doubtful, _of([0.1])], alpha=0.1)
    assert ASKED == [0.1 / 4]
