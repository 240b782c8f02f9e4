"""One run, completely specified."""

from dataclasses import dataclass
from typing import Annotated

from aqr_exp.config.schema.constraints import Before, Excluded, Range
from aqr_exp.config.schema.data import DataConfig
from aqr_exp.config.schema.evaluator import Evaluator
from aqr_exp.config.schema.launcher import LauncherConfig
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.schedule import ScheduleConfig
from aqr_exp.config.schema.start import StartConfig
from aqr_exp.config.schema.variant import VariantConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run depends on.

    Attributes:
        variant: The arm of the comparison.
        model: The detector.
        data: The data set and augmentation.
        schedule: Optimiser and schedule.
        launcher: Where it executes; never part of the identity.
        preset: Name of the preset the configuration came from.
        seed: Seed of everything random; the replicate axis, kept beside the fingerprint.
        evaluator: Whose code scores it; never part of the identity.
        start: What its weights start from; None trains from scratch and is not in the identity.
    """

    variant: VariantConfig
    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    launcher: Annotated[LauncherConfig, Excluded()]
    preset: Annotated[str, Excluded()]
    seed: Annotated[int, Range(0, 2**31 - 1), Excluded()]
    evaluator: Annotated[Evaluator, Excluded(), Before(Evaluator.OFFICIAL)]
    start: StartConfig | None = None
