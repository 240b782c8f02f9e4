"""Where and how a run executes; nothing here may change its numbers."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from aqr_exp.config.schema.constraints import Range


class Device(str, Enum):
    """Which device trains; `auto` takes CUDA when there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True, kw_only=True)
class LauncherConfig:
    """The process a run gets.

    Attributes:
        name: The launcher's name.
        device: Which device trains.
        loader_workers: Data loading processes; 0 loads in the training process.
        threads: Torch threads; 0 takes every core. Sums on a CPU may differ in the last bit
            between thread counts, so the count is recorded with the run.
    """

    name: str
    device: Device
    loader_workers: Annotated[int, Range(0, 64)]
    threads: Annotated[int, Range(0, 256)]
