"""The learning rate over a run, as a formula: what a plan shows before anything is trained."""

import math

from aqr_exp.config.schema.schedule import ScheduleConfig


def peak_step(schedule: ScheduleConfig, steps: int) -> int:
    """The step, counted from 0, on which the rate is highest.

    Args:
        schedule: The schedule.
        steps: Training steps in all.
    """
    return round((steps - 1) * schedule.warm_fraction)


def rate_at(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The learning rate of a step, before the multipliers of groups of parameters.

    Two half cosines: from `learning_rate` up to `peak_ratio` times it, then down to `final_ratio`
    times it (the cyclic policy of CMT's recipe).

    Args:
        schedule: The schedule.
        step: Counted from 0.
        steps: Training steps in all.

    Raises:
        ValueError: There is no such step.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is not one of {steps}")
    peak = peak_step(schedule, steps)
    # Where no step is left to rise on, the rate starts at 1 and falls from there.
    top = schedule.peak_ratio if peak else 1.0
    if step <= peak:
        ratio = _half_cosine(1.0, top, step / peak) if peak else top
    else:
        ratio = _half_cosine(top, schedule.final_ratio, (step - peak) / (steps - 1 - peak))
    return schedule.learning_rate * ratio


def _half_cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
