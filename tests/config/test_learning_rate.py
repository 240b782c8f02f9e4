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


def test_a_number_of_warm_steps_stands_in_the_place_of_the_share() -> None:
    """MoME's second stage: to 1e-4 within 1,000 steps, to 1e-7 at the end."""
    typed = ["schedule=router_only", "schedule.warm_fraction=0.9"]
    schedule, steps = load_run("baseline", typed).schedule, 46_338
    assert (schedule.epochs, schedule.warm_steps) == (6, 1000)
    assert peak_step(schedule, steps) == 1000
    for step, rate in ((0, 1e-5), (500, 5.5e-5), (1000, 1e-4), (steps - 1, 1e-7)):
        assert rate_at(schedule, step, steps) == pytest.approx(rate)
    # Half of the cosine's way down, 22,668.5 steps on.
    assert rate_at(schedule, 23_668, steps) == pytest.approx(5.005e-5, rel=1e-4)
    # A shorter run rises to its end.
    assert peak_step(schedule, 11) == 10
    assert rate_at(schedule, 10, 11) == pytest.approx(1e-4)
    assert peak_step(dataclasses.replace(schedule, warm_steps=0), 101) == 90


def test_a_run_of_one_step_has_no_time_to_rise() -> None:
    assert rate_at(SCHEDULE, 0, 1) == pytest.approx(1e-4)
    with pytest.raises(ValueError, match=r"^step 1 is not one of 1$"):
        rate_at(SCHEDULE, 1, 1)
