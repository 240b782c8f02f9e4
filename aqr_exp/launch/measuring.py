"""A process of this package that answers in lines of JSON on its stdout."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.run import Device
from aqr_exp.errors import AqrExpError
from aqr_exp.launch.preflight import machine
from aqr_exp.launch.slots import THREAD_VARIABLES, Slot, usable_cores
from aqr_exp.launch.training import COMMAND_VARIABLE, ending
from aqr_exp.store.cost import Cost, cost_of, write_cost
from aqr_exp.store.run_folder import RunFolder, utc_now


@contextmanager
def answering(
    module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m module`; it is ended with all it has started when the context ends.

    Args:
        module: The module.
        arguments: Its arguments.
        log: Gets what it writes to stderr.
        environment: Variables it gets besides ours.

    Yields:
        The process.

    Raises:
        OSError: It could not be started, or the log not be written.
    """
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            # Ctrl-C is for whoever waits here, who ends the whole group.
            start_new_session=True,
            env={**os.environ, **environment},
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def answers(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Each line, as soon as it is there."""
    for line in process.stdout or ():
        yield json.loads(line)


def last_words(returncode: int, log: Path) -> str:
    """Why a process ended: its exit code or signal, and the last line it wrote.

    Args:
        returncode: As `subprocess` gives it.
        log: What it wrote to stderr.
    """
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{ending(returncode)}; its last line: {lines[-1] if lines else 'none'}"


COST_MODULE = "aqr_exp.train.measure_cost"
Step = Callable[[int, int], None]
"""Told how many steps are done, of how many."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run's measurement.

    Attributes:
        name: The run.
        cost: What was measured; it is in the run's folder.
        fault: Why nothing was.
    """

    name: str
    cost: Cost | None = None
    fault: str | None = None


def measure_together(
    folders: Sequence[RunFolder], *, passes: int, samples: int, step: Step
) -> Iterator[Outcome]:
    """Measure runs pass by pass in turn, and write down in each folder what was found.

    Args:
        folders: The runs' folders.
        passes: Timed passes of each.
        samples: Samples of the validation split that they go through.
        step: Told about progress.

    Yields:
        One for each run, in no certain order.

    Raises:
        OSError: The process could not be started, or a result not be written.
    """
    waiting = {folder.name: folder for folder in folders}
    threads = usable_cores()
    arguments = [*(str(folder.path) for folder in folders), "--threads", str(threads)]
    arguments += ["--passes", str(passes), "--samples", str(samples)]
    shared = {"call": secrets.token_hex(8), "measured": utc_now()}
    # NumPy's and OpenMP's own threads would only fight with torch's, which are set run by run.
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="aqr-exp-cost-") as place:
        log = Path(place) / "log"
        with answering(COST_MODULE, arguments, log, environment) as process:
            for answer in answers(process):
                if "name" not in answer:
                    step(answer["done"], answer["total"])
                    continue
                yield _outcome(waiting.pop(answer["name"]), answer, shared)
            if waiting:
                fault = last_words(process.wait(), log)
                yield from (Outcome(name=name, fault=fault) for name in waiting)


def _outcome(folder: RunFolder, answer: Mapping[str, Any], shared: Mapping[str, str]) -> Outcome:
    if "fault" in answer:
        return Outcome(name=folder.name, fault=answer["fault"])
    found = {name: value for name, value in answer.items() if name != "name"}
    hardware = machine() | {name: found.pop(name) for name in ("device", "threads")}
    cost = cost_of({**found, **shared, "hardware": hardware})
    write_cost(folder.cost_path, cost)
    return Outcome(name=folder.name, cost=cost)


MEMORY_MODULE = "aqr_exp.train.memory"


def estimate_memory(config: RunConfig) -> dict[str, float]:
    """Estimate from shapes; takes seconds, most of them for loading what builds the detector.

    Args:
        config: The run.

    Returns:
        `weights_gb`, `activations_gb` and `total_gb`, as `aqr_exp.train.memory` defines them.

    Raises:
        AqrExpError: The detector cannot be built here; holds the last line of what went wrong.
    """
    with tempfile.TemporaryDirectory(prefix="aqr-exp-memory-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(to_yaml(config), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", MEMORY_MODULE, str(spec)],
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        words = done.stderr.strip().splitlines() or ["it said nothing"]
        raise AqrExpError(f"the memory cannot be estimated: {words[-1]}")
    sizes: dict[str, float] = json.loads(lines[-1])
    return sizes


FIRST_STEPS_MODULE = "aqr_exp.train.first_steps"


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
        with answering(FIRST_STEPS_MODULE, arguments, log, environment) as process:
            known = 0
            for answer in answers(process):
                known += 1
                yield answer
            if known < len(folders):
                yield {"fault": last_words(process.wait(), log)}
