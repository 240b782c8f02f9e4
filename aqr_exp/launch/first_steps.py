"""A few real iterations of each distinct configuration, before hours of them are queued."""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.launcher import Device
from aqr_exp.launch.answering import answering, answers, last_words
from aqr_exp.launch.slots import Slot
from aqr_exp.launch.training import COMMAND_VARIABLE
from aqr_exp.results.run_folder import RunFolder

MODULE = "aqr_exp.train.first_steps"


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """How the first iterations of a configuration went.

    Attributes:
        name: Whose.
        step_s: How long one took, in seconds, without waiting for data; None after a fault.
        memory_mb: The most memory in use, in megabytes: of the GPU, or of the process without one.
        loss: Of the first.
        fault: Why they could not be made; None when they could.
    """

    name: str
    step_s: float | None = None
    memory_mb: float | None = None
    loss: float | None = None
    fault: str | None = None


def can_be_tried() -> bool:
    """Whether runs are trained by this package: what stands in for the training is not tried."""
    return not os.environ.get(COMMAND_VARIABLE)


def try_first_steps(configs: Mapping[str, RunConfig], slot: Slot) -> Iterator[FirstSteps]:
    """Make a few iterations of each run in a process of their own; nothing is left behind.

    Args:
        configs: Runs by their names, with the identity of their data.
        slot: Where: its threads and its GPU.

    Yields:
        How each went, as soon as that is known. What ends the process (out of memory) is the fault
        of the one it was at; the others are tried in a new one.

    Raises:
        OSError: The process could not be started, or the temporary folder not be written.
    """
    for on_cpu in (True, False):
        names = [name for name, c in configs.items() if (c.launcher.device is Device.CPU) is on_cpu]
        environment = {**slot.environment, **({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})}
        while names:
            for steps in _in_one_process([configs[name] for name in names], slot, environment):
                yield FirstSteps(**{**steps, "name": names.pop(0)})


def _in_one_process(
    configs: Sequence[RunConfig], slot: Slot, environment: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The answers about the first so many runs; the last is a fault when the process has ended."""
    with tempfile.TemporaryDirectory(prefix="aqr-exp-preflight-") as place:
        folders = [RunFolder(Path(place) / str(index)) for index in range(len(configs))]
        for folder, config in zip(folders, configs, strict=True):
            folder.create(to_yaml(config), {})
        log = Path(place) / "log"
        arguments = ["--threads", str(slot.threads), *(str(folder.path) for folder in folders)]
        with answering(MODULE, arguments, log, environment) as process:
            known = 0
            for answer in answers(process):
                known += 1
                yield answer
            if known < len(folders):
                yield {"fault": last_words(process.wait(), log)}
