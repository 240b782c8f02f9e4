"""Calls of functions that a user wrote."""

import pytest

from aqr_exp.config.variant_spec import VariantSpec
from aqr_exp.errors import RunFailedError
from aqr_exp.files.own_code import call_own


def _generated(count: int):
    yield from range(count)


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (_generated, [0, 1]),
        (lambda count: iter(range(count)), [0, 1]),
        (lambda count: map(str, range(count)), ["0", "1"]),
        (lambda count: (count,), (2,)),
        (lambda _count: None, None),
    ],
)
def test_what_an_iterator_yields_is_a_list(function, found) -> None:
    assert call_own(function, "warnings", 2) == found


def test_a_variant_without_warnings_gives_none() -> None:
    assert call_own(VariantSpec().warnings, "warnings", None, {}) == []


def test_what_it_raises_is_told_with_file_and_line() -> None:
    with pytest.raises(RunFailedError, match=r"test_own_code.py:\d+: warnings: ZeroDivision"):
        call_own(lambda count: count / 0, "warnings", 2)
