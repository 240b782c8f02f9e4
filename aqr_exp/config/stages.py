"""Stages of a schedule, the learning rate over its steps, and the rules of training augmentation."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.data import AugmentConfig
from aqr_exp.config.schema.schedule import ScheduleConfig, StageConfig
from aqr_exp.errors import Fault


def augment_rules(augment: AugmentConfig, where: str) -> Iterator[Fault]:
    """One line for each rule that augmentation breaks.

    Args:
        where: What its keys begin with in messages, such as `data.augment`.
    """
    for key, (low, high) in (("resize", augment.resize), ("scale", augment.scale)):
        if not 0 < low <= high:
            yield Fault(f"{where}.{key}", f"{[low, high]}", "must be positive, lowest first")
    if any(std < 0 for std in augment.translate_std_m):
        stds = f"{list(augment.translate_std_m)}"
        yield Fault(f"{where}.translate_std_m", stds, "must not be negative")
    dropped = augment.drop_camera + augment.drop_lidar
    if dropped > 1:
        rule = "must add up to at most 1: a sample loses one sensor or none"
        both = (f"{where}.drop_camera", f"{where}.drop_lidar")
        yield Fault(rule=f"{both[0]} + {both[1]} = {dropped:g}: {rule}", about=both)


def peak_step(schedule: ScheduleConfig, steps: int) -> int:
    """The step, counted from 0, on which the rate is highest."""
    return min(steps - 1, schedule.warm_steps or round((steps - 1) * schedule.warm_fraction))


def rate_at(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The learning rate of a step (counted from 0), before the multipliers of groups of parameters.

    Two half cosines: from `learning_rate` up to `peak_ratio` times it, then down to `final_ratio`
    times it (the cyclic policy of CMT's recipe).

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


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of one run.

    Attributes:
        number: Counted from 1.
        first_epoch: Its first epoch, counted from 0.
        epochs: How many it lasts.
        config: The run, with the data as this stage trains on them.
        changes: What differs from `data`, in words such as `gt_sampling=false, drop_camera=0`.
    """

    number: int
    first_epoch: int
    epochs: int
    config: RunConfig
    changes: str

    def __str__(self) -> str:
        last = self.first_epoch + self.epochs
        span = f"epoch {last}" if self.epochs == 1 else f"epochs {self.first_epoch + 1}-{last}"
        return f"stage {self.number} ({span}; {self.changes or 'as data says'})"


def stages_of(config: RunConfig) -> tuple[Stage, ...]:
    """The stages of a run in order; empty when it has none."""
    stages = config.schedule.stages or ()
    firsts = accumulate((stage.epochs for stage in stages[:-1]), initial=0)
    return tuple(
        Stage(
            number=number,
            first_epoch=first,
            epochs=stage.epochs,
            config=_during(config, stage),
            changes=", ".join(f"{name}={_word(value)}" for name, value in _said(stage)),
        )
        for number, (first, stage) in enumerate(zip(firsts, stages, strict=False), start=1)
    )


def stage_at(stages: tuple[Stage, ...], epoch: int) -> Stage | None:
    """The stage an epoch (counted from 0) lies in; None when the run has no stages."""
    begun = [stage for stage in stages if stage.first_epoch <= epoch]
    return begun[-1] if begun else None


def stage_rules(config: RunConfig) -> Iterator[Fault]:
    """One line for each broken rule of a schedule's stages."""
    schedule = config.schedule
    if schedule.stages is None:
        return
    total = sum(stage.epochs for stage in schedule.stages)
    if total != schedule.epochs:
        rule = f"the epochs of schedule.stages add up to {total}: they must be equal"
        about = ("schedule.stages",)
        yield Fault("schedule.epochs", f"{schedule.epochs}", rule, about=about)
    if len(schedule.stages) < 2:
        rule = "fewer than two stages: set what they change in data, and leave them out"
        yield Fault("schedule.stages", None, rule)
    for index, (one, other) in enumerate(pairwise(schedule.stages)):
        if dict(_said(one)) == dict(_said(other)):
            rule = "is as the stage before it: make them one"
            yield Fault(f"schedule.stages[{index + 1}]", None, rule, about=("schedule.stages",))
    for where, place in stage_places(config).items():
        if place.gt_sampling is not None and config.data.gt_sampling is None:
            word = _word(place.gt_sampling)
            rule = "there is no data.gt_sampling to switch on or off (gt_sampling=cmt gives one)"
            keys = ("schedule.stages", "data.gt_sampling")
            yield Fault(f"{where}.gt_sampling", word, rule, about=keys)
    if any(augment_rules(config.data.augment, "data.augment")):
        return  # every stage would repeat it
    for where, stage in zip(stage_places(config), stages_of(config), strict=True):
        yield from augment_rules(stage.config.data.augment, where)


def stage_places(config: RunConfig) -> dict[str, StageConfig]:
    """The stages of a run by what their keys begin with in messages: `schedule.stages[0]`, ..."""
    stages = enumerate(config.schedule.stages or ())
    return {f"schedule.stages[{index}]": stage for index, stage in stages}


def _during(config: RunConfig, stage: StageConfig) -> RunConfig:
    """The run as it is while a stage lasts."""
    data = config.data
    augment = {name: value for name, value in _said(stage) if name != "gt_sampling"}
    during = dataclasses.replace(
        data,
        augment=dataclasses.replace(data.augment, **augment),
        gt_sampling=None if stage.gt_sampling is False else data.gt_sampling,
    )
    return dataclasses.replace(config, data=during)


def _said(stage: StageConfig) -> list[tuple[str, Any]]:
    """The fields a stage sets besides its length."""
    names = [field.name for field in dataclasses.fields(stage) if field.name != "epochs"]
    return [(name, value) for name in names if (value := getattr(stage, name)) is not None]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
