"""Data that every end-to-end test shares."""

from pathlib import Path

import pytest
from workplace import Workplace


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A tiny data set: 9 training and 3 validation keyframes."""
    place = Workplace(tmp_path_factory.mktemp("maker"), tmp_path_factory.mktemp("the data's"))
    place.aqr_exp("data", "synth", "--train-scenes", "3", "--val-scenes", "1", "--keyframes", "3")
    return Path(place.environment["AQR_EXP_DATA"])
