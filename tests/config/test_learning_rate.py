import dataclasses

import pytest

from aqr_exp.config.load import load_run
from aqr_exp.config.stages import peak_step, rate_at

SCHEDULE = dataclasses.replace(
    load_run("baseline").schedule,
    learning_rate=1e-4,
    peak_ratio=6.0,
    final_ratio=1e-4,
    warm_fraction=0.4,
)


def test_the_ends_the_peak_and_the_middles() -> None:
    steps = 101
    assert peak_step(SCHEDULE, steps) == 40
    assert rate_at(SCHEDULE, 0, steps) == pytest.approx(1e-4)
    assert rate_at(SCHEDULE, 20, steps) == pytest.approx(3.5e-4)  # half way from 1 to 6
    assert rate_at(SCHEDULE, 40, steps) == pytest.approx(6e-4)
    assert rate_at(SCHEDULE, 70, steps) == pytest.approx((6 + 1e-4) / 2 * 1e-4)
    assert rate_at(SCHEDULE, 100, steps) == pytest.approx(1e-8)


def test_a_run_of_one_step_has_no_time_to_rise() -> None:
    assert rate_at(SCHEDULE, 0, 1) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match=r"^step 1 is not one of 1$"):
        rate_at(SCHEDULE, 1, 1)
