import numpy as np
import pytest
from scipy import stats

from aqr_exp.statistics.dunnett import equal_arms, step_down


def _pooled(arms: list[np.ndarray]) -> tuple[list[float], int, list[float]]:
    """The t statistics, degrees and shares of the reference that scipy's Dunnett test uses."""
    degrees = sum(len(arm) - 1 for arm in arms)
    s2 = sum(((arm - arm.mean()) ** 2).sum() for arm in arms) / degrees
    first, *others = arms
    variances = [1 / len(arm) + 1 / len(first) for arm in others]
    t = [
        (arm.mean() - first.mean()) / np.sqrt(s2 * one)
        for arm, one in zip(others, variances, strict=True)
    ]
    return t, degrees, [1 / len(first) / one for one in variances]


@pytest.mark.parametrize("sizes", [(3, 3, 3), (3, 4, 5, 2), (8, 2, 2), (3,) * 9])
def test_the_first_step_is_scipys_dunnett(sizes):
    rng = np.random.default_rng(len(sizes))
    for shift in (0.0, 1.5, 3.0):
        arms = [rng.normal(shift * (at == 1), 1, size) for at, size in enumerate(sizes)]
        t, degrees, shared = _pooled(arms)
        expected = stats.dunnett(*arms[1:], control=arms[0], random_state=0).pvalue
        adjusted, joint = step_down(t, [degrees] * len(t), shared)
        assert [joint.p(each, degrees) for each in t] == pytest.approx(list(expected), abs=1e-3)
        largest = int(np.argmax(np.abs(t)))
        assert adjusted[largest] == pytest.approx(expected[largest], abs=1e-3)


def test_each_further_step_is_scipys_dunnett_without_those_before():
    rng = np.random.default_rng(4)
    arms = [rng.normal(mean, 1, 4) for mean in (0.0, 4.0, 2.0, 0.2)]
    t, degrees, shared = _pooled(arms)
    adjusted, _ = step_down(t, [degrees] * 3, shared)
    order = np.argsort(-np.abs(t))
    highest = 0.0
    for step in range(3):
        left = order[step:]
        # The noise of all four arms, as scipy has no argument for it.
        correlation = np.sqrt(np.outer(np.array(shared)[left], np.array(shared)[left]))
        np.fill_diagonal(correlation, 1)
        joint = stats.multivariate_t(shape=correlation, df=degrees, seed=0)
        bound = np.full(len(left), abs(t[order[step]]))
        inside = joint.cdf(bound, lower_limit=-bound, maxpts=200_000)
        highest = max(highest, 1 - float(inside))
        assert adjusted[order[step]] == pytest.approx(highest, abs=1e-3)


@pytest.mark.parametrize("degrees", [4, 6, 30])
def test_one_comparison_is_students_t(degrees):
    joint = equal_arms(1)
    for t in (0.0, 0.5, 2.0, 5.0):
        assert joint.p(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), abs=2e-4)
    (bound,) = joint.critical(0.05, np.array([degrees]), 30)
    assert bound == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-3)


@pytest.mark.parametrize("level", [0.1, 0.05, 0.005])
def test_critical_values_have_their_level_between_knots_too(level):
    joint = equal_arms(8)
    for degrees in (4.0, 5.3, 7.7, 11.0, 18.0):
        (bound,) = joint.critical(level, np.array([degrees]), 18.0)
        assert joint.p(bound, degrees) == pytest.approx(level, rel=0.02)


def test_a_smaller_t_never_has_a_smaller_p():
    t = [2.2, -2.1, 0.3, 2.19]
    adjusted, _ = step_down(t, [6, 8, 12, 7], [0.5, 0.3, 0.7, 0.97])
    assert sorted(adjusted) == [adjusted[at] for at in np.argsort(-np.abs(t))]
    assert step_down([], [], [])[0] == []
