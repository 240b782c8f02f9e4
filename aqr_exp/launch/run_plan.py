"""What a run would do, before it does anything: steps, stages, the learning rate, and what is missing."""

from dataclasses import dataclass
from pathlib import Path

from aqr_exp.config.data_identity import read_data_identity, with_data_identity
from aqr_exp.config.learning_rate import peak_step, rate_at
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.stages import stages_of
from aqr_exp.errors import AqrExpError
from aqr_exp.launch.preflight import check_ready

CURVE_POINTS = 49
"""How many learning rates a plan shows."""


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run before it runs.

    Attributes:
        samples: Training samples of the split; None where the data are missing.
        steps_per_epoch: Steps of an epoch; None where that cannot be known: the data are missing, or
            class-balanced resampling decides.
        epochs: Passes.
        stages: Its stages in words; empty of a run without.
        rates: The learning rate at `CURVE_POINTS` moments, evenly from the first step to the last.
        peak_share: The share of the run after which the rate is highest.
        faults: Why it cannot run here, a line each.
    """

    samples: int | None
    steps_per_epoch: int | None
    epochs: int
    stages: tuple[str, ...]
    rates: tuple[float, ...]
    peak_share: float
    faults: tuple[str, ...]

    @property
    def steps(self) -> int | None:
        """Training steps in all."""
        return None if self.steps_per_epoch is None else self.steps_per_epoch * self.epochs


def plan_of(config: RunConfig, results: Path) -> RunPlan:
    """Look at a run without changing anything.

    Args:
        config: A checked run.
        results: The results folder; it need not exist.
    """
    schedule = config.schedule
    faults: list[str] = []
    samples = None
    try:
        config = with_data_identity(config)
        samples = read_data_identity(Path(config.data.root))["splits"][config.data.train_split]
    except AqrExpError as error:
        faults.append(str(error))
    try:
        check_ready(config, results)
    except AqrExpError as error:
        faults += str(error).splitlines()
    known = samples is not None and not schedule.cbgs
    steps = samples // schedule.batch_size if samples is not None and known else None
    # The curve has the same form whatever the number of steps.
    imagined = max(1000, (steps or 0) * schedule.epochs)
    moments = [round(index * (imagined - 1) / (CURVE_POINTS - 1)) for index in range(CURVE_POINTS)]
    return RunPlan(
        samples=samples,
        steps_per_epoch=steps,
        epochs=schedule.epochs,
        stages=tuple(map(str, stages_of(config))),
        rates=tuple(rate_at(schedule, step, imagined) for step in moments),
        peak_share=peak_step(schedule, imagined) / (imagined - 1),
        faults=tuple(faults),
    )
