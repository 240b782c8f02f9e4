from typing import Any

import pytest

from aqr_exp.statistics.verdicts import ArmDifference, amount, no_larger, number, seeds_words


def _one(**changes: Any) -> ArmDifference:
    known = {
        "metric": "mAP",
        "condition": None,
        "n_reference": 3,
        "n_other": 3,
        "word": "undecided",
        "mean": 0.0057,
        "low": -0.0044,
        "high": 0.0157,
        "p": 0.136,
        "degrees": 6,
        "seed_sd": 0.0025,
        "mde": 0.00912,
        "sesoi": 0.005,
        "needed": 8,
    }
    return ArmDifference(**(known | changes))


def test_undecided_says_what_could_be_shown_and_what_the_smallest_effect_would_take():
    assert _one().sentence == (
        "undecided: mAP +0.57 [-0.44, +1.57] points; p = .136; "
        "3 seeds can show ±0.91 points, ±0.5 points would take 8 of each arm"
    )
    assert "3 and 5 seeds can show" in _one(n_reference=5).sentence
    assert "±0.5 points no number of seeds: the noise is too large" in _one(needed=None).sentence
    assert "3 seeds cannot show any difference" in _one(mde=6.4).sentence


def test_a_verdict_says_its_family_and_other_scenes():
    better = {"word": "better", "mean": 0.0112, "low": 0.0086, "high": 0.0138, "p": 0.0004}
    assert _one(**better, comparisons=2, elsewhere=True).sentence == (
        "better: mAP +1.12 [+0.86, +1.38] points; p < .001 among 2 comparisons; also on other scenes"
    )
    assert _one(**better, elsewhere=False).sentence.endswith("; on other scenes not shown")
    assert _one(**better).on_other_scenes is None
    assert _one(elsewhere=False).on_other_scenes is None


def test_units_and_conditions():
    found = _one(metric="mATE", condition="night", sesoi=None, needed=None, mde=0.0213)
    assert found.sentence == (
        "undecided: mATE@night +0.0057 [-0.0044, +0.0157] m; p = .136; 3 seeds can show ±0.0213 m"
    )
    assert _one(metric="AP/car", p=1.0).sentence.startswith("undecided: AP/car +0.57 ")
    assert [amount("mAP", value) for value in (0.0042, 0.084, 0.21)] == [
        "0.42 points",
        "8.4 points",
        "21 points",
    ]


@pytest.mark.parametrize(
    ("counts", "words"),
    [((1,), "1 seed"), ((1, 1), "1 seed"), ((3, 3), "3 seeds"), ((3, 5), "3 and 5 seeds")],
)
def test_seeds_in_words(counts, words):
    assert seeds_words(*counts) == words


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("mAP", -0.00004, "+0.00"),
        ("mAP", -0.0, "+0.00"),
        ("mAP", -0.00006, "-0.01"),
        ("mATE", -0.0, "+0"),
        ("mATE", -0.00004, "-4e-05"),
    ],
)
def test_no_zero_is_negative(metric, value, text):
    assert number(metric, value, "+") == text


def test_the_smallest_effect_of_interest_is_in_the_word():
    assert no_larger(0.0025) == "no difference as large as ±0.25 points"
