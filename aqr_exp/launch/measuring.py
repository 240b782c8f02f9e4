"""Measurements of runs by worker processes: cost, memory, first steps, and corrupted sensors."""

import math
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aqr_exp.config.identity import to_yaml
from aqr_exp.config.schema import RunConfig
from aqr_exp.config.schema.run import MOST_WORKERS, Device
from aqr_exp.errors import AqrExpError, RequestError, RunFailedError
from aqr_exp.files.progress import Progress
from aqr_exp.launch.executor import COMMAND_VARIABLE
from aqr_exp.launch.json_worker import exit_summary, json_worker, last_line, open_log, responses
from aqr_exp.launch.preflight import machine, missing_for_training
from aqr_exp.launch.slots import THREAD_VARIABLES, Slot, usable_cores
from aqr_exp.store.cost import Cost, cost_of
from aqr_exp.store.run_folder import RunFolder, utc_now

if TYPE_CHECKING:
    from aqr_exp.data.corruptions.cases import CorruptionCase

COST_MODULE = "aqr_exp.train.measure_cost"
OUTLINE_MODULE = "aqr_exp.train.outline"
FIRST_STEPS_MODULE = "aqr_exp.train.first_steps"
CORRUPTION_MODULE = "aqr_exp.train.corruption_eval"
# NumPy's own threads would only compete with torch's.
ONE_BLAS_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The cost of one run, which is also written to its folder; or why there is none."""

    name: str
    cost: Cost | None = None
    fault: str | None = None


def measure_together(
    folders: Sequence[RunFolder], *, passes: int, samples: int, progress: Progress
) -> Iterator[Outcome]:
    """Measure the cost of runs pass by pass in turn, and write it to each run's folder.

    Args:
        passes: Timed passes of each run.
        samples: Samples of the validation split that they go through.
        progress: Called with the steps done and all steps.

    Yields:
        One outcome for each run, in no particular order.

    Raises:
        OSError: The process could not be started, or a result not be written.
    """
    waiting = {folder.name: folder for folder in folders}
    threads = usable_cores()
    arguments = [*(str(folder.path) for folder in folders), "--threads", str(threads)]
    arguments += ["--passes", str(passes), "--samples", str(samples)]
    shared = {"call": secrets.token_hex(8), "measured": utc_now()}
    environment = dict.fromkeys(THREAD_VARIABLES, str(threads)) | ONE_BLAS_THREAD
    with tempfile.TemporaryDirectory(prefix="aqr-exp-cost-") as place:
        log = Path(place) / "log"
        with json_worker(COST_MODULE, arguments, log, environment) as worker:
            for response in responses(worker):
                if "name" not in response:
                    progress(response["done"], response["total"])
                    continue
                yield _outcome(waiting.pop(response["name"]), response, shared)
            if waiting:
                fault = exit_summary(worker.wait(), log)
                yield from (Outcome(name=name, fault=fault) for name in waiting)


def _outcome(folder: RunFolder, response: Mapping[str, Any], shared: Mapping[str, str]) -> Outcome:
    if "fault" in response:
        return Outcome(name=folder.name, fault=response["fault"])
    found = {name: value for name, value in response.items() if name != "name"}
    hardware = machine() | {name: found.pop(name) for name in ("device", "threads")}
    cost = cost_of({**found, **shared, "hardware": hardware})
    folder.write_json(folder.cost_path, cost.as_json())
    return Outcome(name=folder.name, cost=cost)


def outline_of(configs: Sequence[RunConfig], *, memory: bool = False) -> list[dict[str, Any]]:
    """The outlines of runs, whose detectors a process of their own builds.

    Args:
        memory: With the memory of a training step, estimated from shapes.

    Returns:
        For each run what `aqr_exp.train.outline` finds.

    Raises:
        AqrExpError: A detector cannot be built here; quotes the last line of the error.
    """
    if missing_for_training():
        raise AqrExpError("the detector cannot be built without the training packages")
    with tempfile.TemporaryDirectory(prefix="aqr-exp-outline-") as folder:
        specs = [Path(folder) / f"{index}.yaml" for index in range(len(configs))]
        for spec, config in zip(specs, configs, strict=True):
            spec.write_text(to_yaml(config), encoding="utf-8")
        log = Path(folder) / "log"
        arguments = [*["--memory"] * memory, *map(str, specs)]
        with json_worker(OUTLINE_MODULE, arguments, log, NO_GPU) as worker:
            found = list(responses(worker))
            if worker.wait() or len(found) < len(configs):
                raise AqrExpError(f"the detector cannot be built: {last_line(log)}")
            return found


def check_parameters(configs: Iterable[RunConfig]) -> None:
    """Refuse runs whose rates or checkpoint do not fit their detectors, before anything starts.

    Seeds and runs with neither are not looked at.

    Raises:
        RequestError: One line for each thing that does not fit.
        AqrExpError: A detector cannot be built here.
    """
    found = {
        (one.variant, one.model, one.schedule.lr_mult, one.start): one
        for one in configs
        if one.start is not None or one.schedule.lr_mult
    }
    if found and (faults := [f for one in outline_of([*found.values()]) for f in one["faults"]]):
        raise RequestError(*faults)


_SMALL_SHARE = 0.1


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """The first iterations of a configuration.

    Attributes:
        step_s: Duration of one in seconds, without waiting for data; None after a fault.
        load_s: Seconds in which one process loads a batch.
        workers: Processes that will load, beside the training; with 0 it loads by itself.
        memory_mb: Peak memory in megabytes: of the GPU, or of the process without one.
        loss: Of the first iteration.
        fault: Why they could not be made; None when they could.
    """

    name: str
    step_s: float | None = None
    load_s: float | None = None
    workers: int = 0
    memory_mb: float | None = None
    loss: float | None = None
    fault: str | None = None

    def waiting(self, slot: Slot) -> str | None:
        """What training would wait for samples, and the workers that would end it; None below a tenth."""
        if not self.step_s or self.load_s is None:
            return None
        loaded_s = self.load_s / max(1, self.workers)
        whole_s = max(self.step_s, loaded_s) if self.workers else self.step_s + loaded_s
        share = 1.0 - self.step_s / whole_s
        if share < _SMALL_SHARE:
            return None
        device = "GPU" if slot.environment.get("CUDA_VISIBLE_DEVICES") else "processor"
        needed = math.ceil(self.load_s / self.step_s)
        count = f"{needed} worker{'s' * (needed > 1)}"
        enough = f"{count} would do, not {self.workers} (launcher.loader_workers)"
        if needed > MOST_WORKERS:
            enough = f"not even {MOST_WORKERS} workers would do"
        return f"the {device} would wait {100 * share:.0f} % of the time for samples: {enough}"


def can_be_tried() -> bool:
    """Runs are trained by this package: a program in the training's place is not tried."""
    return not os.environ.get(COMMAND_VARIABLE)


def try_first_steps(configs: Mapping[str, RunConfig], slot: Slot) -> Iterator[FirstSteps]:
    """Make a few iterations of each run in one process; nothing is left behind.

    Args:
        configs: Runs by name, with the identity of their data.
        slot: Its GPU is used, and its threads for runs that do not say how many.

    Yields:
        One result a run, as soon as it is known. An end of the process (out of memory) is the fault of
        the run it was at; the others are tried in a new process.

    Raises:
        OSError: The process could not be started, or the temporary folder not be written.
    """
    alike: dict[tuple[bool, int], list[str]] = {}
    for name, config in configs.items():
        launcher = config.launcher
        kind = launcher.device == "cpu", launcher.threads or slot.threads
        alike.setdefault(kind, []).append(name)
    for (on_cpu, threads), names in alike.items():
        # As the training sets them.
        environment = {**slot.environment, "OMP_NUM_THREADS": str(threads), **ONE_BLAS_THREAD}
        environment |= NO_GPU if on_cpu else {}
        while names:
            for steps in _in_one_process([configs[name] for name in names], threads, environment):
                yield FirstSteps(**{**steps, "name": names.pop(0)})


def _in_one_process(
    configs: Sequence[RunConfig], threads: int, environment: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Responses on the first runs; the last one is a fault when the process has ended."""
    with tempfile.TemporaryDirectory(prefix="aqr-exp-preflight-") as place:
        folders = [RunFolder(Path(place) / str(index)) for index in range(len(configs))]
        for folder, config in zip(folders, configs, strict=True):
            folder.create(to_yaml(config), {})
        log = Path(place) / "log"
        arguments = ["--threads", str(threads), *(str(folder.path) for folder in folders)]
        with json_worker(FIRST_STEPS_MODULE, arguments, log, environment) as worker:
            known = 0
            for response in responses(worker):
                known += 1
                yield response
            if known < len(folders):
                yield {"fault": exit_summary(worker.wait(), log)}


def evaluate_corruptions(
    folder: RunFolder, cases: "Sequence[CorruptionCase]", *, threads: int, device: Device
) -> Iterator[dict[str, Any]]:
    """Evaluate a completed run under corrupted sensors, all cases in one process.

    Args:
        cases: Those that have been evaluated are skipped.

    Yields:
        `case`, `done` and `total` (samples) while it works; `case` and `metrics` at a case's end.

    Raises:
        RunFailedError: The process ended with an error, which the message quotes, or was killed.
    """
    folder.logs_dir.mkdir(exist_ok=True)
    log = folder.failures_log_path
    with open_log(log) as opened:
        opened.write(f"=== {utc_now()}\n".encode())
    names = ",".join(case.name for case in cases)
    arguments = ["--threads", str(threads), os.fspath(folder.path.absolute()), names]
    environment = {"OMP_NUM_THREADS": str(threads), **ONE_BLAS_THREAD}
    environment |= NO_GPU if device == "cpu" else {}
    with json_worker(CORRUPTION_MODULE, arguments, log, environment) as worker:
        for response in responses(worker):
            if "fault" in response:
                raise RunFailedError(f"{folder.name}: {response['fault']}")
            yield response
        if worker.wait() != 0:
            raise RunFailedError(f"{folder.name}: {exit_summary(worker.returncode, log)}")
