import pytest

from aqr_exp.data.corruptions.cases import CorruptionCase
from aqr_exp.store.corruption_results import (
    means_over,
    ratio,
    relative_resistance,
    resistance_abilities,
)


def _case(name: str, severity: str) -> CorruptionCase:
    return CorruptionCase(corruption=name, severity=severity)


def test_resistance_ability_is_the_mean_over_severities():
    scores = {
        _case("beams", "16"): 0.6,
        _case("beams", "8"): 0.5,
        _case("beams", "4"): 0.1,
        _case("dark", "1"): 0.7,
        _case("view_drop", "front"): 0.2,
    }
    # (.6 + .5 + .1) / 3 / .8 = .5; dark lacks severities; named views belong to no mean.
    assert resistance_abilities(scores, 0.8) == {"beams": pytest.approx(0.5)}


def test_nothing_is_relative_to_no_score():
    assert ratio(0.5, 0.0) is None
    assert ratio(None, 0.5) is None
    assert ratio(0.25, 0.5) == 0.5
    assert resistance_abilities({_case("camera_drop", "all"): 0.3}, None) == {}


def test_the_mean_over_failures_is_of_runs_that_have_them_all():
    runs = [{"beams": 0.5, "dark": 0.9}, {"beams": 0.6}]
    assert means_over(runs, ["beams", "dark"]) == [pytest.approx(0.7)]
    assert means_over(runs, ["beams"]) == [0.5, 0.6]
    assert means_over(runs, []) == []


# NDS as MultiCorrupt publishes them (evaluation/evaluations_nds.csv at 6cd6225): severities 1, 2, 3.
NDS = {
    "mc_beamsreducing": (
        (0.6826, 0.5873, 0.4497),
        (0.6847, 0.5752, 0.4078),
        (0.6396, 0.4899, 0.3199),
    ),
    "mc_brightness": ((0.7038, 0.6852, 0.6605), (0.7110, 0.6953, 0.6751), (0.6967, 0.6913, 0.6851)),
    "mc_dark": ((0.7051, 0.6904, 0.6786), (0.7104, 0.6955, 0.6846), (0.6990, 0.6910, 0.6861)),
    "mc_fog": ((0.6974, 0.6527, 0.4134), (0.6961, 0.6412, 0.4019), (0.6555, 0.5981, 0.3584)),
    "mc_missingcamera": (
        (0.7180, 0.7109, 0.7009),
        (0.7166, 0.7061, 0.6986),
        (0.7038, 0.6961, 0.6873),
    ),
    "mc_motionblur": ((0.6886, 0.6154, 0.5357), (0.6981, 0.6179, 0.5266), (0.6861, 0.6217, 0.5475)),
    "mc_pointsreducing": (
        (0.7012, 0.6834, 0.6380),
        (0.7054, 0.6843, 0.6368),
        (0.6684, 0.6379, 0.5628),
    ),
    "mc_snow": ((0.6483, 0.6190, 0.5554), (0.6597, 0.6266, 0.5524), (0.5782, 0.5572, 0.5233)),
    "mc_spatialmisalignment": (
        (0.6462, 0.5860, 0.5367),
        (0.6430, 0.5779, 0.5166),
        (0.5903, 0.4943, 0.4266),
    ),
    "mc_temporalmisalignment": (
        (0.6572, 0.5680, 0.4988),
        (0.6623, 0.5729, 0.4996),
        (0.6341, 0.5471, 0.4085),
    ),
}
MODELS = ("CMT", "MoME", "BEVFusion")


def _published(model: str) -> dict[CorruptionCase, float]:
    place = MODELS.index(model)
    return {
        _case(name, str(level)): value
        for name, models in NDS.items()
        for level, value in enumerate(models[place], start=1)
    }


@pytest.mark.parametrize(
    ("model", "clean", "mean", "snow", "fog"),
    [
        ("CMT", 0.729, 0.8648560, 0.8334248, 0.8063557),
        ("MoME", 0.7354, 0.8557792, 0.8334240, 0.7883238),
        ("BEVFusion", 0.7144, 0.8296846, 0.7739362, 0.7521463),
    ],
)
def test_published_scores_give_the_published_resistance_ability(model, clean, mean, snow, fog):
    found = resistance_abilities(_published(model), clean)
    assert list(found) == list(NDS)
    assert means_over([found], list(found)) == [pytest.approx(mean, abs=1e-7)]
    assert (found["mc_snow"], found["mc_fog"]) == pytest.approx((snow, fog), abs=1e-7)


@pytest.mark.parametrize(
    ("model", "mean", "beams", "temporal"),
    [("CMT", 7.161, 18.6421968, 8.4481349), ("MoME", 6.837, 15.0614047, 9.1275083)],
)
def test_published_scores_give_the_published_relative_resistance(model, mean, beams, temporal):
    found = relative_resistance(_published(model), _published("BEVFusion"))
    assert found["mc_beamsreducing"] == pytest.approx(beams, abs=1e-6)
    assert found["mc_temporalmisalignment"] == pytest.approx(temporal, abs=1e-6)
    assert means_over([found], list(NDS)) == [pytest.approx(mean, abs=1e-3)]


def test_relative_resistance_is_of_failures_that_both_have_whole():
    one = {_case("beams", level): 0.5 for level in ("16", "8", "4")}
    other = {_case("beams", level): 0.4 for level in ("16", "8", "4")}
    assert relative_resistance(one, other) == {"beams": pytest.approx(25.0)}
    assert relative_resistance(one, {_case("beams", "16"): 0.4}) == {}
    assert relative_resistance({_case("beams", "16"): 0.4}, one) == {}
    assert relative_resistance(one, dict.fromkeys(other, 0.0)) == {}
