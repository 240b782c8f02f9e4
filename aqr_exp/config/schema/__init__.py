"""The typed, validated objects every stage works from: one module a Hydra group."""

from aqr_exp.config.schema.data import DataConfig
from aqr_exp.config.schema.model import ModelConfig
from aqr_exp.config.schema.run import LauncherConfig, RunConfig, StartConfig
from aqr_exp.config.schema.schedule import ScheduleConfig
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
