"""Contrasts over the values of a parameter, two parameters at once, and the curve with its best value."""

import numpy as np
import pytest
from scipy import stats

from aqr_exp.statistics.estimates import ArmMean
from aqr_exp.statistics.judging import seed_noise
from aqr_exp.statistics.resampling import Resampling
from aqr_exp.statistics.trend import (
    Effect,
    curve_of,
    effect_of_values,
    factorial,
    told_apart,
)

VALUES = np.array([0, 0.5, 1, 2, 2.5, 4, 5, 8, 10])
FIRST = 0.85
"""The part of 5 % that a first look spends: p is divided by it."""

NOTES = np.interp(VALUES, [0, 1, 2, 5, 8, 10], [0, 0.07, 0.27, 0.67, 0.57, 0.27])


def arm(values: np.ndarray) -> ArmMean:
    return ArmMean(n=len(values), values=tuple(values), seeds=tuple(range(len(values))))


def effect(values: np.ndarray, look: int = 1) -> Effect | None:
    arms = [arm(row) for row in values]
    noise = seed_noise(arms[0], arms[1:], [], Resampling())
    return effect_of_values(noise, len(arms), look)


def shapes(count: int) -> np.ndarray:
    """As docs/statistics.md writes them."""
    u = np.arange(count) / (count - 1)
    peaks = [np.exp(-8 * (u - peak) ** 2) for peak in (0.25, 0.5, 0.75)]
    return np.array([u, u / (u + 0.2), np.exp(2 * u), *peaks])


def alike(rng: np.random.Generator, means: np.ndarray, seeds: int) -> np.ndarray:
    """Seeds whose sample variance is exactly 1 in every arm, so that nothing is shrunk."""
    noise = rng.normal(size=(len(means), seeds))
    noise -= noise.mean(axis=1, keepdims=True)
    return means[:, None] + noise / noise.std(axis=1, ddof=1, keepdims=True)


@pytest.mark.parametrize("count", [3, 4, 9])
def test_the_joint_p_is_that_of_the_multivariate_t(count: int) -> None:
    rng = np.random.default_rng(count)
    means = rng.normal(0, 0.5, count) + np.linspace(0, 1, count)
    found = effect(alike(rng, means, 3))
    assert found is not None
    contrasts = shapes(count) - shapes(count).mean(axis=1, keepdims=True)
    contrasts /= np.linalg.norm(contrasts, axis=1, keepdims=True)
    t = contrasts @ means * 3**0.5
    drawn = rng.multivariate_normal(np.zeros(6), contrasts @ contrasts.T, 400_000)
    spread = np.sqrt(rng.chisquare(2 * count, 400_000) / (2 * count))
    expected = np.mean(np.abs(drawn).max(axis=1) / spread >= np.abs(t).max()) / FIRST
    assert found.p == pytest.approx(expected, abs=0.002)
    assert found.degrees == 2 * count
    if count == 9:  # scipy takes no contrasts of which some follow from others
        law = stats.multivariate_t(np.zeros(6), contrasts @ contrasts.T, df=18, seed=0)
        top = np.full(6, np.abs(t).max())
        assert found.p == pytest.approx((1 - law.cdf(top, lower_limit=-top)) / FIRST, abs=0.002)


@pytest.mark.parametrize(
    ("means", "shape"),
    [
        (VALUES, "a rise at the end"),
        (-np.arange(9), "a steady fall"),
        (-np.exp(-(((np.arange(9) - 6) / 2) ** 2) / 2), "a late dip"),
        (NOTES, "a late peak"),
        (np.minimum(np.arange(9), 2), "a rise at first"),
    ],
)
def test_the_shape_is_said(means: np.ndarray, shape: str) -> None:
    found = effect(alike(np.random.default_rng(0), np.asarray(means, dtype=float) * 5, 3))
    assert found is not None
    assert found.p < 0.001
    assert (found.shape, found.values) == (shape, 9)


def test_the_notes_curve_is_found_and_nothing_is_found_in_noise() -> None:
    rng = np.random.default_rng(3)
    found = [effect(NOTES[:, None] + rng.normal(0, 0.25, (9, 3))) for _ in range(60)]
    assert np.mean([one is not None and one.p <= 0.05 for one in found]) >= 0.95
    flat = [effect(rng.normal(0, 0.25, (9, 3))) for _ in range(100)]
    assert np.mean([one is not None and one.p <= 0.05 for one in flat]) <= 0.08


def test_unequal_seeds_and_noise_are_weighed() -> None:
    rng = np.random.default_rng(1)
    arms = [arm(rng.normal(place, 1 + place, 2 + place)) for place in range(4)]
    noise = seed_noise(arms[0], arms[1:], [], Resampling())
    found = effect_of_values(noise, 4)
    assert found is not None
    # The strongest contrast, worked out with the weights of the seeds and each arm's own variance.
    n = np.array([one.n for one in arms], dtype=float)
    squares = np.array([np.var(one.values) * one.n for one in arms])
    s2 = squares.sum() / (n - 1).sum()
    parts = (6 * s2 + squares) / (5 + n) / n
    level = shapes(4) @ n / n.sum()
    contrasts = (shapes(4) - level[:, None]) * n
    variance = contrasts**2 @ parts
    freedom = variance**2 / ((contrasts**2 * parts) ** 2 @ (1 / (5 + n)))
    t = contrasts @ [np.mean(one.values) for one in arms] / np.sqrt(variance)
    strongest = np.abs(t).argmax()
    assert found.degrees == pytest.approx(min(freedom[strongest], (n - 1).sum()), rel=0.3)
    one = stats.t.sf(np.abs(t[strongest]), found.degrees) * 2 / FIRST
    low, high = one, 6 * one
    assert low < found.p < high


def test_a_later_look_is_a_bet_on_the_same_contrasts() -> None:
    rng = np.random.default_rng(2)
    means = NOTES * 4
    found = effect(alike(rng, means, 4), look=2)
    assert found is not None
    contrasts = shapes(9) - shapes(9).mean(axis=1, keepdims=True)
    contrasts *= 2**0.5 / np.linalg.norm(contrasts, axis=1, keepdims=True)
    t2, g = (contrasts @ means) ** 2 * 2, 1 + 1.5**2 * 2
    factors = g**-0.5 * ((1 + t2 / 27) / (1 + t2 / 27 / g)) ** 14
    assert found.p == pytest.approx(min(1.0, 1 / (0.4 * factors.mean())))
    assert found.look == 2
    first = effect(alike(np.random.default_rng(2), means, 4))
    assert first is not None
    assert first.p < found.p


def test_what_cannot_be_told_is_none() -> None:
    assert effect(np.array([[1.0], [2.0], [3.0]])) is None
    assert effect(np.ones((4, 3))) is None
    assert effect(np.random.default_rng(0).normal(size=(2, 9))) is None


def grid(rng: np.random.Generator, first: np.ndarray, second: np.ndarray, seeds: int) -> np.ndarray:
    return first[:, None, None] + second[None, :, None] + rng.normal(0, 1, (4, 3, seeds))


def test_main_effects_and_interaction_of_a_whole_grid() -> None:
    rng = np.random.default_rng(5)
    values = grid(rng, np.array([0, 1, 2, 3.0]), np.zeros(3), 2)
    beside = rng.normal(size=12)
    cells = [(a, b, arm(values[a, b])) for a in range(4) for b in range(3)]
    *effects, interaction = factorial(cells, [arm(beside)])
    rows, columns = values.mean(axis=(1, 2)), values.mean(axis=(0, 2))
    fitted = rows[:, None] + columns - values.mean()
    left = np.sum((values - fitted[:, :, None]) ** 2)
    outside = np.sum((beside - beside.mean()) ** 2)
    s2 = (left + outside) / (24 - 6 + 11)
    for means, each, one in ((rows, 6, effects[0]), (columns, 8, effects[1])):
        assert one is not None
        assert one.degrees == 29
        contrasts = shapes(len(means)) - shapes(len(means)).mean(axis=1, keepdims=True)
        contrasts /= np.linalg.norm(contrasts, axis=1, keepdims=True)
        top = np.abs(contrasts @ means).max() / (s2 / each) ** 0.5
        drawn = rng.multivariate_normal(np.zeros(6), contrasts @ contrasts.T, 200_000)
        spread = np.sqrt(rng.chisquare(29, 200_000) / 29)
        expected = np.mean(np.abs(drawn).max(axis=1) / spread >= top) / FIRST
        assert one.p == pytest.approx(expected, abs=0.003)
    pure = np.sum((values - values.mean(axis=2, keepdims=True)) ** 2)
    noise = (pure + outside) / (12 + 11)
    assert interaction == pytest.approx(stats.f.sf((left - pure) / 6 / noise, 6, 23))


def test_one_seed_a_cell_with_holes_is_judged_by_what_is_left() -> None:
    rng = np.random.default_rng(6)
    values = grid(rng, np.array([0, 4, 8, 4.0]), np.zeros(3), 1)
    cells = [(a, b, arm(values[a, b])) for a in range(4) for b in range(3) if (a, b) != (0, 1)]
    found, _, interaction = factorial(cells, [])
    assert interaction is None
    assert found is not None
    assert found.p < 0.01
    assert found.degrees == 11 - 6
    # Two parameters that change together cannot be told apart.
    alone = [(a, a, arm(values[a, 0])) for a in range(3)]
    assert factorial(alone, [arm(rng.normal(size=9))]) == (None, None, None)


@pytest.mark.parametrize(
    ("values", "apart"),
    [
        ([(1, 5), (1, 6), (2, 5), (2, 6)], True),
        ([(1, 5), (1, 6), (2, 5), (3, 6)], True),  # holes
        ([(1, 5), (2, 5), (3, 5)], True),  # the second does not change
        ([(1, 5), (2, 6), (3, 7)], False),
        ([(1, 5), (2, 5), (3, 6)], False),  # the first says what the second is
        ([(1, 5), (1, 6), (2, 7), (2, 8), (3, 9)], False),
        ([(0.5, -5), (0.5, 1e6), (2, 7), (2, 8)], False),  # two parts that nothing joins
    ],
)
def test_which_arms_tell_two_parameters_apart(
    values: list[tuple[float, float]], *, apart: bool
) -> None:
    assert told_apart(values) is apart


def test_a_quiet_curve_goes_through_its_means() -> None:
    curve = curve_of([0, 1, 2, 5, 8, 10], [0, 0.07, 0.27, 0.67, 0.57, 0.27], [1e-6] * 6)
    np.testing.assert_allclose(
        np.interp([0, 2, 5, 10], curve.at, curve.mean), [0, 0.27, 0.67, 0.27], atol=0.02
    )
    assert 5 <= curve.best <= 7
    assert curve.best_low <= curve.best <= curve.best_high <= 8
    assert curve.best_mean == pytest.approx(curve.mean.max())
    turned = curve_of(
        [0, 1, 2, 5, 8, 10],
        [0, -0.07, -0.27, -0.67, -0.57, -0.27],
        [1e-6] * 6,
        lower_is_better=True,
    )
    assert turned.best == pytest.approx(curve.best, abs=0.3)


def test_of_noise_the_best_value_may_be_anywhere() -> None:
    curve = curve_of([-5, -1, 3, 7], [0.0, 0.1, -0.1, 0.05], [1.0] * 4)
    assert (curve.best_low, curve.best_high) == (-5, 7)
    again = curve_of([-5, -1, 3, 7], [0.0, 0.1, -0.1, 0.05], [1.0] * 4)
    np.testing.assert_array_equal(curve.mean, again.mean)


def test_the_curve_is_the_mean_of_gaussian_processes() -> None:
    """By the textbook's formulas over the same lengths and heights, without draws."""
    at, y, noise = np.array([1.0, 2, 4, 8, 16]), np.array([1.0, 2, 4, 3, 1]), 0.3
    curve = curve_of(at, y, [noise] * 5)
    spread = np.log1p(at)
    spots = (spread - spread[0]) / (spread[-1] - spread[0])
    places = np.linspace(0, 1, len(curve.at))
    means, likely, sds = [], [], []
    for length in np.geomspace(0.12, 2, 6):
        for height in noise**0.5 * np.geomspace(0.3, 10, 6):
            # A constant of unknown height is one more, very wide, part of the prior.
            kernel = lambda a, b: height**2 * np.exp(-((a[:, None] - b) ** 2) / 2 / length**2) + 1e6  # noqa: B023, E731
            inverse = np.linalg.inv(kernel(spots, spots) + noise * np.eye(5))
            likely.append((np.linalg.slogdet(inverse)[1] - y @ inverse @ y) / 2)
            means.append(kernel(places, spots) @ inverse @ y)
            across = kernel(places, spots)
            left = np.diag(kernel(places, places) - across @ inverse @ across.T)
            sds.append(np.sqrt(np.maximum(left, 0)))
    weights = np.exp(np.array(likely) - max(likely))
    expected = weights @ np.array(means) / weights.sum()
    np.testing.assert_allclose(curve.mean, expected, atol=0.08)
    # So much of the mixture of normals lies below each end of the band.
    for ends, share in ((curve.low, 0.025), (curve.high, 0.975)):
        below = stats.norm.cdf(ends, np.array(means), np.array(sds) + 1e-9)
        np.testing.assert_allclose(weights @ below / weights.sum(), share, atol=0.012)


def test_arms_that_happen_to_be_quiet_are_judged_in_the_noise_of_all() -> None:
    rng = np.random.default_rng(0)
    means, sds = np.linspace(0, 3, 5), np.array([0.2, 1.5, 1.5, 1.5, 0.2])
    values = means[:, None] + (alike(rng, means, 3) - means[:, None]) * sds[:, None]
    found = effect(values)
    assert found is not None
    contrasts = shapes(5) - shapes(5).mean(axis=1, keepdims=True)
    contrasts /= np.linalg.norm(contrasts, axis=1, keepdims=True)
    top = np.abs(contrasts @ means).max() / (np.mean(sds**2) / 3) ** 0.5
    drawn = rng.multivariate_normal(np.zeros(6), contrasts @ contrasts.T, 200_000)
    spread = np.sqrt(rng.chisquare(10, 200_000) / 10)
    expected = np.mean(np.abs(drawn).max(axis=1) / spread >= top) / FIRST
    assert found.p == pytest.approx(expected, rel=0.06)
