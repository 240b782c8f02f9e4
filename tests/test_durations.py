import pytest

from aqr_exp.files.progress import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (59.6, "1:00"), (187, "3:07"), (3723, "1:02:03")],
)
def test_measured_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (99.4, "99 s"),
        (99.5, "2 min"),
        (59.5 * 60, "60 min"),
        (100 * 60, "1 h 40 min"),
        (120 * 60, "2 h"),
        (47.99 * 3600, "47 h 59 min"),
        (48 * 3600, "2 d"),
        (51 * 3600, "2 d 3 h"),
    ],
)
def test_estimated_durations_are_rounded(seconds: float, text: str) -> None:
    assert duration(seconds, rounded=True) == text
