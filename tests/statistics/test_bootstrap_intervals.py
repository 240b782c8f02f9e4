import numpy as np
import pytest
from scipy import stats

from aqr_exp.statistics.estimates import bca_interval, percentile_interval, two_level_draws


@pytest.mark.parametrize("method", ["percentile", "BCa"])
@pytest.mark.parametrize("statistic", [np.mean, np.var])
def test_against_scipys_bootstrap(method, statistic):
    """A skewed sample, so that bias and acceleration both matter."""
    sample = np.random.default_rng(0).exponential(size=25)
    expected = stats.bootstrap(
        (sample,), statistic, n_resamples=2000, method=method, confidence_level=0.9, rng=1
    )
    drawn = expected.bootstrap_distribution
    ends = expected.confidence_interval
    if method == "percentile":
        found = percentile_interval(drawn, 0.9)
    else:
        left_out = np.array([statistic(np.delete(sample, place)) for place in range(25)])
        found = bca_interval(statistic(sample), drawn, left_out, 0.9)
        assert found[1] != pytest.approx(np.quantile(drawn, 0.95), rel=1e-3)
    assert found == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_undefined_resamples_are_left_out():
    drawn = np.array([1.0, np.nan, 2.0, 3.0, np.nan])
    assert percentile_interval(drawn, 0.5) == pytest.approx((1.5, 2.5))


@pytest.mark.parametrize("drawn", [[], [1.0], [np.nan, np.nan, 1.0]])
def test_too_few_resamples_have_no_interval(drawn):
    assert percentile_interval(np.array(drawn), 0.95) is None
    assert bca_interval(1.0, np.array(drawn), np.arange(3.0), 0.95) is None


def test_bca_is_undefined_without_spread_or_on_one_side():
    drawn = np.linspace(0, 1, 50)
    assert bca_interval(0.5, drawn, np.ones(4), 0.95) is None
    assert bca_interval(2.0, drawn, np.arange(4.0), 0.95) is None
    assert bca_interval(0.5, drawn, np.array([1.0, np.nan]), 0.95) is None


def test_two_levels_draw_seeds_as_well():
    draws = np.array([[0.0] * 4000, [1.0] * 4000])
    means = two_level_draws(draws, seed=3)
    shares = [(means == value).mean() for value in (0, 0.5, 1)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.04)
    np.testing.assert_array_equal(means, two_level_draws(draws, seed=3))
    assert (means != two_level_draws(draws, seed=4)).any()


def test_two_levels_keep_resamples_together():
    draws = np.arange(20.0) * np.ones((3, 1))
    np.testing.assert_array_equal(two_level_draws(draws, 0), np.arange(20.0))
