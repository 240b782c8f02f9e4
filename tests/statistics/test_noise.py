import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from aqr_exp.statistics.noise import (
    Noise,
    holm,
    mean_noise,
    shared_scene_noise,
    t_bound,
    t_p,
    unpaired_scene_noise,
)

_VALUES = st.floats(-1, 1, allow_subnormal=False)


def test_noise_of_seeds_by_hand():
    noise = mean_noise(np.array([0.1, 0.2, 0.6]))
    # Mean .3, squares .04 + .01 + .09 = .14; / 2 = .07; / 3.
    assert noise.variance == pytest.approx(0.07 / 3)
    assert noise.degrees == 2
    assert noise.sd == pytest.approx(stats.sem([0.1, 0.2, 0.6]))


@pytest.mark.parametrize("values", [[], [0.5]])
def test_one_seed_has_no_known_noise(values):
    assert mean_noise(np.array(values)) is None


def test_rounding_is_no_noise():
    assert mean_noise(np.array([0.1 + 0.2, 0.3])) == Noise(variance=0.0, degrees=1)


def test_bounds_and_p_of_t_against_scipy():
    degrees = np.linspace(2, 9, 200)
    for found in (t_bound(degrees, 0.05), t_bound(degrees[:3], 0.05)):
        np.testing.assert_allclose(found, stats.t.ppf(0.975, degrees[: len(found)]), rtol=2e-3)
    assert t_p(0.3, 0.04, 5) == pytest.approx(2 * stats.t.sf(1.5, 5))
    assert (t_p(0.0, 0.0, 5), t_p(0.1, 0.0, 5)) == (1, 0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=10)
def test_holm_is_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(list(expected), abs=1e-15)
    assert holm([*p_values, None])[:-1] == holm(p_values)
    assert holm([]) == []


def test_scene_noise_of_one_seed_is_the_bootstrap_variance():
    draws = np.array([[1.0, 2.0, 4.0, 5.0]])
    # Mean 3, squares 4 + 1 + 1 + 4 = 10; / 3; times 5 / 4 for five scenes.
    assert shared_scene_noise(draws, 5).variance == pytest.approx(10 / 3 * 5 / 4)
    assert shared_scene_noise(draws, 5).degrees == 4


def test_scene_noise_of_several_is_what_they_share():
    draws = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 2.0]])
    # Covariances: 2 of the first two, .5 and 1 with the third.
    assert shared_scene_noise(draws, 2).variance == pytest.approx((2 + 0.5 + 1) / 3 * 2)


def test_what_seeds_do_not_share_is_no_scene_noise():
    draws = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert shared_scene_noise(draws, 4).variance == 0


def test_scene_noise_of_different_seeds():
    reference = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    # The same scenes are hard for both arms: all of it cancels.
    assert unpaired_scene_noise(reference, reference + 5, 3).variance == 0
    # 1 within each arm, -1 across: 1 + 1 + 2; times 3 / 2.
    assert unpaired_scene_noise(reference, -reference, 3).variance == pytest.approx(6)


@pytest.mark.parametrize(("scenes", "resamples"), [(1, 9), (0, 0), (5, 1)])
def test_scene_noise_needs_scenes_and_resamples(scenes, resamples):
    draws = np.zeros((2, resamples))
    assert shared_scene_noise(draws, scenes) is None
    assert unpaired_scene_noise(draws, draws, scenes) is None


@given(arrays(float, (3, 6), elements=_VALUES), st.floats(-3, 3), st.permutations(range(3)))
def test_a_shift_and_the_order_of_seeds_leave_noise_alone(draws, shift, order):
    known = shared_scene_noise(draws, 6).variance
    assert shared_scene_noise(draws[order] + shift, 6).variance == pytest.approx(known, abs=1e-9)
    seeds = mean_noise(draws[:, 0]).variance
    assert mean_noise(draws[order, 0] + shift).variance == pytest.approx(seeds, abs=1e-9)


def test_both_kinds_are_found_in_a_crossed_design():
    """Scene effects shared by seeds, seed effects shared by scenes, and both meeting."""
    rng = np.random.default_rng(0)
    of_scene, of_seed, meeting = 0.5, 0.3, 0.4
    found = []
    for _ in range(300):
        cells = (
            rng.normal(0, of_scene, (1, 30))
            + rng.normal(0, of_seed, (4, 1))
            + rng.normal(0, meeting, (4, 30))
        )
        weights = rng.multinomial(30, np.full(30, 1 / 30), 200) / 30
        shared = shared_scene_noise(cells @ weights.T, 30)
        found.append((mean_noise(cells.mean(axis=1)).variance, shared.variance))
    seeds, scenes = np.mean(found, axis=0)
    assert seeds == pytest.approx((of_seed**2 + meeting**2 / 30) / 4, rel=0.1)
    assert scenes == pytest.approx(of_scene**2 / 30, rel=0.15)
