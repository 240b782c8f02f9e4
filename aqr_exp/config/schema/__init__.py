"""The typed, validated objects every stage works from: one module a Hydra group."""

from aqr_exp.config.schema.data import DataConfig
from aqr_exp.config.schema.launcher import LauncherConfig
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import RunConfig
from aqr_exp.config.schema.schedule import ScheduleConfig
from aqr_exp.config.schema.start import StartConfig
from aqr_exp.config.schema.variant import VariantConfig

__all__ = [
    "DataConfig",
    "LauncherConfig",
    "ModelConfig",
    "RunConfig",
    "ScheduleConfig",
    "StartConfig",
    "VariantConfig",
]
