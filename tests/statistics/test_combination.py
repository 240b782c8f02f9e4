import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aqr_exp.statistics.noise import Noise, half_width, mean_noise, p_value

_NOISE = st.builds(Noise, variance=st.floats(1e-6, 1), degrees=st.integers(1, 200).map(float))


def test_one_source_is_the_t_test():
    values = np.array([0.1, 0.3, 0.2, 0.5])
    noise = mean_noise(values)
    expected = stats.ttest_1samp(values, 0)
    assert p_value(values.mean(), [noise]) == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.9)
    assert half_width([noise], 0.1) == pytest.approx((high - low) / 2)


def test_two_sources_by_hand():
    sources = [Noise(variance=0.04, degrees=2), Noise(variance=0.09, degrees=30)]
    # t is 4.302653 and 2.042272.
    expected = (4.302653**2 * 0.04 + 2.042272**2 * 0.09) ** 0.5
    assert half_width(sources, 0.05) == pytest.approx(expected, rel=1e-6)


@given(st.lists(_NOISE, min_size=1, max_size=3), st.floats(0.001, 5))
def test_p_is_the_level_at_which_the_interval_reaches_zero(sources, estimate):
    p = p_value(estimate, sources)
    assert p == p_value(-estimate, sources)
    if p > 1e-100:
        assert half_width(sources, p) == pytest.approx(estimate, rel=1e-4)
    assert p >= max(p_value(estimate, [source]) for source in sources) * (1 - 1e-9)


@given(_NOISE, st.floats(1e-6, 1))
def test_more_noise_is_never_a_narrower_interval(source, more):
    wider = Noise(variance=source.variance + more, degrees=source.degrees)
    assert half_width([wider], 0.05) > half_width([source], 0.05)
    assert half_width([source, wider], 0.05) > half_width([wider], 0.05)


def test_no_difference_and_no_noise():
    nothing = Noise(variance=0, degrees=2)
    assert p_value(0.0, [nothing]) == 1
    assert p_value(0.1, [nothing]) is None
    assert p_value(0.1, [nothing, Noise(variance=1, degrees=3)]) == p_value(
        0.1, [Noise(variance=1, degrees=3)]
    )


def test_a_difference_far_beyond_all_noise():
    assert p_value(1e6, [Noise(variance=1e-9, degrees=500)] * 2) < 1e-200


def test_the_interval_holds_the_truth_at_least_as_often_as_it_says():
    """Seeds and scenes of unequal and unknown noise, where Satterthwaite's interval fails up to 7 %."""
    rng = np.random.default_rng(0)
    for of_seeds, of_scenes in ((1.0, 0.1), (1.0, 0.3), (1.0, 1.0), (0.1, 1.0)):
        missed = 0
        for _ in range(2000):
            seeds, scenes = rng.normal(0, of_seeds, 3), rng.normal(0, of_scenes * 20**0.5, 20)
            sources = [mean_noise(seeds), mean_noise(scenes)]
            missed += abs(seeds.mean() + scenes.mean()) > half_width(sources, 0.05)
        assert missed / 2000 < 0.05 + 2 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize(("seeds", "share"), [(2, 0.10), (3, 0.06)])
def test_why_not_satterthwaite(seeds, share):
    """With more seed noise than scene noise its degrees of freedom promise too much."""
    rng = np.random.default_rng(0)
    count, scenes = 20000, 20
    e, s = rng.normal(0, 1, (count, seeds)), rng.normal(0, 0.3 * scenes**0.5, (count, scenes))
    parts = [each.var(axis=1, ddof=1) / each.shape[1] for each in (e, s)]
    total = parts[0] + parts[1]
    degrees = total**2 / (parts[0] ** 2 / (seeds - 1) + parts[1] ** 2 / (scenes - 1))
    missed = np.abs(e.mean(axis=1) + s.mean(axis=1)) > stats.t.ppf(0.975, degrees) * total**0.5
    assert missed.mean() > share
