"""The plan of a run before it starts: steps, stages, learning rate, and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.inputs import read_data_identity, with_data_identity
from aqr_exp.config.rules import needs_trained_backbone
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.stages import peak_step, rate_at, stages_of
from aqr_exp.data.info_files import epoch_samples, prepared_part
from aqr_exp.data.nuscenes_tables import OFFICIAL_SAMPLES, PUBLISHED_DRAWS, SPLITS_OF_VERSION
from aqr_exp.errors import AqrExpError, Fault
from aqr_exp.launch.preflight import check_ready

CURVE_POINTS = 49
"""Learning rates in a plan."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run before it runs.

    The fields are those of its JSON, in that order.

    Attributes:
        samples: Training samples of the split; None while the data are missing.
        samples_per_epoch: Drawn by class-balanced resampling, or all of the split's; None while the
            data are missing, as are the steps.
        stages: One line each; empty for a run without stages.
        learning_rates: At `CURVE_POINTS` moments, evenly from the first step to the last.
        peak_share: Share of the run after which the rate is highest.
        rates: Multipliers of the learning rate, as `train.outline` gives them; empty when unknown.
        beginning: What the checkpoint gives, likewise; None without one.
        memory: Of a step, as `train.memory.estimate` gives it; empty when unknown.
        loading: Times of a step and of loading it, where a GPU was at hand to measure them: `step_s`,
            `load_s` of one process, `workers`, and `waiting`, in words; empty otherwise.
        notes: Lines on what would spoil its result.
        faults: Lines on what is missing to run it here.
    """

    samples: int | None
    samples_per_epoch: int | None
    epochs: int
    steps_per_epoch: int | None
    steps: int | None
    stages: tuple[str, ...]
    learning_rates: tuple[float, ...]
    peak_share: float
    rates: list[dict[str, Any]]
    beginning: dict[str, Any] | None
    memory: dict[str, float]
    loading: dict[str, Any]
    notes: tuple[str, ...]
    faults: tuple[str, ...]


def plan_of(config: RunConfig, results: Path) -> RunPlan:
    """Plan a run without changing anything; the results folder need not exist."""
    schedule = config.schedule
    faults: list[str] = []
    samples, drawn, part = None, None, ""
    try:
        config = with_data_identity(config)
        root = Path(config.data.root)
        samples = read_data_identity(root)["splits"][config.data.train_split]
        part = str(prepared_part(root))
        drawn = epoch_samples(config, samples)
    except AqrExpError as error:
        faults.append(str(error))
    try:
        check_ready(config, results)
    except AqrExpError as error:
        faults += str(error).splitlines()
    steps = None if drawn is None else drawn // schedule.batch_size
    if steps == 0:
        value = str(schedule.batch_size)
        rule = f"an epoch draws {drawn} samples: must be from 1 to {drawn}"
        faults.append(str(Fault("schedule.batch_size", value, rule)))
    official = official_draws(config)
    imagined = (steps or (official[1] // schedule.batch_size if official else 0)) * schedule.epochs
    if imagined < 2 or not schedule.warm_steps:
        # Of a share of the steps the curve has the same form whatever their number.
        imagined = max(1000, imagined)
    moments = [round(index * (imagined - 1) / (CURVE_POINTS - 1)) for index in range(CURVE_POINTS)]
    return RunPlan(
        samples=samples,
        samples_per_epoch=drawn,
        epochs=schedule.epochs,
        steps_per_epoch=steps,
        steps=None if steps is None else steps * schedule.epochs,
        stages=tuple(map(str, stages_of(config))),
        learning_rates=tuple(rate_at(schedule, step, imagined) for step in moments),
        peak_share=peak_step(schedule, imagined) / (imagined - 1),
        rates=[],
        beginning=None,
        memory={},
        loading={},
        notes=(
            *([] if drawn is not None else official_notes(config)),
            *([f"the data are a part of {config.data.version}: {part}"] if part else []),
            *backbone_notes(config),
        ),
        faults=tuple(dict.fromkeys(faults)),
    )


def official_draws(config: RunConfig) -> tuple[int, int] | None:
    """Samples of an official training split, and draws of an epoch; None of another, or where unknown."""
    schedule, split = config.schedule, config.data.train_split
    own = SPLITS_OF_VERSION.get(config.data.version, ())
    samples = OFFICIAL_SAMPLES.get(split) if split in own else None
    unlike = split != "train" or config.data.balance_by != "annotated"
    if samples is None or (schedule.cbgs and unlike):
        return None
    return samples, PUBLISHED_DRAWS if schedule.cbgs else samples


def official_notes(config: RunConfig) -> Iterator[str]:
    """A line for a run on an official split that is missing: its number of steps."""
    found = official_draws(config)
    if found is None:
        return
    (samples, drawn), schedule, split = found, config.schedule, config.data.train_split
    steps = drawn // schedule.batch_size
    resampled = (
        f", {drawn:,} an epoch by published class-balanced resampling" if schedule.cbgs else ""
    )
    yield (
        f"with the {samples:,} samples of the official split {split}{resampled}: {steps:,} steps an "
        f"epoch, {steps * schedule.epochs:,} in all"
    )


def backbone_notes(config: RunConfig) -> Iterator[str]:
    """A line for an image backbone that begins at random and can hardly learn."""
    schedule = config.schedule
    if needs_trained_backbone(config):
        yield (
            "the image backbone begins at random, with fixed batch statistics and "
            f"schedule.img_backbone_lr_mult={schedule.img_backbone_lr_mult:g}: the published runs "
            "begin with trained weights (start.load_from=FILE start.parts=[img_backbone])"
        )
