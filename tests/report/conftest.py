"""Shared by the tests of reports."""

from functools import partial

import pytest

from aqr_exp.report.tables import comparison_data
from aqr_exp.statistics.resampling import Resampling


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with ten resamples of scenes: for tests that look at anything but intervals."""
    for name in ("arm_intervals", "compare_arms"):
        quick = partial(getattr(comparison_data, name), settings=Resampling(resamples=10))
        monkeypatch.setattr(comparison_data, name, quick)
