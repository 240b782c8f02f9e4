import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.power import TTestIndPower, TTestPower

from aqr_exp.statistics.noise import Noise, SeedPlan, detectable, half_width, mean_noise, power


@pytest.mark.parametrize("seeds", [2, 3, 5, 11])
@pytest.mark.parametrize("effect", [0.1, 1.0, 2.0])
def test_seeds_alone_are_statsmodels_paired_t_test(seeds, effect):
    expected = TTestPower().power(effect, seeds, 0.05)
    assert power(effect, SeedPlan(sd=1.0).noise(seeds), None, 0.05) == pytest.approx(
        expected, abs=2e-3
    )


def test_two_degrees_a_seed_are_statsmodels_two_sample_t_test():
    """Equal spreads: the variance of one seed's difference is twice an arm's."""
    plan = SeedPlan(sd=2**0.5, degrees=2.0)
    expected = TTestIndPower().power(1.2, 6, 0.05)
    assert power(1.2, plan.noise(6), None, 0.05) == pytest.approx(expected, abs=1e-3)


def test_planning_for_a_run_to_run_noise_of_a_quarter_point():
    """The normal rule of thumb says 11 seeds an arm for .3 mAP, and .57 for 3 seeds; Student's t more."""
    rule = TTestIndPower()
    plan = SeedPlan(sd=0.25 * 2**0.5, degrees=2.0)
    assert (
        plan.seeds_for(0.3, 0.05, 0.8)
        == int(np.ceil(rule.solve_power(0.3 / 0.25, power=0.8, alpha=0.05)))
        == 12
    )
    assert detectable(plan.noise(3), None, 0.05, 0.8) == pytest.approx(
        0.25 * rule.solve_power(nobs1=3, power=0.8, alpha=0.05), rel=2e-3
    )


def test_scenes_alone_are_a_normal_test():
    scenes = Noise(variance=1.0, degrees=1e9)
    found = power(2.0, Noise(variance=0.0, degrees=2), scenes, 0.05)
    edge = norm.ppf(0.975)
    assert found == pytest.approx(norm.cdf(2 - edge) + norm.cdf(-2 - edge), abs=1e-6)


def test_both_against_counting():
    rng = np.random.default_rng(0)
    scenes, hits = Noise(variance=0.2, degrees=19), 0
    for _ in range(4000):
        seeds = rng.normal(1.5, 0.8, 4)
        half = half_width([mean_noise(seeds), scenes], 0.05)
        hits += abs(seeds.mean() + rng.normal(0, scenes.sd)) > half
    expected = power(1.5, SeedPlan(sd=0.8).noise(4), scenes, 0.05)
    assert hits / 4000 == pytest.approx(expected, abs=0.025)


@pytest.mark.parametrize("scenes", [None, Noise(variance=0.01, degrees=10)])
def test_the_minimum_detectable_effect_is_found_as_often_as_wanted(scenes):
    seeds = SeedPlan(sd=0.3).noise(4)
    effect = detectable(seeds, scenes, 0.05, 0.8)
    assert power(effect, seeds, scenes, 0.05) == pytest.approx(0.8, abs=1e-4)
    assert power(2 * effect, seeds, scenes, 0.05) > 0.99


def test_seeds_needed_are_the_fewest():
    plan = SeedPlan(sd=0.5, scenes=Noise(variance=0.01, degrees=149))
    needed = plan.seeds_for(-0.6, 0.05, 0.8)
    assert needed > 2
    assert power(0.6, plan.noise(needed), plan.scenes, 0.05) >= 0.8
    assert power(0.6, plan.noise(needed - 1), plan.scenes, 0.05) < 0.8


def test_no_number_of_seeds_undoes_the_noise_of_scenes():
    assert SeedPlan(sd=0.1, scenes=Noise(variance=1, degrees=9)).seeds_for(1.0, 0.05, 0.8) is None


def test_without_noise_everything_is_seen():
    nothing = Noise(variance=0, degrees=2)
    assert detectable(nothing, None, 0.05, 0.8) == 0
    assert power(0.1, nothing, None, 0.05) == 1
    assert power(0.0, nothing, None, 0.05) == 0
