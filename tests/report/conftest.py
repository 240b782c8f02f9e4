"""Shared by the tests of reports."""

import pytest

from aqr_exp.report.tables.request import TableRequest
from aqr_exp.statistics.resampling import Resampling


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables with ten resamples of scenes: for tests that look at anything but intervals."""
    monkeypatch.setattr(TableRequest, "settings", Resampling(resamples=10))
