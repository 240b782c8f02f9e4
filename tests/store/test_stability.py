import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aqr_exp.store.history import gradient_spikes, loss_oscillation, stability_metrics


def train(losses: list[float | None], norms: list[float | None] | None = None) -> list[Any]:
    return [
        {"kind": "train", "step": step, "loss": loss, "grad_norm": norms[step - 1] if norms else 1}
        for step, loss in enumerate(losses, start=1)
    ]


def test_oscillation_by_hand() -> None:
    # Steps 5 to 8 are the last half: losses 2, 4, 3, 3, differences 2, -1, 0, mean of losses 3.
    # The differences' mean is 1/3: squares (5/3)^2 + (4/3)^2 + (1/3)^2 = 42/9, over 2, root 1.527525.
    history = train([90.0, 50.0, 70.0, 10.0, 2.0, 4.0, 3.0, 3.0])
    assert loss_oscillation(history) == pytest.approx(1.527525 / 3, abs=1e-6)


def test_a_steady_fall_does_not_oscillate() -> None:
    assert loss_oscillation(train([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])) == 0.0


def test_the_last_of_a_repeated_step_counts() -> None:
    unbroken = train([9.0, 8.0, 7.0, 6.0, 5.0, 4.5, 4.0, 4.2])
    killed = [*train([9.0, 8.0, 7.0, 6.0, 99.0, 1.0]), *unbroken[4:]]
    assert loss_oscillation(killed) == loss_oscillation(unbroken)
    spiky = train([1.0] * 12, [1.0] * 10 + [9.0, 1.0])
    assert gradient_spikes([*train([1.0] * 7, [1.0] * 6 + [50.0]), *spiky[5:]]) == 1 / 7


def test_half_is_half_of_the_steps_and_not_of_the_lines() -> None:
    # Every 10 steps at first, then every step: only steps beyond 32 are the last half of 64.
    steps = [*range(0, 61, 10), 61, 62, 63, 64]
    history = [
        {"kind": "train", "step": step, "loss": 1.0 if step > 32 else 50.0 + step} for step in steps
    ]
    assert loss_oscillation(history) == 0.0


def test_other_lines_and_missing_values_are_passed_over() -> None:
    history = train([9.0, 9.0, 9.0, 2.0, None, 4.0, 3.0, math.nan, 3.0], None)
    noise = [{"kind": "val", "epoch": 1, "step": 6, "loss": 99.0}, {"kind": "warning"}, {}]
    # Steps 6, 7 and 9: losses 4, 3, 3, differences -1, 0; sd root(.5), mean 10/3.
    expected = math.sqrt(0.5) / (10 / 3)
    assert loss_oscillation([*noise, *history, *noise]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "losses", [[], [1.0], [0.0] * 9, [-1.0] * 9, [None] * 9, [1.0, 2.0, 1.0, 2.0]]
)
def test_too_little_to_tell(losses: list[float | None]) -> None:
    assert loss_oscillation(train(losses)) is None


def test_spikes_by_hand() -> None:
    # Judged are steps 6 to 10; medians before them 1, 1, 1, 1, 1: only 3.5 and 30 exceed three.
    norms: list[float | None] = [1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.5, 1.0, 30.0, 1.0]
    assert gradient_spikes(train([1.0] * 10, norms)) == 2 / 5


def test_the_first_steps_are_not_judged_and_their_norms_are_soon_no_measure() -> None:
    assert gradient_spikes(train([1.0] * 5, [500.0, 1.0, 1.0, 1.0, 90.0])) is None
    # The median of 500, 1, 1, 1, 1 is 1: a median follows at once where a mean would not.
    assert gradient_spikes(train([1.0] * 6, [500.0, 1.0, 1.0, 1.0, 1.0, 4.0])) == 1.0


def test_the_median_runs_along() -> None:
    # A norm that grows tenfold for good is a spike until the 50 before it are mostly the new ones.
    norms: list[float | None] = [1.0] * 50 + [10.0] * 60
    # 25 of 50 old: the median lies between, at 5.5, and three times it is above 10.
    assert gradient_spikes(train([1.0] * 110, norms)) == 25 / 105


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=150), st.floats(0.01, 100))
def test_units_do_not_matter(norms: list[float], factor: float) -> None:
    values: list[float | None] = list(norms)
    scaled: list[float | None] = [norm * 4.0 for norm in norms]
    assert gradient_spikes(train(values, scaled)) == gradient_spikes(train(values, values))
    bigger: list[float | None] = [factor * norm for norm in norms]
    expected = loss_oscillation(train(values))
    assert expected is not None
    assert loss_oscillation(train(bigger)) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_against_a_plain_loop() -> None:
    norms: list[float | None] = [1.3 ** (step * step * 7919 % 23) for step in range(200)]
    count = judged = 0
    for at in range(5, 200):
        before = sorted(norms[at - 50 if at > 50 else 0 : at], key=lambda norm: norm or 0)
        judged += 1
        count += (norms[at] or 0) > 3 * statistics.median(value or 0 for value in before)
    assert count > 5
    assert gradient_spikes(train([1.0] * 200, norms)) == count / judged


def test_the_names_in_the_metrics() -> None:
    assert stability_metrics(train([1.0] * 8)) == {
        "stability/loss_oscillation": 0.0,
        "stability/gradient_spikes": 0.0,
    }
    assert stability_metrics([]) == {
        "stability/loss_oscillation": None,
        "stability/gradient_spikes": None,
    }


def test_numbers_that_no_decimal_holds_are_left_out() -> None:
    history = [{"kind": "train", "step": step, "loss": 1.0 + step % 2} for step in range(1, 21)]
    known = loss_oscillation(history)
    assert known is not None
    for loss in (10**400, -(10**400), math.inf, math.nan):
        assert loss_oscillation([*history, {"kind": "train", "step": 20.5, "loss": loss}]) == known
