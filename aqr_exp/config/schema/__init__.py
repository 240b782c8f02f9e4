"""The typed, validated objects every stage works from: one module a Hydra group."""

from aqr_exp.config.schema.data import DataConfig
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import LauncherConfig, RunConfig, StartConfig, VariantSettings
from aqr_exp.config.schema.schedule import ScheduleConfig

__all__ = [
    "DataConfig",
    "LauncherConfig",
    "ModelConfig",
    "RunConfig",
    "ScheduleConfig",
    "StartConfig",
    "VariantSettings",
]
