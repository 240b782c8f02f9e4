"""`python -m aqr_exp.train.measure_cost RUN_DIR...`: what a forward pass of each run's detector costs.

Lines of JSON go to stdout: `done` and `total` while it works, then one line a run with its `name` and
either what was measured (see `finished`) or `fault`, the reason. Whatever else is printed goes to stderr.

Passes of the runs are interleaved, each round in another order, so that whatever else the machine does
meanwhile hits all of them alike.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch import nn

from aqr_exp.cmt.detector_config import detector_config
from aqr_exp.config.data_identity import with_data_identity
from aqr_exp.config.identity import from_spec
from aqr_exp.config.schema.launcher import Device
from aqr_exp.data.pipeline import dataloader_config
from aqr_exp.errors import RunFailedError
from aqr_exp.results.run_folder import RunFolder
from aqr_exp.train import process_memory
from aqr_exp.train.checkpoint import load_newest
from aqr_exp.train.flops import Flops, count_flops
from aqr_exp.train.plugins import register_plugins
from aqr_exp.train.session import reason_for, set_up_torch

WARM_ROUNDS = 3
"""Passes of each run before any is timed, besides those that are counted and weighed."""


class Subject:
    """A run's detector with its samples, ready to be measured.

    Args:
        folder: The run's folder.
        samples: How many samples of the validation split it gets, the first ones.
        threads: Torch threads where the run does not say.

    Attributes:
        name: The run.
        latencies_ms: Of its timed passes.

    Raises:
        Exception: There is no intact checkpoint, no data, or they do not fit.
    """

    def __init__(self, folder: RunFolder, samples: int, threads: int) -> None:
        config = with_data_identity(from_spec(folder.read_spec()))
        state = load_newest(folder.checkpoints_dir)
        if state is None:
            raise RunFailedError(f"{folder.checkpoints_dir} holds no checkpoint that can be read")
        self.name = folder.name
        self.latencies_ms: list[float] = []
        self._epoch, self._step = state["epoch"], state["step"]
        self._split = config.data.val_split
        self._threads = config.launcher.threads or threads
        on_cpu = config.launcher.device is Device.CPU or not torch.cuda.is_available()
        self.device = torch.device("cpu" if on_cpu else "cuda")
        self.model: nn.Module = MODELS.build(detector_config(config))
        self.model.load_state_dict(state["model"])
        self.model.to(self.device).eval()
        loading = dataloader_config(config, self._split, training=False, batch_size=1)
        loader = Runner.build_dataloader({**loading, "num_workers": 0})
        self._batches = list(islice(loader, samples))
        self.flops: Flops | None = None
        self.memory_mb: float | None = None

    def forward(self, number: int) -> None:
        """Detect in one sample, from loaded points and images to decoded boxes."""
        model: Any = self.model
        with torch.no_grad():
            model.test_step(self._batches[number % len(self._batches)])

    def weigh(self) -> None:
        """Count the operations and the memory of a pass, which warms it as well."""
        self._take_threads()
        self.flops = count_flops(self.model, lambda: self.forward(0))
        peaks = []
        for number in range(WARM_ROUNDS + len(self._batches)):
            peak = peak_beyond_mb(partial(self.forward, number), self.device)
            if peak is not None and number >= WARM_ROUNDS:
                peaks.append(peak)
        # What the allocator reuses differs from pass to pass.
        self.memory_mb = median(peaks) if peaks else None

    def timed(self, number: int) -> float:
        """Milliseconds of one pass; on CUDA until the device has finished."""
        self._take_threads()
        _wait(self.device)
        started = time.perf_counter()
        self.forward(number)
        _wait(self.device)
        return 1000 * (time.perf_counter() - started)

    def _take_threads(self) -> None:
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def finished(self) -> dict[str, Any]:
        """What was measured."""
        assert self.flops is not None  # noqa: S101  # `weigh` comes first
        on_cuda = self.device.type == "cuda"
        return {
            "checkpoint": {"epoch": self._epoch, "step": self._step},
            "split": self._split,
            "samples": len(self._batches),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(self.device) if on_cuda else "cpu",
            "threads": self._threads,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "flops": self.flops.total,
            "flops_by_formula": self.flops.by_formula,
            "flops_not_counted": list(self.flops.not_counted),
            "memory_mb": None if self.memory_mb is None else round(self.memory_mb, 2),
            "latencies_ms": [round(value, 4) for value in self.latencies_ms],
        }


def peak_beyond_mb(call: Callable[[], None], device: torch.device) -> float | None:
    """The most memory a call holds beyond what was held before it.

    Args:
        call: Called once; it should be warm.
        device: Whose memory: the GPU's, or the process's on a CPU.

    Returns:
        Megabytes (10^6 bytes); None where the system does not tell.
    """
    process_memory.give_back_free_memory()
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        _wait(device)
        return float(torch.cuda.max_memory_allocated(device) - before) / 1e6
    resident = process_memory.resident_bytes()
    if resident is None or not process_memory.forget_peak():
        return None
    call()
    peak = process_memory.peak_bytes()
    return None if peak is None else max(0, peak - resident) / 1e6


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    folders: list[RunFolder], *, passes: int, samples: int, threads: int
) -> Iterator[dict[str, Any]]:
    """Measure runs together.

    Args:
        folders: The runs' folders.
        passes: Timed passes of each.
        samples: Samples that they go through.
        threads: Torch threads where a run does not say.

    Yields:
        The lines that the module prints.
    """
    total = len(folders) + WARM_ROUNDS + passes
    subjects: list[Subject] = []
    for folder in folders:
        try:
            subjects.append(Subject(folder, samples, threads))
        except Exception as error:
            traceback.print_exc()
            yield {"name": folder.name, "fault": reason_for(error)}
    if not subjects:
        return
    # Only when all are loaded: what loading one allocates and frees would be weighed with another.
    for subject in subjects:
        subject.weigh()
    yield {"done": len(folders), "total": total}
    for number in range(WARM_ROUNDS + passes):
        first = number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            latency_ms = subject.timed(number)
            if number >= WARM_ROUNDS:
                subject.latencies_ms.append(latency_ms)
        yield {"done": len(folders) + number + 1, "total": total}
    for subject in subjects:
        yield {"name": subject.name, **subject.finished()}


def main(argv: list[str] | None = None) -> int:
    """Run the module; returns 0 whatever became of the runs.

    Args:
        argv: Arguments after the program's name; `sys.argv` when None.
    """
    parser = argparse.ArgumentParser(prog="python -m aqr_exp.train.measure_cost")
    parser.add_argument("folders", type=Path, nargs="+", help="runs' folders")
    parser.add_argument("--passes", type=int, required=True, help="timed passes of each run")
    parser.add_argument("--samples", type=int, required=True, help="samples of each run")
    parser.add_argument("--threads", type=int, required=True, help="where a run does not say")
    arguments = parser.parse_args(argv)
    set_up_torch(arguments.threads)
    # The open-mmlab packages print: only the answers may reach whoever reads stdout.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    register_plugins()
    with answers:
        for line in measure(
            [RunFolder(path) for path in arguments.folders],
            passes=arguments.passes,
            samples=arguments.samples,
            threads=arguments.threads,
        ):
            answers.write(json.dumps(line) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
