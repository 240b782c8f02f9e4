import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aqr_exp.statistics.estimates import MOST, least_p, sign_flip_p

_DIFFERENCES = st.lists(st.integers(-9, 9).map(lambda n: n / 8), min_size=1, max_size=7)


def test_by_hand():
    # Sums of +-1, +-2, +-4: 7 and -7 of eight are at least as far as 7; for 1 + 2 - 4 all are.
    assert sign_flip_p([1, 2, 4]) == 2 / 8
    assert sign_flip_p([1, 2, -4]) == 1
    assert sign_flip_p([3, -1]) == 1
    assert sign_flip_p([0.0, 0.0]) == 1


@given(_DIFFERENCES)
def test_against_scipys_permutation_test(differences):
    expected = (
        stats.permutation_test(
            (np.array(differences), np.zeros(len(differences))),
            lambda first, second, axis: (first - second).mean(axis=axis),
            permutation_type="samples",
            n_resamples=np.inf,
            vectorized=True,
        )
        if len(differences) > 1
        else None
    )
    found = sign_flip_p(differences)
    assert found == (1 if expected is None else pytest.approx(expected.pvalue))


@given(_DIFFERENCES)
def test_the_sign_does_not_matter(differences):
    assert sign_flip_p(differences) == sign_flip_p([-value for value in differences])


def test_the_floor_is_that_of_the_signed_rank_test():
    assert [least_p(pairs) for pairs in (3, 4, 5)] == [0.25, 0.125, 0.0625]
    for pairs in range(2, 8):
        values = np.arange(1.0, pairs + 1)
        assert sign_flip_p(list(values)) == least_p(pairs)
        assert stats.wilcoxon(values).pvalue == least_p(pairs)


def test_nothing_and_too_many_are_not_tried():
    assert sign_flip_p([]) is None
    assert sign_flip_p([1.0] * (MOST + 1)) is None
