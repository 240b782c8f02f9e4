"""A few real iterations of each distinct configuration, before hours of them are queued."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.launcher import Device
from aqr_exp.launch.slots import Slot
from aqr_exp.launch.training import COMMAND_VARIABLE, ending
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
        process = _started([str(folder.path) for folder in folders], log, slot, environment)
        try:
            known = 0
            for line in process.stdout or ():
                known += 1
                yield json.loads(line)
            if known < len(folders):
                yield {"fault": _last_words(process.wait(), log)}
        finally:
            _end(process)


def _started(
    folders: Sequence[str], log: Path, slot: Slot, environment: Mapping[str, str]
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", MODULE, "--threads", str(slot.threads), *folders]
    with log.open("wb") as words:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            # Ctrl-C is for whoever waits here, who ends the whole group.
            start_new_session=True,
            env={**os.environ, **environment},
        )


def _end(process: subprocess.Popen[str]) -> None:
    """End the process with its loader workers, whatever they are at."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _last_words(returncode: int, log: Path) -> str:
    """Why the process ended: its exit code or signal, and the last line it wrote."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(returncode)}; its last line: {lines[-1] if lines else 'none'}"
